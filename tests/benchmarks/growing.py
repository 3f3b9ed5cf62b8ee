"""How a store grows: time, memory and bytes for 200 to 100,000 results; ``make bench-scale``.

What is measured is the store and its bookkeeping: the measure costs nothing, the model is a tiny
one that is never asked. Every size runs in a process of its own, so its peak memory is its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Samples, under two conditions each.
SIZES = (100, 1_000, 10_000, 50_000)
ROWS = 100_000
PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
MARKS = "<!-- growth: written by make bench-scale -->\n", "<!-- growth: end -->\n"


def main() -> None:
    """Measure every size, and write the table into the page."""
    rows = [json.loads(_run("run", size)) for size in SIZES]
    rows.append(json.loads(_run("rows", ROWS)))
    table = "\n".join(_table(rows)) + "\n"
    print(table)
    if "--no-write" not in sys.argv:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        PAGE.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}", encoding="utf-8")


def _run(what: str, size: int) -> str:
    words = [sys.executable, "-m", "tests.benchmarks.growing", what, str(size)]
    return subprocess.run(words, check=True, text=True, capture_output=True).stdout.splitlines()[-1]


def _table(rows: list[dict[str, float]]) -> list[str]:
    lines = [
        "| results | CPU-ms a result, first run | resume, CPU-s | open, CPU-s | bytes a result "
        "| peak memory beyond start, MB: filled | read in parts | read whole | files |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        resumed = f"{row['resume']:.2f}" if "resume" in row else "-"
        lines.append(
            f"| {row['results']:,} | {row['each']:.3f} | {resumed} | {row['open']:.3f} "
            f"| {row['bytes']:.1f} | {row.get('filled', row['memory']):.0f} "
            f"| {_shown(row, 'parts')} | {_shown(row, 'memory', 'parts')} | {row['files']} |"
        )
    return lines


def _shown(row: dict[str, float], name: str, needs: str = "") -> str:
    return f"{row[name]:.0f}" if name in row and (needs or name) in row else "-"


def run(size: int) -> dict[str, float]:
    """An experiment of so many samples under two conditions, and its resuming."""
    from dataclasses import dataclass

    import numpy as np
    import xarray as xr
    from PIL import Image

    import vlmlens as vl
    from vlmlens.experiments import Experiment, Measure
    from vlmlens.interventions import PermuteVision
    from vlmlens.zoo.tiny import build

    @dataclass(frozen=True)
    class Free(Measure):
        def __call__(self, model, samples, interventions):
            values = np.array([int(s.id[1:]) for s in samples])
            said = np.array(["red", "blue"])[values % 2]
            sure = np.sin(values).astype("f4")
            columns = {"answer": said, "correct": (values % 2).astype(float), "log_prob": sure}
            return xr.Dataset({name: ("sample", column) for name, column in columns.items()})

    shown = [Image.new("RGB", (8, 8), (n, n, n)) for n in range(50)]
    samples = [vl.Sample("Is it red?", (shown[n % 50],), id=f"q{n}") for n in range(size)]
    edits = {"original": (), "seed 0": (PermuteVision(),)}
    with vl.HookedVLM(*build("llava"), name="tiny") as model:
        experiment = Experiment(model, samples, Free(), edits)
        with tempfile.TemporaryDirectory() as folder:
            Experiment(model, samples[:32], Free(), edits).run(Path(folder) / "first")  # imports
            start, before = _memory(), time.process_time()
            experiment.fill(folder)
            first, filled = time.process_time() - before, _memory() - start
            for part in experiment.parts(folder):
                assert part.sizes["sample"] <= 1024
            parts = _memory() - start
            before = time.process_time()
            experiment.run(folder)
            resumed, peak = time.process_time() - before, _memory() - start
            found = {"each": 1000 * first / (2 * size), "resume": resumed, "memory": peak}
            found |= {"filled": filled, "parts": parts}
            return found | _folder(Path(folder), 2 * size)


def rows(count: int) -> dict[str, float]:
    """So many rows straight into a store, without a model."""
    import numpy as np
    import xarray as xr

    from vlmlens.store import Condition, Store

    rng, condition = np.random.default_rng(0), Condition("0" * 24, {"label": "one"})
    keys = [rng.bytes(12) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store, start, before = Store(Path(folder)), _memory(), time.process_time()
        store.open()
        for at in range(0, count, 32):
            own = keys[at : at + 32]
            table = {"log_prob": ("sample", rng.random(len(own), dtype="f4"))}
            table["correct"] = ("sample", rng.integers(0, 2, len(own)).astype(float))
            store.add(condition, own, [f"q{n}" for n in range(at, at + 32)], xr.Dataset(table))
            if store.due:
                store.flush()
        store.flush()
        spent, peak = time.process_time() - before, _memory() - start
        return {"each": 1000 * spent / count, "memory": peak} | _folder(Path(folder), count)


def _folder(folder: Path, count: int) -> dict[str, float]:
    from vlmlens.store import Store

    before = time.process_time()
    Store(folder).open()
    opened = time.process_time() - before
    files = list(folder.glob("results-*"))
    size = sum(path.stat().st_size for path in files)
    return {"results": count, "open": opened, "bytes": size / count, "files": len(files)}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        print(json.dumps(run(int(sys.argv[2]))))
    elif sys.argv[1:2] == ["rows"]:
        print(json.dumps(rows(int(sys.argv[2]))))
    else:
        main()
