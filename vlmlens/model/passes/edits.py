"""What is edited: an intervention's hooks on its points, and edits that would touch nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import shown
from vlmlens.errors import EmptySelectionError, InputError, UnreachedPointError
from vlmlens.inputs import Inputs
from vlmlens.interventions import CompressVision, Intervention, Site
from vlmlens.interventions.base import within_block
from vlmlens.model.lifetime.level import Level
from vlmlens.model.passes.visibility import MASK, Sight, sight_of
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.wired import Wired
from vlmlens.positions import indices


def add_edits(
    vlm: Wired,
    inputs: Inputs,
    interventions: Sequence[Intervention],
    level: Level,
    step: int = 0,
    beams: Sequence[Inputs] = (),
) -> tuple[list[tuple[str, Intervention | str]], list[Sight]]:
    """Put every intervention's hooks on its points.

    With beams, a pass's rows are every sample's beams; an edit is shown one beam of every sample
    after the other, so that its samples, keys and values are the samples'.

    Returns:
        The points and who asked for them, for ``refuse_unreached``; and what looks at attention
        before anything is edited, each of which is to ``refuse`` once the pass is over.
    """
    watched: list[tuple[str, Intervention | str]] = []
    sights: list[Sight] = []
    turns = beams or (inputs,)
    watching: dict[int, Sight] = {}
    for intervention in interventions:
        found = sight_of(intervention, edited_points(vlm, intervention), step, len(inputs))
        if found is None:
            continue
        for name in found[1]:
            sites = [_site(vlm, turn, name, step) for turn in turns]
            look: Any = partial(_look, sight=found[0], sites=sites)
            vlm.hook_dict[name].add_own(look, level)
        sights.append(found[0])
        watching[id(intervention)] = found[0]
    # What edits the projector's output comes before all that is pooled, wherever it is listed.
    order = sorted(interventions, key=lambda edit: not edit.point.startswith("projector."))
    pools = [n for n, edit in enumerate(order) if isinstance(edit, CompressVision)]
    for number, intervention in enumerate(order):
        pooled = all(number > pool for pool in pools)
        seen: list[dict[str, Tensor]] = [{} for _ in turns]
        masks: list[dict] = [{} for _ in turns]
        for name in edited_points(vlm, intervention):
            hook: Any
            for read in read_points(vlm, intervention, name):
                hook = partial(_see, seen=seen)
                vlm.hook_dict[read].add_own(hook, level)
            sites = [
                replace(_site(vlm, turn, name, step, pooled), seen=own, masks=made)
                for turn, own, made in zip(turns, seen, masks, strict=True)
            ]
            sight = watching.get(id(intervention)) if name.endswith(MASK) else None
            hook = partial(_edit, intervention=intervention, sites=sites, sight=sight)
            vlm.hook_dict[name].add_own(hook, level)
            watched.append((name, intervention))
    return watched, sights


def edited_points(vlm: Wired, intervention: Intervention) -> list[str]:
    """The points that an intervention edits, by name, in the layers that it means."""
    if not intervention.points:
        return []
    matching = vlm.matching(intervention.points)
    intervention.where.refuse_no_layer([vlm.hook_dict[name].point.layer for name in matching])
    names = [
        name
        for name in matching
        if intervention.where.has_layer(vlm.hook_dict[name].point.layer, depth(vlm, name))
    ]
    for pattern in intervention.also:  # where this model has them
        names += [name for name in vlm.hook_dict if fnmatchcase(name, pattern)]
    if not names:
        at = {vlm.hook_dict[name].point.layer for name in matching}
        there = sorted(layer for layer in at if layer is not None)
        raise EmptySelectionError(
            f"layers={shown(intervention.where.layers)} holds none of "
            f"{', '.join(intervention.points)}, which is in layer "
            f"{', '.join(map(str, there))}: leave layers out, or name the points of all layers, "
            "such as blocks.*.hook_resid_pre"
        )
    return names


def embeds(edit: Intervention) -> bool:
    """Whether what enters block 0 is all that an edit changes and reads."""
    alone = edit.points == ("hook_embed",) and not edit.also and not edit.reads
    return alone and type(edit).prepare is Intervention.prepare


def read_points(vlm: Wired, intervention: Intervention, name: str) -> list[str]:
    """The points that an edit reads beside its own: of the same block, or of the whole model."""
    wanted = [within_block(name, read) for read in intervention.reads]
    wanted = [read for read in wanted if read not in vlm.absent]  # a layer without RoPE
    return vlm.matching(wanted) if wanted else []


def depth(vlm: Wired, name: str) -> int:
    """How many blocks the point's own stack offers: the tower's, or the language model's."""
    return vlm.depth("vision.blocks" if name.startswith("vision.") else "blocks")


