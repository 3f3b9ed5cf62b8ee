"""Resume: many edited passes from one clean one, each computing its causal cone and no more.

A cell is a list of edits. Cells whose cones begin at one position are rows of one pass, which
begins at the first block that any of them edits; every row joins at its own block, as the clean
stream there. Rows attend to the clean keys and values of everything before the cone. transformers
runs the blocks, its own masks and the head; what the language model is given is put in its place.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vlmlens.interventions import Intervention, Site
from vlmlens.model.passes.edits import (
    edited_points,
    read_points,
    refuse_idle,
    refuse_unreached,
    see,
)
from vlmlens.model.passes.runs import Runs
from vlmlens.model.passes.visibility import MASK, Sight, sight_of
from vlmlens.model.passes.watching import new_level, seated
from vlmlens.model.reuse.batching import in_batches
from vlmlens.model.reuse.cone import Cone, as_whole, cone, layer_of, left, newest, settled
from vlmlens.model.reuse.entering import before, blocks_of, refuse_hooks
from vlmlens.model.reuse.prefill import Prefill, refuse_others
from vlmlens.model.reuse.splice import skipped, spliced, text_inputs
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.positions import Positions, chosen
from vlmlens.tensors import onto
from vlmlens.versions import logits_at

#: Where batches begin to be tried: positions that the rows of one pass compute, and keys that they
#: look at, all together. More of either fills memory and no longer saves time.
POSITIONS, KEYS = 2**12, 2**15
#: Cones that begin this near to each other (a share of what the first one computes) are one group.
NEAR = 1 / 16


@dataclass(frozen=True, eq=False)
class Resumed:
    """What edited passes came to.

    Attributes:
        logits: of every cell, at the positions that were asked for.
        positions: these positions.
        cones: what of every cell was computed again; None where its whole pass was run.
        whole: why, for the cells whose whole pass was run, by their number.

    Examples:
        >>> from vlmlens.interventions import Scale
        >>> cells = [[Scale(f"blocks.{layer}.hook_mlp_out", by=0.5)] for layer in range(4)]
        >>> found = model.resume(model.prefill(model.inputs(sample)), cells)
        >>> found.logits.shape, found.cones[3].layer, dict(found.whole)  # cell row vocab
        (torch.Size([4, 1, 418]), 3, {})
    """

    logits: Float[Tensor, "cell row vocab"]
    positions: Int[Tensor, " row"]
    cones: tuple[Cone | None, ...]
    whole: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class _Row:
    """One cell on its way through a pass: its edits by point, in order."""

    cell: int
    cone: Cone
    edits: Mapping[str, Sequence[Intervention]]


def resume(
    vlm: Runs,
    prefill: Prefill,
    cells: Sequence[Sequence[Intervention]],
    positions: Positions,
    progress: Callable[[int], None],
    unseen: bool = False,
) -> Resumed:
    """Run cells from a prefill; see ``HookedVLM.resume``."""
    refuse_hooks(vlm)
    refuse_others(vlm, prefill)
    size = prefill.stream[0].shape[1]
    at = torch.from_numpy(chosen(prefill.inputs.layouts[0], positions).nonzero()[0])
    rows, whole = _rows(vlm, prefill, cells)
    found: dict[int, Tensor] = {}
    with vlm.implementations.take(prefill.attention), torch.no_grad():
        for position, group in groups(rows, int(at[0]), prefill):
            most = max(1, min(POSITIONS // (size - position), KEYS // size))
            for some in in_batches(
                partial(_one_pass, vlm, prefill, position, at, unseen), group, most
            ):
                found |= some
                progress(len(some))
    for number, logits in found.items():
        if logits.isnan().any():
            whole[number] = "an edit reads positions that come before all that it changes"
    for number in whole:
        run = vlm.run(prefill.inputs, cells[number], attention=prefill.attention)
        progress(number not in found)
        own = left(run.inputs.layouts[0], positions, len(at))
        found[number] = run.logits[0, onto(own, run.logits.device)]
    cones = {row.cell: row.cone for row in rows if row.cell not in whole}
    numbers = range(len(cells))
    return Resumed(
        torch.stack([found[n] for n in numbers]), at, tuple(cones.get(n) for n in numbers), whole
    )


def groups(rows: Sequence[_Row], wanted: int, prefill: Prefill) -> Iterator[tuple[int, list[_Row]]]:
    """Rows whose cones begin at one position, or near it, by their first block.

    Args:
        rows: one for every cell.
        wanted: the first position that is asked for, which may come before a cone.
        prefill: the clean pass.
    """
    begins = [settled(min(row.cone.position, wanted), prefill.masks) for row in rows]
    size = prefill.stream[0].shape[1]
    group: list[_Row] = []
    begin = 0
    for own, row in sorted(zip(begins, rows, strict=True), key=lambda pair: pair[0]):
        if group and own - begin > NEAR * (size - begin):
            yield begin, sorted(group, key=lambda each: each.cone.layer)
            group = []
        begin = begin if group else own
        group.append(row)
    if group:
        yield begin, sorted(group, key=lambda each: each.cone.layer)


def _rows(
    vlm: Runs, prefill: Prefill, cells: Sequence[Sequence[Intervention]]
) -> tuple[list[_Row], dict[int, str]]:
    """The cells that can be resumed, and why the others cannot."""
    rows: list[_Row] = []
    whole: dict[int, str] = {}
    for number, edits in enumerate(cells):
        refuse_idle(edits, steps=1)
        row = _row(vlm, prefill, number, edits)
        if isinstance(row, str):
            whole[number] = row
        else:
            rows.append(row)
    return rows, whole


def _row(vlm: Runs, prefill: Prefill, number: int, edits: Sequence[Intervention]) -> _Row | str:
    by_point: dict[str, list[Intervention]] = defaultdict(list)
    concerned: list[str] = []
    for edit in edits:
        for name in edited_points(vlm, edit):
            by_point[name].append(edit)
            concerned += [name, *read_points(vlm, edit, name)]
    if "hook_embed" in by_point and vlm.hook_dict["hook_embed"].tap.stage == "embeds":
        return "every block's own embeddings are made of hook_embed, before the first one"
    found = cone(vlm, prefill, edits, concerned)
    return found if isinstance(found, str) else _Row(number, found, by_point)


def _one_pass(
    vlm: Runs,
    prefill: Prefill,
    position: int,
    at: Int[Tensor, " last"],
    unseen: bool,
    rows: Sequence[_Row],
) -> dict[int, Float[Tensor, "row vocab"]]:
    """Rows, sorted by their first block, through the blocks from there on: cell -> logits."""
    first = rows[0].cone.layer
    blocks = blocks_of(vlm)
    norm = vlm.hf_model.get_submodule(vlm.family.final_norm)
    points = list(dict.fromkeys(name for row in rows for name in row.edits))
    watched = [(name, edits[0]) for row in rows for name, edits in row.edits.items()]
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(skipped(vlm, blocks[:first]))
        for layer, module in list(enumerate([*blocks, norm]))[first:]:
            joining = sum(row.cone.layer == layer for row in rows)
            enter = partial(_enter, prefill, position, layer, joining, layer == first)
            stack.enter_context(before(vlm, module, enter))
        level = stack.enter_context(new_level(vlm))
        looks = [] if unseen else list(_looks(rows))
        for name in dict.fromkeys(name for _, _, names in looks for name in names):
            here = [(number, sight) for number, sight, names in looks if name in names]
            look: Any = partial(_look, prefill=prefill, looks=here)
            vlm.hook_dict[name].add_own(look, level)
        for read in dict.fromkeys(
            read
            for name in points
            for row in rows
            for edit in row.edits.get(name, ())
            for read in read_points(vlm, edit, name)
        ):
            note: Any = partial(see, seen=seen)
            vlm.hook_dict[read].add_own(note, level)
        for name in points:
            masks = [(number, sight) for number, sight, _ in looks if name.endswith(MASK)]
            hook: Any = partial(_edit, vlm=vlm, prefill=prefill, rows=rows, seen=seen, masks=masks)
            vlm.hook_dict[name].add_own(hook, level)
        fired = {name: vlm.hook_dict[name].fired for name in points}
        stack.enter_context(spliced(vlm, prefill, position))
        stack.enter_context(seated(vlm, prefill.inputs.layouts))
        kept = onto(at, vlm.device) - position
        output = logits_at(vlm.hf_model, kept, **text_inputs(prefill, position), use_cache=False)
        refuse_unreached(vlm, watched, fired, prefill.inputs.tensors)
    for _, sight, _ in looks:
        sight.refuse()
    return {row.cell: logits for row, logits in zip(rows, output.logits, strict=True)}


def _looks(rows: Sequence[_Row]) -> Iterator[tuple[int, Sight, list[str]]]:
    """Every row's edits that choose keys, by the row's number, and the scores to look at."""
    for number, row in enumerate(rows):
        for edit in dict.fromkeys(edit for edits in row.edits.values() for edit in edits):
            names = [name for name, edits in row.edits.items() if edit in edits]
            if (found := sight_of(edit, names, 0, 1)) is not None:
                yield number, *found


def _look(
    x: Float[Tensor, "row head query key"],
    hook: WiredPoint,
    prefill: Prefill,
    looks: Sequence[tuple[int, Sight]],
) -> None:
    """Show every row's scores to those who look."""
    inputs, size = prefill.inputs, len(prefill.inputs.layouts[0])
    site = Site(hook.point.name, hook.axes, hook.point.layer, inputs.layouts, inputs.keys)
    for number, sight in looks:
        sight.look(as_whole(x[number : number + 1], hook.axes, size), site)


