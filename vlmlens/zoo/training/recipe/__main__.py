"""``python -m vlmlens.zoo.training.recipe --out FOLDER``: train a model as ``shapes-base`` is."""

from dataclasses import replace
from pathlib import Path

import torch
import typer

from vlmlens.zoo.training.recipe.base import train
from vlmlens.zoo.training.recipe.plan import Recipe


def main(
    out: Path = typer.Option(...),
    seed: int = 0,
    steps: int = Recipe().answers.steps,
    threads: int = 1,
) -> None:
    """Train a shapes model, or go on with one that was cut off."""
    torch.set_num_threads(threads)
    answers = replace(Recipe().answers, steps=steps)
    typer.echo(train(Recipe(seed=seed, answers=answers), out))


if __name__ == "__main__":
    typer.run(main)
