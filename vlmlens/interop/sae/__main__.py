"""``python -m vlmlens.interop.sae --out FOLDER``: train a dictionary as the bundled one is."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import typer

from vlmlens.datasets import shapes_2d
from vlmlens.experiments import harvest
from vlmlens.interop.sae.files import save
from vlmlens.interop.sae.training import Recipe, train
from vlmlens.model import HookedVLM


def main(
    out: Path = typer.Option(...),
    name: str = "shapes-base",
    point: str = "blocks.2.hook_resid_post",
    samples: int = 1500,
    d_sae: int = Recipe.d_sae,
    k: int = Recipe.k,
    steps: int = Recipe.steps,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Harvest a shapes model's activations on its training split, and train on them."""
    torch.set_num_threads(threads)
    begun, recipe = time.process_time(), Recipe(d_sae=d_sae, k=k, steps=steps, seed=seed)
    with TemporaryDirectory() as folder, HookedVLM.from_pretrained(name) as model:
        asked = shapes_2d(samples, split="train", seed=seed)
        found = harvest(model, asked, point, folder=folder)
        epochs = 1 + steps * recipe.size // len(found)
        rows = found.tensors(point, size=recipe.size, seed=seed, epochs=epochs, mix=64)
        trained = train(rows, point, recipe, say=typer.echo)
        told = {"model_name": name, "rows": len(found), "recipe": vars(recipe)}
        save(trained, out, dtype=torch.float16, **told)
    typer.echo(f"{out}: {trained}, {time.process_time() - begun:.0f} CPU-seconds")


if __name__ == "__main__":
    typer.run(main)