def _enter(
    prefill: Prefill,
    position: int,
    layer: int,
    joining: int,
    first: bool,
    x: Float[Tensor, "row pos d_model"],
) -> Float[Tensor, "joined pos d_model"] | None:
    """What enters a block: the rows on their way, and those that join here, clean so far."""
    fresh = prefill.stream[layer][:, position:].expand(joining, -1, -1)
    if first:
        return fresh.clone()
    deeper = prefill.given.get("deepstack_visual_embeds") or ()
    if 0 < layer <= len(deeper):  # a deep tower adds to the stream between the first blocks
        added = torch.zeros_like(prefill.stream[layer][0])
        added[prefill.given["visual_pos_masks"][0]] = deeper[layer - 1].to(added)
        x = x + added[position:]
    return torch.cat([x, fresh])


def _edit(
    x: Shaped[Tensor, "..."],
    hook: WiredPoint,
    vlm: Runs,
    prefill: Prefill,
    rows: Sequence[_Row],
    seen: Mapping[str, Shaped[Tensor, "..."]],
    masks: Sequence[tuple[int, Sight]],
) -> Shaped[Tensor, "..."]:
    """Every row after its own edits, each of which is shown the whole sequence."""
    name, size = hook.point.name, len(prefill.inputs.layouts[0])
    there = sum(row.cone.layer <= layer_of(vlm, name) for row in rows)
    x = x.expand(there, *x.shape[1:]).clone()  # angles come once for all rows
    for number, row in enumerate(rows):
        for edit in row.edits.get(name, ()):
            own = x[number : number + 1]
            read = {
                point: as_whole(_of(seen[point], number), vlm.hook_dict[point].axes, size)
                for point in read_points(vlm, edit, name)
            }
            site = Site(
                name,
                hook.axes,
                hook.point.layer,
                prefill.inputs.layouts,
                prefill.inputs.keys,
                seen=read,
                model=vlm,
            )
            edited = newest(edit.apply(as_whole(own, hook.axes, size), site), own.shape)
            for _, sight in (each for each in masks if each[0] == number and each[1].edit is edit):
                sight.masked(own, edited)
            x[number : number + 1] = edited
    return x


def _of(x: Shaped[Tensor, "..."], number: int) -> Shaped[Tensor, "..."]:
    return x if x.shape[0] == 1 else x[number : number + 1]
