"""One pass under interventions: hooks on, forward, hooks off, whatever happens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache

from vlmlens.cache import ActivationCache, Save
from vlmlens.errors import InputError, UnknownPointError, UnreachedPointError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention, Site
from vlmlens.interventions.base import within_block
from vlmlens.model.lifetime.compiled import uncompiled
from vlmlens.model.lifetime.level import Level
from vlmlens.model.passes.stopping import last_of
from vlmlens.model.passes.visibility import Sight, sight_of
from vlmlens.model.sequence.trained_length import warn_beyond
from vlmlens.model.wiring.attention import RowRequest, ask_rows, withdraw
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.wired import Wired
from vlmlens.positions import Positions, chosen, indices
from vlmlens.versions import cache_argument


def one_pass(
    vlm: Wired,
    inputs: Inputs,
    tensors: Any,
    interventions: Sequence[Intervention] = (),
    saves: Sequence[Save] = (),
    step: int = 0,
    logits: bool | Positions = True,
    cache: Cache | None = None,
) -> tuple[Tensor, ActivationCache]:
    """One forward pass under interventions.

    Args:
        vlm: the open model.
        inputs: what every position is, up to the newest.
        tensors: what transformers' forward takes; with a cache, the newest tokens only.
        interventions: edits, applied in order.
        saves: what to keep.
        step: the decoding step; 0 is the prompt.
        logits: of every position, of these, or none: then the pass ends with what is watched.
        cache: keys and values of what came before, to which this pass adds its own.

    Returns:
        Logits (batch pos vocab), and what was saved.
    """
    kept: dict[str, Tensor] = {}
    axes: dict[str, tuple[str, ...]] = {}
    ways: dict[str, Any] = {}
    rows: dict[tuple, Tensor] = {}
    watched: list[tuple[str, Intervention | str]] = []
    warn_beyond(vlm.config, inputs.layouts, inputs.tensors["position_ids"])
    with ExitStack() as stack:
        # Taking off nothing asks every point, which shows in models as small as tests use.
        level = (
            stack.enter_context(new_level(vlm)) if interventions or saves else Level(0, vlm.journal)
        )
        if interventions or saves:
            refuse_recomputing(vlm)
        stack.enter_context(as_watched(vlm))
        sights: list[Sight] = []
        watched += add_edits(vlm, inputs, interventions, level, step, sights)
        for item in saves:
            for name in vlm.matching(item.points):
                way = ways.setdefault(name, (item.rows, item.reduce))
                if way != (item.rows, item.reduce):
                    raise InputError(
                        f"{name} is to be saved in two ways, but is kept under its name only: "
                        "save it whole, or run twice"
                    )
                if name in axes:  # two patterns that mean the same
                    continue
                axes[name] = vlm.hook_dict[name].axes
                if item.rows is not None:
                    _refuse_rows(vlm.hook_dict[name])
                if item.rows is not None and name.endswith("attn.hook_pattern"):
                    stack.enter_context(_rows(vlm, name, item, inputs, tensors, kept))
                    continue
                hook: Any = partial(_keep, item=item, inputs=inputs, kept=kept, rows=rows)
                vlm.hook_dict[name].add_own(hook, level)
                watched.append((name, "save"))
        before = {name: vlm.hook_dict[name].fired for name, _ in watched}
        given = tensors if vlm.shared is None else vlm.shared.stand_in(vlm, tensors)
        given = dict(given) | {"use_cache": cache is not None}
        given |= {} if cache is None else cache_argument(vlm.hf_model, cache)
        made = _logits(vlm, given, logits, inputs, [*axes, *(name for name, _ in watched)])
        if step == 0:  # while decoding, the tower and the projector have had their turn
            refuse_unreached(vlm, watched, before, tensors)
    for sight in sights:
        sight.refuse()
    saved = {name: kept[name] for name in vlm.hook_dict if name in kept} if kept else {}
    return made, ActivationCache(saved, axes, inputs.layouts, vlm.instance, ways)


def _logits(
    vlm: Wired,
    given: Mapping[str, Any],
    wanted: bool | Positions,
    inputs: Inputs,
    watched: Sequence[str],
) -> Tensor:
    """The pass itself, as far as it has to go."""
    if wanted is True:
        return vlm.hf_model(**given).logits
    if wanted is False:
        with last_of(vlm, watched):
            vlm.hf_model(**given)
        return torch.empty(
            len(inputs), 0, vlm.config.get_text_config().vocab_size, device=vlm.device
        )
    rows = row_index(inputs, wanted, given["input_ids"].shape[1]).to(vlm.device)
    kept, own = rows.unique(return_inverse=True)
    made = vlm.hf_model(**given, logits_to_keep=kept).logits
    return made.gather(1, own[..., None].expand(-1, -1, made.shape[-1]))


def as_watched(vlm: Wired) -> AbstractContextManager[None]:
    """Compiled code where it may run: while no point has a hook."""
    if not any(point.watched for point in vlm.hook_dict.values()):
        return nullcontext()
    refuse_recomputing(vlm)
    return uncompiled(vlm.hf_model)


def refuse_recomputing(vlm: Wired) -> None:
    """Refuse gradients where blocks are run once more for them: the hooks would be off by then.

    Raises:
        InputError: says how to switch one or the other off.
    """
    if torch.is_grad_enabled() and any(
        module.training and getattr(module, "gradient_checkpointing", False)
        for module in vlm.hf_model.modules()
    ):
        raise InputError(
            "with gradient checkpointing, backward runs the blocks once more, when the hooks of "
            "this pass are off: model.hf_model.gradient_checkpointing_disable() or .eval() "
            "first, or watch without gradients (grad=False, torch.no_grad())"
        )


@contextmanager
def new_level(vlm: Wired) -> Iterator[Level]:
    """A context level whose hooks are taken off when it ends, whatever happens."""
    with vlm.opened_level() as level, uncompiled(vlm.hf_model):
        yield level


def add_edits(
    vlm: Wired,
    inputs: Inputs,
    interventions: Sequence[Intervention],
    level: Level,
    step: int = 0,
    sights: list[Sight] | None = None,
) -> list[tuple[str, Intervention | str]]:
    """Put every intervention's hooks on its points; returns the points and who asked for them.

    ``sights``, where it is given, takes what is looked at before anything is edited.
    """
    watched = []
    for intervention in interventions:
        found = sight_of(intervention, edited_points(vlm, intervention), step, len(inputs))
        if sights is None or found is None:
            continue
        for name in found[1]:
            look: Any = partial(_look, sight=found[0], site=_site(vlm, inputs, name, step))
            vlm.hook_dict[name].add_own(look, level)
        sights.append(found[0])
    for intervention in interventions:
        seen: dict[str, Tensor] = {}
        masks: dict = {}
        for name in edited_points(vlm, intervention):
            hook: Any
            for read in read_points(vlm, intervention, name):
                hook = partial(see, seen=seen)
                vlm.hook_dict[read].add_own(hook, level)
            site = replace(_site(vlm, inputs, name, step), seen=seen, masks=masks)
            hook = partial(_edit, intervention=intervention, site=site)
            vlm.hook_dict[name].add_own(hook, level)
            watched.append((name, intervention))
    return watched


def _site(vlm: Wired, inputs: Inputs, name: str, step: int) -> Site:
    point = vlm.hook_dict[name]
    return Site(name, point.axes, point.point.layer, inputs.layouts, inputs.keys, step, model=vlm)


def _look(x: Tensor, hook: WiredPoint, sight: Sight, site: Site) -> None:
    sight.look(x, site)


def refuse_unreached(
    vlm: Wired, watched: Sequence[tuple[str, Any]], before: Mapping[str, int], tensors: Any
) -> None:
    """Raise where a point that was asked for has not been passed since ``before``."""
    for name, who in watched:
        if vlm.hook_dict[name].fired == before[name]:
            raise UnreachedPointError(
                f"{name} was asked for by {who}, but this pass never came by"
                + ("" if "pixel_values" in tensors else ": these inputs hold no image")
            )


def refuse_idle(interventions: Sequence[Intervention], steps: int) -> None:
    """Refuse edits that would touch nothing: no point, or no step among those to come.

    Raises:
        InputError: says which, and what to do.
    """
    for edit in interventions:
        if not edit.points and type(edit).prepare is Intervention.prepare:
            raise InputError(f"{edit} has no point: say where it edits, point='hook_embed'")
        if not any(edit.where.has_step(step) for step in range(steps)):
            raise InputError(
                f"{edit} is for steps={edit.where.steps!r}, of which none comes here: "
                + (
                    "run(...) is the prefill, step 0"
                    if steps == 1
                    else f"there are {steps}, from 0"
                )
            )


def refuse_unfinished(interventions: Sequence[Intervention], lengths: Sequence[int]) -> None:
    """Refuse edits of steps that some sample's answer ended before.

    Args:
        interventions: what was to be edited.
        lengths: how many steps each sample had.

    Raises:
        InputError: names the sample, and the last step that came.
    """
    for edit in interventions:
        where = edit.where
        rows = range(len(lengths))
        for row in rows if where.samples is None else indices(where.samples, len(rows), "sample"):
            if not any(map(where.has_step, range(lengths[row]))):
                raise InputError(
                    f"{edit} is for steps={where.steps!r}, but the answer of sample {row} ended "
                    f"with step {lengths[row] - 1}: stop=False goes on to max_new_tokens"
                )


def edited_points(vlm: Wired, intervention: Intervention) -> list[str]:
    """The points that an intervention edits, by name, in the layers that it means."""
    if not intervention.points:
        return []
    names = [
        name
        for name in vlm.matching(intervention.points)
        if intervention.where.has_layer(vlm.hook_dict[name].point.layer, depth(vlm, name))
    ]
    for pattern in intervention.also:  # where this model has them
        names += [name for name in vlm.hook_dict if fnmatchcase(name, pattern)]
    if not names:
        raise UnknownPointError(", ".join(intervention.points), vlm.hook_dict, "in those layers")
    return names


def read_points(vlm: Wired, intervention: Intervention, name: str) -> list[str]:
    """The points that an edit reads beside its own: of the same block, or of the whole model."""
    wanted = [within_block(name, read) for read in intervention.reads]
    wanted = [read for read in wanted if read not in vlm.absent]  # a layer that turns nothing
    return vlm.matching(wanted) if wanted else []


def depth(vlm: Wired, name: str) -> int:
    """How many blocks the point's own stack offers: the tower's, or the language model's."""
    return vlm.depth("vision.blocks" if name.startswith("vision.") else "blocks")


