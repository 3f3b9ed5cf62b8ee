"""What users hand to a model, checked at its doors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from vlmlens.cache import Save
from vlmlens.checks import function, plain, shown, word
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention, as_edits
from vlmlens.model.reuse.prefill import Prefill
from vlmlens.sample import Sample


def as_inputs(given: Any, door: str) -> Inputs:
    """Inputs, as ``HookedVLM.inputs`` makes them.

    Raises:
        InputError: anything else; says what makes inputs of it.
    """
    if isinstance(given, Inputs):
        return given
    raise InputError(f"{door}(...) takes inputs, and not {shown(given)}: {_maker(given)}")


def as_answered(given: Any) -> list[Inputs]:
    """Prompts with answers, one or several.

    Raises:
        InputError: what is no inputs.
    """
    items = [given] if isinstance(given, Inputs) else _listed(given)
    return [as_inputs(one, "answered=") for one in ([given] if items is None else items)]


def as_texts(given: Any, what: str) -> tuple[str, ...]:
    """Texts, one or several.

    Raises:
        InputError: anything else.
    """
    texts = (given,) if isinstance(given, str) else _listed(plain(given))
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{what}={shown(given)}: texts are wanted, one a sample")
    return tuple(texts)


def as_answers(given: Any) -> tuple[str | None, ...]:
    """Texts, or None for a sample without an answer."""
    if isinstance(given, list | tuple):
        return tuple(None if one is None else word(one, "answers") for one in given)
    return as_texts(given, "answers")


def prepared(inputs: Inputs, edits: Sequence[Intervention]) -> Inputs:
    """The inputs after what edits make of them before a pass.

    Raises:
        InputError: an edit that gives back something else.
    """
    for edit in edits:
        made = edit.prepare(inputs)
        if not isinstance(made, Inputs):
            raise InputError(f"{edit}.prepare returned {shown(made)}, and not inputs")
        inputs = made
    return inputs


def as_saves(save: Any) -> list[Save]:
    """What to keep, as a list of ``Save``; what is asked for twice, once.

    Raises:
        InputError: what is neither a name nor a ``Save``.
    """
    items = [save] if isinstance(save, str | Save) else _listed(save)
    if items is not None and all(isinstance(item, str | Save) for item in items):
        return list(dict.fromkeys(x if isinstance(x, Save) else Save(x) for x in items))
    raise InputError(f"save={shown(save)}: points' names, patterns or Save(...); () saves nothing")


def as_cells(given: Any) -> list[tuple[Intervention, ...]]:
    """Lists of interventions, one a cell.

    Raises:
        InputError: none at all, or what is no intervention.
    """
    cells = [given] if isinstance(given, Intervention) else _listed(given)
    if cells is None:
        raise InputError(f"{shown(given)} are no cells: pass lists of interventions, one a cell")
    if not cells:
        raise InputError("no cell: pass at least one list of interventions; [[]] is the clean pass")
    return [as_edits(cell) for cell in cells]


def as_prefill(given: Any, what: str = "prefill") -> Prefill:
    """A prefill.

    Raises:
        InputError: anything else.
    """
    if not isinstance(given, Prefill):
        raise InputError(f"{what}={shown(given)}: what model.prefill(inputs) made is wanted")
    return given


def as_hooks(given: Any, what: str) -> list[tuple[str | Callable[[str], bool], Callable]]:
    """TransformerLens's pairs of a point's name, or a condition on names, and a hook.

    Raises:
        InputError: anything else.
    """
    single = isinstance(given, tuple) and len(given) == 2 and _names(given[0])
    pairs = [given] if single else _listed(given)
    if pairs is not None:
        pairs = [tuple(pair) if isinstance(pair, list) else pair for pair in pairs]
        two = all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
        if two and all(_names(name) and callable(hook) for name, hook in pairs):
            for name, hook in pairs:
                if not isinstance(name, str):
                    function(name, what, "a condition on names", "name")
                function(hook, what, "a hook", "tensor", hook="point")
            return pairs
    raise InputError(f"{what}={shown(given)}: pairs are wanted, [('hook_embed', function), ...]")


def _listed(given: Any) -> list[Any] | None:
    """The items of a collection; None for what is none (a 0-d tensor iterates in name only)."""
    if isinstance(given, str | bytes | Mapping | type | Tensor | np.ndarray):
        return None
    return list(given) if isinstance(given, Iterable) else None


def _names(given: Any) -> bool:
    return isinstance(given, str) or callable(given)


def _maker(given: Any) -> str:
    """What makes inputs of something else."""
    first = next(iter(given), None) if isinstance(given, list | tuple) else given
    if isinstance(first, Sample):
        return "model.inputs(samples)"
    if isinstance(first, Image.Image):
        return "model.inputs(pictures, prompts)"
    if isinstance(first, str):
        return "model.inputs(pictures, prompts), or model.inputs(Sample(question)) without any"
    if isinstance(first, Tensor):
        return "model.inputs_from(input_ids, pixel_values=...)"
    if isinstance(given, Mapping):
        return "model.inputs_from(**tensors)"
    if hasattr(given, "inputs"):
        return f"take its .inputs, of the {type(given).__name__}"
    return "model.inputs(samples) or model.inputs(pictures, prompts) makes some"
