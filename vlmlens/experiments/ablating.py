"""What answers lose without some heads, beside as many others drawn at random."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from math import comb, prod
from pathlib import Path

import numpy as np
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import shown, whole, wholes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.experiments.effects import causal_effects
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.given import as_model
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.units import is_placed
from vlmlens.interventions import Intervention, ZeroAblate
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.select import Where

POINT = "blocks.{}.attn.hook_z"
#: A layer and a head of it.
Head = tuple[int, int]


@checked
def head_effects(
    model: HookedVLM,
    samples: Sequence[Sample],
    heads: Sequence[Sequence[int]],
    *,
    controls: int = 8,
    seed: int = 0,
    edit: Intervention | None = None,
    max_new_tokens: int = 8,
    system: str | None = None,
    own: bool = False,
    batch: int = 32,
    folder: Path | str | None = None,
    executor: Executor = None,
    progress: Progress = False,
) -> xr.Dataset:
    """What becomes of answers without some heads, and, as a control, without other heads.

    A control knocks out as many other heads in each of these layers, drawn at random without
    replacement; no two controls are the same set. Where the layers have fewer such sets than
    ``controls``, all of them are tried. What the heads do is what is lost without them beyond what
    is lost without the controls.

    Args:
        model: an open model.
        samples: questions; with right answers, there are log-probabilities and accuracies too.
        heads: pairs of layer and head, counted from 0: ``[(1, 3), (2, 1)]``.
        controls: how many controls; 0 for none.
        seed: of the controls.
        edit: what is done to a head in place of ``ZeroAblate()``; its point and place are set.
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        own: the samples' answers are the model's own; see ``Answering``.
        batch: samples a pass.
        folder: keeps finished cells.
        executor: who computes, as in ``Experiment.run``.
        progress: show bars, as in ``diagnose``.

    Returns:
        As ``causal_effects``, over (intervention, sample), with the labels ``"original"``,
        ``"without"``, ``"control 0"`` and so on; the coordinate ``heads`` says which are out.

    Raises:
        InputError: no heads, one named twice, an edit that is placed already, or a layer without
            as many other heads.
        EmptySelectionError: a layer or a head that the model does not have.

    Examples:
        >>> found = vl.experiments.head_effects(model, samples[:2], [(1, 3), (2, 1)], controls=2)
        >>> found.intervention.values.tolist(), found.heads.values[1].item()
        (['original', 'without', 'control 0', 'control 1'], 'L1 H3, L2 H1')
        >>> rates = vl.probes.statistics.mean_map(found["correct"])  # accuracy, 95 % intervals
        >>> rates["mean"].values.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    chosen = _as_heads(heads, as_model(model))
    made = ZeroAblate() if edit is None else edit
    if is_placed(made):
        raise InputError(f"{made} is placed head by head: leave out its point and its where")
    sets = {"without": chosen}
    others = _others(chosen, model.cfg.n_heads, whole(controls, "controls", least=0), seed)
    sets |= {f"control {number}": each for number, each in enumerate(others)}
    edits = {
        name: [replace(made, point=POINT.format(at), where=Where(heads=n)) for at, n in each]
        for name, each in sets.items()
    }
    found = causal_effects(
        model,
        samples,
        edits,
        max_new_tokens=max_new_tokens,
        system=system,
        own=own,
        batch=batch,
        folder=folder,
        executor=executor,
        progress=progress,
    )
    names = ["", *(", ".join(f"L{at} H{n}" for at, n in each) for each in sets.values())]
    return found.assign_coords(heads=("intervention", names))


def _as_heads(given: Sequence[Sequence[int]], model: HookedVLM) -> tuple[Head, ...]:
    """Layers and heads that the model has, in their order, each once."""
    found: list[Head] = []
    for each in given:
        pair = wholes(each, "heads", least=0)
        if len(pair) != 2:
            raise InputError(f"heads holds {shown(each)}: a pair of layer and head is wanted")
        for what, at, count in zip(
            ("layer", "head"), pair, (model.layers, model.cfg.n_heads), strict=True
        ):
            if at >= count:
                raise EmptySelectionError(f"no {what} {at}: there are {count}, counted from 0")
        found.append((pair[0], pair[1]))
    if not found:
        raise InputError("heads is empty: name at least one, such as heads=[(1, 3)]")
    if twice := [each for each in found if found.count(each) > 1]:
        raise InputError(f"heads names {twice[0]} twice")
    return tuple(sorted(found))


def _others(chosen: Sequence[Head], count: int, controls: int, seed: int) -> list[tuple[Head, ...]]:
    """Sets of as many other heads in the same layers, no two of them alike."""
    layers = {layer: {head for at, head in chosen if at == layer} for layer, _ in chosen}
    free = {layer: sorted(set(range(count)) - out) for layer, out in layers.items()}
    ways = prod(comb(len(free[layer]), len(out)) for layer, out in layers.items())
    if controls and not ways:
        layer = next(at for at, out in layers.items() if len(free[at]) < len(out))
        raise InputError(
            f"layer {layer} has {count} heads, of which {len(layers[layer])} are named: there are "
            "not as many others for a control; controls=0 goes without"
        )

    def drawn():
        draws, seen = np.random.default_rng(seed), set()
        while len(seen) < ways:
            one = tuple(
                (layer, int(head))
                for layer, out in layers.items()
                for head in sorted(draws.choice(free[layer], len(out), replace=False))
            )
            if one not in seen:
                seen.add(one)
                yield one

    return list(islice(drawn(), controls))
