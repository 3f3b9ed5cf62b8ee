"""Probes: what a measurement costs on top of the pass."""

from collections.abc import Callable
from typing import Any

import torch

from tests.benchmarks.bench import Bench
from tests.benchmarks.memory import mebibytes, peak
from tests.benchmarks.passes import plain
from tests.benchmarks.timing import Found, compared
from vlmlens import probes
from vlmlens.probes import cmb, rope

DELTAS = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)


def balance(bench: Bench) -> Callable[[], object]:
    """CMB of one prompt."""
    vlm, inputs = bench.vlm(bench.subject), bench.inputs(bench.subject)
    return lambda: probes.cross_modality_balance(vlm.run(inputs, save=cmb.NEEDS))


def authors_balance(bench: Bench) -> Callable[[], object]:
    """The same as the paper's code has it: eager attention, and all of it."""
    model, inputs = bench.unwrapped(bench.subject), bench.inputs(bench.subject)
    layout = inputs.layouts[0]
    vision, user = (torch.from_numpy(layout.mask(role)) for role in ("vision", "user"))

    def run() -> Any:
        model.set_attn_implementation("eager")
        try:
            with torch.no_grad():
                output = model(**inputs.tensors, use_cache=False, output_attentions=True)
        finally:
            model.set_attn_implementation("sdpa")
        rows = torch.stack([pattern[0, :, -1] for pattern in output.attentions])
        image = rows[..., vision].sum(-1)
        return image / (image + rows[..., user].sum(-1)), output

    return run


def cmb_time(bench: Bench) -> Found:
    return compared(balance(bench), plain(bench, bench.subject), bench.rounds)


def cmb_memory(bench: Bench) -> Found:
    base = peak(plain(bench, bench.subject))
    ours, theirs = (peak(run(bench)) - base for run in (balance, authors_balance))
    return Found.exact(ours / theirs, f"{mebibytes(ours)} / {mebibytes(theirs)}")


def rope_time(bench: Bench) -> Found:
    vlm, inputs = bench.vlm(bench.subject), bench.inputs(bench.subject)

    def ours() -> object:
        return probes.rope_sensitivity(vlm.run(inputs, save=rope.NEEDS), delta=DELTAS)

    return compared(ours, plain(bench, bench.subject), bench.rounds)