@contextmanager
def _rows(
    vlm: Wired, name: str, item: Save, inputs: Inputs, tensors: Any, kept: dict[str, Tensor]
) -> Iterator[None]:
    """Have one layer's attention rows computed, and nothing else of its pattern."""
    module = vlm.hf_model.get_submodule(_attention_path(vlm, name))
    size = tensors["input_ids"].shape[1]

    def deliver(rows: Tensor) -> None:
        kept[name] = item.reduce(rows) if item.reduce else rows

    assert item.rows is not None
    queries = row_index(inputs, item.rows, size).to(vlm.device)
    request = RowRequest(queries, deliver)
    with vlm.noted(partial(withdraw, module, request)):
        ask_rows(module, request)
        yield


def _attention_path(vlm: Wired, name: str) -> str:
    point = vlm.hook_dict[name]
    path = vlm.family.vision_layers if name.startswith("vision.") else vlm.family.lm_layers
    return f"{path}.{point.point.layer}.{point.tap.module}"


def see(x: Tensor, hook: WiredPoint, seen: dict[str, Tensor]) -> None:
    """A hook that notes what comes by."""
    seen[hook.point.name] = x


def _edit(x: Tensor, hook: WiredPoint, intervention: Intervention, site: Site) -> Tensor | None:
    edited = intervention.apply(x, site)
    return None if edited is x else edited


