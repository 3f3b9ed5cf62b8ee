"""``python -m vlmlens.study RUNS --out FOLDER``: measure what the queue has trained."""

from pathlib import Path

import torch
import typer

from vlmlens.study.runs import measure_runs


def main(
    runs: Path,
    out: Path = typer.Option(Path("docs/study")),
    only: list[str] = typer.Option([], help="names of runs; by default all that are finished"),
    threads: int = 1,
) -> None:
    """Measure every finished run in RUNS; what is measured already is read."""
    torch.set_num_threads(threads)
    for path in measure_runs(runs, out, only).values():
        typer.echo(path)


if __name__ == "__main__":
    typer.run(main)