def refuse_unreached(
    vlm: Wired, watched: Sequence[tuple[str, Any]], before: Mapping[str, int], tensors: Any
) -> None:
    """Raise where a point that was asked for has not been passed since ``before``.

    And where one is to be kept that was passed twice, by pictures and by videos.
    """
    shown = [name for name in ("pixel_values", "pixel_values_videos") if name in tensors]
    for name, who in watched:
        point = vlm.hook_dict[name]
        if point.fired == before[name]:
            raise UnreachedPointError(
                f"{name} was asked for by {who}, but this pass never reached it"
                + (_elsewhere(vlm, name) if shown else ": these inputs hold no image")
            )
        twice = point.fired - before[name] > 1 and not point.tap.pieces
        if who == "save" and len(shown) > 1 and twice:
            raise InputError(
                f"{name} is passed by pictures and then by videos, and one tensor is kept: save it "
                "of samples with pictures and of samples with videos in passes of their own, or "
                "save hook_embed"
            )
        if vlm.family.tower_of_videos and len(shown) > 1 and name.startswith("vision."):
            if who == "save":
                continue  # of the pictures
            raise InputError(
                f"{name} is edited by {who}, and only pictures pass it"
                f"{_elsewhere(vlm, name)}. Edit samples with pictures in a pass of their own"
            )


def _elsewhere(vlm: Wired, name: str) -> str:
    """Why a pass with something to see does not reach a point; empty where nobody knows."""
    tower = vlm.family.tower_of_videos
    if not tower or not name.startswith("vision."):
        return ""
    return (
        f": videos of {vlm.family.model_type} go through a tower of their own, {tower}, which is "
        "not watched. Points from projector.hook_in on are reached; to look into a tower, show "
        "frames as pictures, Sample(images=frames), which the tower of pictures sees"
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


def see(x: Shaped[Tensor, "..."], hook: WiredPoint, seen: dict[str, Shaped[Tensor, "..."]]) -> None:
    """A hook that notes the activation."""
    seen[hook.point.name] = x


def _site(vlm: Wired, inputs: Inputs, name: str, step: int, pooled: bool = True) -> Site:
    """Where an edit takes place.

    Args:
        vlm: the open model.
        inputs: the prepared inputs.
        name: the point.
        step: the decoding step.
        pooled: whether the edit is listed after what pools tokens, if anything does.
    """
    point, layouts = vlm.hook_dict[name], inputs.layouts
    deep = name.startswith("projector.deepstack")
    if inputs.unpooled and (
        (name.startswith("projector.") and not deep)  # passed before anything is pooled
        or (not pooled and (deep or name == "hook_embed"))
    ):
        layouts = inputs.unpooled
    return Site(name, point.axes, point.point.layer, layouts, inputs.keys, step, model=vlm)


def _look(x: Shaped[Tensor, "..."], hook: WiredPoint, sight: Sight, sites: Sequence[Site]) -> None:
    for own, site in zip(_turns(x, len(sites)), sites, strict=True):
        sight.look(own, site)


def _see(
    x: Shaped[Tensor, "..."], hook: WiredPoint, seen: Sequence[dict[str, Shaped[Tensor, "..."]]]
) -> None:
    for own, notes in zip(_turns(x, len(seen)), seen, strict=True):
        see(own, hook, notes)


def _edit(
    x: Shaped[Tensor, "*axes"],
    hook: WiredPoint,
    intervention: Intervention,
    sites: Sequence[Site],
    sight: Sight | None = None,
) -> Shaped[Tensor, "*axes"] | None:
    turns, made = _turns(x, len(sites)), []
    for own, site in zip(turns, sites, strict=True):
        edited = intervention.apply(own, site)
        if sight is not None:
            sight.masked(own, edited)
        made.append(edited)
    if all(new is old for new, old in zip(made, turns, strict=True)):
        return None
    return made[0] if turns[0] is x else torch.stack(made, 1).flatten(0, 1)


def _turns(x: Shaped[Tensor, "..."], beams: int) -> list[Shaped[Tensor, "..."]]:
    """One beam of every sample, then the next; an activation that all rows share is every row's."""
    if beams == 1 or len(x) == 1:
        return [x] * beams
    return list(x.unflatten(0, (-1, beams)).unbind(1))
