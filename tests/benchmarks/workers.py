"""Two workers of Ray against one on a job that computes: ``python -m tests.benchmarks.workers``.

The two take turns, so that what else the machine does is met by both; their models are open before
the first turn. Where others use the cores, the CPU-seconds of the busiest process tell how long it
would have taken on cores of one's own.
"""

import os
import statistics
import sys
import time
from contextlib import suppress

import psutil

import vlmlens as vl
from vlmlens.experiments import Answering, Experiment, OnRay
from vlmlens.interventions import PermuteVision

ROUNDS, SAMPLES, BATCH = 5, 240, 8


def cpu_times() -> dict[int, float]:
    """CPU-seconds so far of this process and of all that it started."""
    found = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def main() -> None:
    """Measure, and print every turn and the ratio of medians."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    edits = {"original": (), "seed 0": (PermuteVision(),)}
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        samples = vl.datasets.load("shapes-2d", samples=SAMPLES)
        run = Experiment(model, samples, Answering(), edits, batch=BATCH)
        few = Experiment(model, samples[: 4 * BATCH], Answering(), edits, batch=BATCH)
        ways = {"one": OnRay(workers=1), "two": OnRay(workers=2)}
        import ray

        ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False)
        for executor in ways.values():
            few.run(executor=executor)
        took: dict[str, list[float]] = {name: [] for name in ways}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name in sorted(ways, reverse=bool(turn % 2)):
                before, clock = cpu_times(), time.monotonic()
                run.run(executor=ways[name])
                took[name].append(time.monotonic() - clock)
                spent[name].append(max(now - before.get(p, 0) for p, now in cpu_times().items()))
                said = f"{took[name][-1]:.2f} s, {spent[name][-1]:.2f} CPU-s of the busiest process"
                print(f"{name}: {said}, load {os.getloadavg()[0]:.1f}", flush=True)
        for what, found in (("seconds", took), ("CPU-seconds of the busiest process", spent)):
            one, two = (statistics.median(found[name]) for name in ways)
            print(f"{what}: {one:.2f} and {two:.2f}, {one / two:.2f} times as fast")
        ray.shutdown()


if __name__ == "__main__":
    main()