def in_the_graph(x: Tensor) -> Tensor:
    """The same values as a tensor of their own, that gradients can be taken with respect to.

    It has to be given back to the pass: what lies beside the path to the logits has no gradient.
    """
    return (x if x.requires_grad else x.detach().requires_grad_()).clone()


def _keep(
    x: Tensor,
    hook: WiredPoint,
    item: Save,
    inputs: Inputs,
    kept: dict[str, Tensor],
    rows: dict[tuple, Tensor],
) -> Tensor | None:
    whole = x = in_the_graph(x) if torch.is_grad_enabled() else x
    if item.rows is not None:
        at = hook.axes.index("pos" if "pos" in hook.axes else "query")
        key = (item.rows, x.shape[at], x.device)
        if key not in rows:  # once for all layers: on a GPU, what is copied there is waited for
            rows[key] = row_index(inputs, item.rows, x.shape[at]).to(x.device)
        index = rows[key]
        view = [1] * x.ndim
        view[0], view[at] = index.shape
        shape = list(x.shape)
        shape[at] = index.shape[1]
        x = x.gather(at, index.reshape(view).expand(shape))
    x = x if torch.is_grad_enabled() else x.detach()
    # A function that writes into what it is given writes into a copy.
    kept_now = item.reduce(x.clone()) if item.reduce else x
    name = hook.point.name
    if hook.tap.pieces and name in kept:  # a tower that is called image by image
        kept_now = torch.cat([kept[name], kept_now], dim=hook.axes.index("patch"))
    kept[name] = kept_now
    return whole if torch.is_grad_enabled() else None


def _refuse_rows(point: WiredPoint) -> None:
    if "batch" not in point.axes:
        raise InputError(
            f"{point.point.name} has no positions of which rows could be kept: rows are positions "
            "of the language model's sequence"
        )


def row_index(inputs: Inputs, wanted: Positions, size: int) -> Int[Tensor, "batch rows"]:
    """Each sample's chosen rows among the last ``size`` positions."""
    rows = [chosen(layout, wanted)[-size:].nonzero()[0] for layout in inputs.layouts]
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(str(len(row)) for row in rows)
        raise InputError(
            f"rows={wanted!r} are {counts} positions in the samples of this batch; rows need "
            "the same number in each: run the samples one by one"
        )
    return torch.from_numpy(np.stack(rows))
