"""All runs of the study: ``python -m vlmlens.zoo.training.recipe.queue --out FOLDER``.

Give the same command again to go on after a kill. Two of them may share a folder: each takes the
first run that neither is done nor being done, and one waits while the other teaches what runs
share, text and towers.
"""

from pathlib import Path

import torch
import typer

from vlmlens.errors import UnknownNameError
from vlmlens.zoo.training.recipe.arms import ARMS, Job, train_arm
from vlmlens.zoo.training.recipe.locks import claimed
from vlmlens.zoo.training.recipe.plan import StagedRecipe
from vlmlens.zoo.training.recipe.tower import POSITIONS

SEEDS = (0, 1, 2)
SCALES = (1.0, 30.0, 10.0)


def jobs() -> list[Job]:
    """The four arms, seed by seed; then projector scale by tower position, seed by seed.

    Extremes come before what lies between, so that a queue cut short tells most.
    """
    arms = [Job(arm, seed) for seed in SEEDS for arm in ARMS]
    cells = [
        Job("base", seed, position, scale)
        for seed in SEEDS
        for scale in SCALES
        for position in POSITIONS
    ]
    return list(dict.fromkeys(arms + cells))


def work_off(recipe: StagedRecipe, chosen: list[Job], folder: Path) -> None:
    """Train every run that is not done and that no other process has taken."""
    for job in chosen:
        with claimed(folder / "locks" / job.name) as mine:
            if mine:
                typer.echo(train_arm(recipe, job, folder))


def main(
    out: Path = typer.Option(...),
    start: str = typer.Option("", help="the bundled model whose language model all begin with"),
    only: list[str] = typer.Option([], help="names of runs; by default all"),
    threads: int = 1,
) -> None:
    """Train the study's runs, or go on with them."""
    torch.set_num_threads(threads)
    named = {job.name: job for job in jobs()}
    for name in only:
        if name not in named:
            raise UnknownNameError(name, named, "These are the runs.")
    work_off(StagedRecipe(start=start), [named[n] for n in only or named], out)


if __name__ == "__main__":
    typer.run(main)
