"""How cost grows, and what 7 billion weights need: ``python -m tests.benchmarks.scaling``.

Measured on a narrow model, in CPU seconds of one thread; the rest is counted. docs/performance.md
quotes both.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

import vlmlens as vl
from tests.benchmarks.arithmetic import Stack
from tests.benchmarks.subject import Size, Subject
from tests.benchmarks.timing import quartiles, seconds
from vlmlens import probes
from vlmlens.experiments import permutation_test, sweep
from vlmlens.probes import cmb, rope

SIZE = Size(width=256, layers=8, heads=4, vision_width=128, vision_layers=4)
ROUNDS = 3


def median(run: Callable[[], object]) -> float:
    """Seconds of a call, the first of which is left out."""
    run()
    return quartiles([seconds(run) for _ in range(ROUNDS)])[1]


def table(title: str, across: Iterable[object], rows: dict[str, list[str]]) -> None:
    """Print a table."""
    names = [str(x) for x in across]
    print(f"\n| {title} | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |")


def shown(values: list[float]) -> list[str]:
    return [f"{1000 * x:.0f} ms" for x in values]


def balance(vlm: vl.HookedVLM, inputs: vl.Inputs) -> object:
    return probes.cross_modality_balance(vlm.run(inputs, save=cmb.NEEDS))


def samples(subject: Subject) -> None:
    counts = (1, 2, 4, 8)
    with vl.HookedVLM(subject.model, subject.processor) as vlm:
        batches = [vlm.inputs([subject.question(i) for i in range(n)]) for n in counts]
        table(
            "samples",
            counts,
            {
                "forward": shown([median(lambda b=b: vlm.run(b)) for b in batches]),
                "CMB": shown([median(lambda b=b: balance(vlm, b)) for b in batches]),
            },
        )


def tokens() -> None:
    grids = (12, 17, 24)
    found: dict[str, list[float]] = {"forward": [], "CMB": []}
    for grid in grids:
        subject = Subject.of(replace(SIZE, grid=grid))
        with vl.HookedVLM(subject.model, subject.processor) as vlm:
            inputs = vlm.inputs([subject.sample])
            found["forward"].append(median(lambda: vlm.run(inputs)))  # noqa: B023
            found["CMB"].append(median(lambda: balance(vlm, inputs)))  # noqa: B023
    sizes = [grid**2 + SIZE.text for grid in grids]
    table("tokens", sizes, {name: shown(times) for name, times in found.items()})


def layers() -> None:
    depths = (4, 8, 16)
    found: dict[str, list[float]] = {"forward": [], "sweep of layers x last token": []}
    for depth in depths:
        subject = Subject.of(replace(SIZE, layers=depth))
        pair = subject.question(0), replace(subject.question(1), answer="blue")
        with vl.HookedVLM(subject.model, subject.processor) as vlm:
            inputs = vlm.inputs([subject.sample])
            found["forward"].append(median(lambda: vlm.run(inputs)))  # noqa: B023
            last = vl.Where(positions="last")
            found["sweep of layers x last token"].append(
                median(lambda: sweep(vlm, *pair, where=last, progress=False))  # noqa: B023
            )
    table("layers", depths, {name: shown(times) for name, times in found.items()})


def turns(subject: Subject) -> None:
    counts = (1, 8, 64)
    with vl.HookedVLM(subject.model, subject.processor) as vlm:
        run = vlm.run(vlm.inputs([subject.sample]), save=rope.NEEDS)
        deltas = [[0.1 * (i + 1) for i in range(n)] for n in counts]
        after = [median(lambda d=d: probes.rope_sensitivity(run, delta=d)) for d in deltas]
    table("deltas", counts, {"RoPE probe, after its pass": shown(after)})


def permutations(subject: Subject) -> None:
    counts = (1, 4, 8)
    with vl.HookedVLM(subject.model, subject.processor) as vlm:
        times = [
            median(
                lambda n=n: permutation_test(
                    vlm, [subject.sample], permutations=n, progress=False, max_new_tokens=2
                )
            )
            for n in counts
        ]
    table("permutations of one item", counts, {"permutation_test": shown(times)})


def seven_billion() -> None:
    """LLaVA-1.5-7B: counted, not measured."""
    text, tower = Stack(4096, 11008, 32), Stack(1024, 4096, 24, 2)
    length, patches = 640, 577
    whole = text.cone(length)
    seen = 2 * tower.weights * 24 * patches + 4 * 1024 * patches**2 * 24
    last = sum(text.cone(length, layer, length - 1) for layer in range(32))
    heads = 32 * last
    rows = sum(text.cone(length, layer, 40 + 24 * row) for layer in range(32) for row in range(24))
    print(f"\nweights of the blocks {text.weights * 32 / 1e9:.2f} billion")
    for name, operations, cells in (
        ("forward, language model", whole, 1),
        ("forward, tower", seen, 1),
        ("32 layers x last token", last, 32),
        ("32 layers x 32 heads, last token", heads, 1024),
        ("32 layers x 24 image rows", rows, 768),
    ):
        print(f"{name}: {operations / 1e12:.2f} tera-operations, {cells * whole / operations:.1f}x")
    keys = 2 * 32 * length * 4096 * 2
    print(
        f"keys and values {keys / 2**20:.0f} MiB, stream {33 * length * 4096 * 2 / 2**20:.0f} MiB"
    )
    patterns = 32 * 32 * length**2 * 2
    print(
        f"all patterns {patterns / 2**20:.0f} MiB, last rows {32 * 32 * length * 2 / 2**20:.2f} MiB"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    seven_billion()
    one = Subject.of(SIZE)
    samples(one)
    turns(one)
    permutations(one)
    tokens()
    layers()
