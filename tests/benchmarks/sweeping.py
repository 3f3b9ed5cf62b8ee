"""Patching sweeps: cells by the cone, against a forward pass a cell."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from nnsight import NNsight
from torch import Tensor

import vlmlens as vl
from tests.benchmarks.arithmetic import Stack
from tests.benchmarks.bench import Bench
from tests.benchmarks.passes import plain
from tests.benchmarks.timing import Found, Side, compared
from vlmlens.experiments import sweep
from vlmlens.interop.transformer_lens import to_bridge

STREAM, HEADS = "blocks.*.hook_resid_pre", "blocks.*.attn.hook_z"
LAST = vl.Where(positions="last")
#: A block of the middle, where a naive cell is timed: all of them cost the same.
MIDDLE = "blocks.6.hook_resid_pre"


def lens(bench: Bench, pair: Sequence[vl.Sample], point: str, **options: Any) -> Callable:
    """vlmlens's sweep, both base runs among it."""
    vlm = bench.vlm(bench.subject)
    return lambda: sweep(vlm, *pair, point, progress=False, **options)


def two_questions(bench: Bench) -> tuple[vl.Sample, vl.Sample]:
    """One picture, two questions."""
    subject = bench.subject
    first, second = (subject.question(start=word) for word in ("red", "blue"))
    return first, replace(second, answer="blue")


def two_pictures(bench: Bench) -> tuple[vl.Sample, vl.Sample]:
    """One question, two pictures."""
    first, second = (bench.subject.question(seed) for seed in (0, 1))
    return first, replace(second, answer="blue")


def bridge_last(bench: Bench) -> Found:
    bridge = to_bridge(bench.vlm(bench.subject))
    tensors, clean = dict(bench.inputs(bench.subject).tensors), _clean(bench)
    ids = tensors.pop("input_ids")

    def patch(x: Tensor, hook: Any) -> Tensor:
        x[:, -1] = clean
        return x

    def cell() -> Any:
        with torch.no_grad():
            return bridge.run_with_hooks(ids, fwd_hooks=[(MIDDLE, patch)], **tensors)

    return _last(bench, cell)


def nnsight_last(bench: Bench) -> Found:
    traced, clean = NNsight(bench.unwrapped(bench.subject)), _clean(bench)
    tensors, kept = bench.inputs(bench.subject).tensors, []

    def cell() -> Any:
        with torch.no_grad(), traced.trace(**tensors, use_cache=False):
            traced.model.language_model.layers[6].input[:, -1] = clean
            kept.append(traced.output.logits.save())
        return kept.pop()

    return _last(bench, cell)


def _last(bench: Bench, cell: Callable[[], Any]) -> Found:
    ours = lens(bench, two_questions(bench), STREAM, over="pos", where=LAST)
    return compared(ours, Side(cell, times=2 + bench.size.layers), bench.rounds)


def heads(bench: Bench) -> Found:
    ours = lens(bench, two_pictures(bench), HEADS, over="head", where=LAST)
    cells = bench.size.layers * bench.size.heads
    return compared(ours, Side(plain_cell(bench), times=2 + cells), bench.rounds)


def rows(bench: Bench) -> Found:
    ours, cells = _rows(bench)
    return compared(ours, Side(plain_cell(bench), times=2 + cells), bench.rounds)


def rows_arithmetic(bench: Bench) -> Found:
    ours, _ = _rows(bench)
    size, layout = bench.size, bench.inputs(bench.subject).layouts[0]
    text = Stack(size.width, bench.subject.model.config.text_config.intermediate_size, size.layers)
    tower = Stack(size.vision_width, 4 * size.vision_width, size.vision_layers, 2)
    length = len(layout)
    # The tower's queries see all keys, twice as many pairs as a causal count has.
    seen = 2 * tower.cone(size.grid**2 + 1) - tower.layers * 2 * tower.weights * size.grid**2
    whole = text.cone(length) + seen
    starts = [int(layout.vision(0)[row * size.grid]) for row in range(size.grid)]
    cones = sum(text.cone(length, layer, start) for layer in bench.layers for start in starts)
    return compared(ours, Side(plain(bench, bench.subject), times=2 + cones / whole), bench.rounds)


def _rows(bench: Bench) -> tuple[Callable, int]:
    where = vl.Where(layers=bench.layers)
    ours = lens(bench, two_pictures(bench), STREAM, over="row", where=where)
    return ours, len(bench.layers) * bench.size.grid


def tower_runs(bench: Bench) -> Found:
    vlm, (first, second) = bench.vlm(bench.subject), two_questions(bench)
    runs: list[int] = []
    tower = vlm.hf_model.model.vision_tower  # its own method: with a hook on, nothing is shared
    usual = tower.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        runs.append(1)
        return usual(*args, **kwargs)

    tower.forward = counted
    try:
        with vlm.reuse():
            for sample in (first, second):
                vlm.run(vlm.inputs([sample]))
    finally:
        del tower.forward
    return Found.exact(float(len(runs)), "2 questions")


def plain_cell(bench: Bench) -> Callable[[], Any]:
    """A forward pass of plain transformers with one torch hook that patches."""
    model, clean = bench.unwrapped(bench.subject), _clean(bench)
    run = plain(bench, bench.subject)

    def patch(_: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        x = args[0].clone()
        x[:, -1] = clean
        return (x, *args[1:]), kwargs

    def cell() -> Any:
        block = model.model.language_model.layers[6]
        handle = block.register_forward_pre_hook(patch, with_kwargs=True)
        try:
            return run()
        finally:
            handle.remove()

    return cell


def _clean(bench: Bench) -> Tensor:
    """What a naive cell patches in."""
    vlm = bench.vlm(bench.subject)
    return vlm.run(bench.inputs(bench.subject), save=MIDDLE).saved[MIDDLE][:, -1]
