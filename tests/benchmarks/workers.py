"""Two workers of Ray against one on a job that computes: ``python -m tests.benchmarks.workers``.

The two take turns, so that what else the machine does is met by both; their models are open before
the first turn.
"""

import os
import statistics
import sys
import time

import vlmlens as vl
from vlmlens.experiments import Answering, Experiment, OnRay
from vlmlens.interventions import PermuteVision

ROUNDS, SAMPLES, BATCH = 5, 240, 8


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
        for turn in range(rounds):
            for name in sorted(ways, reverse=bool(turn % 2)):
                before, own = time.monotonic(), time.process_time()
                run.run(executor=ways[name])
                took[name].append(time.monotonic() - before)
                own, load = time.process_time() - own, os.getloadavg()[0]
                print(f"{name}: {took[name][-1]:.2f} s, {own:.2f} of it here, load {load:.1f}")
        one, two = (statistics.median(took[name]) for name in ("one", "two"))
        ratios = [a / b for a, b in zip(took["one"], took["two"], strict=True)]
        print(f"medians {one:.2f} s and {two:.2f} s: {one / two:.2f} times as fast; turn by turn ")
        print(", ".join(f"{ratio:.2f}" for ratio in ratios))
        ray.shutdown()


if __name__ == "__main__":
    main()
