"""``make bench``: a line a job, and docs/benchmarks.md."""

import argparse
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks import passes, probing, shuffling, sweeping
from tests.benchmarks.bench import Bench, Job
from tests.benchmarks.subject import Size
from tests.benchmarks.timing import Found
from vlmlens.experiments.diagnosis import versions

PAGE = Path("docs/benchmarks.md")

JOBS = (
    Job("forward, nobody watching / plain transformers", 1.02, passes.forward),
    Job("the same, tiny width", 1.05, passes.tiny_forward),
    Job("open a model in memory, seconds", 0.3, passes.opening),
    Job("save residual streams / raw hooks", 1.05, passes.stream),
    Job("save everything / raw hooks", 1.10, passes.everything),
    Job("CMB of one prompt / plain forward", 1.15, probing.cmb_time),
    Job("CMB, extra peak memory / all attentions, eager", 0.05, probing.cmb_memory),
    Job("RoPE probe, 8 deltas / plain forward", 1.25, probing.rope_time),
    Job("PSI, permutations of one item / what cannot be shared", 1.15, shuffling.permutations),
    Job("sweep, layers x last token / TransformerBridge loop", 0.10, sweeping.bridge_last),
    Job("sweep, layers x last token / nnsight loop", 0.10, sweeping.nnsight_last),
    Job("sweep, layers x heads, last token / naive loop", 0.03, sweeping.heads),
    Job("sweep, layers x image rows / naive loop", 0.6, sweeping.rows),
    Job("sweep, layers x image rows / the cone's arithmetic", 1.25, sweeping.rows_arithmetic),
    Job("several questions about one image, runs of the tower", 1.0, sweeping.tower_runs),
)

QUICK = Bench(Size(width=256, vision_width=64, grid=14), rounds=2, shuffles=2, layers=(6,))


def main() -> None:
    """Measure every job, print its line, write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a narrower model, fewer rounds")
    parser.add_argument("--only", default="", help="jobs whose name holds this; writes no page")
    given = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU seconds are what work costs
    bench, start = QUICK if given.quick else Bench(), time.perf_counter()
    found: dict[Job, Found] = {}
    for job in JOBS:
        if given.only in job.name:
            found[job] = job.measure(bench)
            print(line(job, found[job]), flush=True)
    if len(found) == len(JOBS) and not given.quick:
        PAGE.write_text(page(bench, found))
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


def line(job: Job, found: Found) -> str:
    """``job<TAB>ratio<TAB>bar<TAB>met|missed``."""
    return f"{job.name}\t{found.ratio:.3g}\t{job.bar:g}\t{verdict(job, found)}"


def verdict(job: Job, found: Found) -> str:
    """Whether the bar is met."""
    return "met" if found.ratio <= job.bar else "missed"


def page(bench: Bench, found: dict[Job, Found]) -> str:
    """The table, with what it was measured on and how."""
    rows = [
        f"| {job.name} | {each.ratio:.3g} | {each.low:.3g} to {each.high:.3g} | {each.note} | "
        f"{job.bar:g} | {verdict(job, each)} |"
        for job, each in found.items()
    ]
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    return HEAD.format(
        size=bench.size,
        rounds=bench.rounds,
        shuffles=bench.shuffles,
        layers=" and ".join(map(str, bench.layers)),
        machine=f"{platform.machine()}, {torch.get_num_threads()} thread",
        versions=used,
        date=datetime.now(UTC).date(),
        rows="\n".join(rows),
    )


HEAD = (Path(__file__).parent / "page.md").read_text()

if __name__ == "__main__":
    main()
