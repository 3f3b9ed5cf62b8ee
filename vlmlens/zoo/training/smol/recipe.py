"""How smol-llava was trained: ``python -m vlmlens.zoo.training.smol.recipe --out FOLDER``.

Tower and language model come as they are. Stage ``words``: the projector turns every patch
towards the words for what it shows. Stage ``projector``: the projector learns
from the answers to questions. Stage ``adapter``: projector and a low-rank adapter of the language
model's attention learn together. The tower is frozen throughout, the language model but for the
adapter.

Every step sees fresh pictures of training layouts, so scores of the log are of pictures never
seen before; the gate is measured on the validation layouts, and the test split is not touched.
The run is seeded by step and checkpointed every few minutes, so that one that is cut off goes on
where it was.
"""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import typer
from safetensors.torch import save_file

from vlmlens.zoo.smol.wheels import cache_folder
from vlmlens.zoo.training.recipe.answers import answer_loss
from vlmlens.zoo.training.recipe.gate import passed
from vlmlens.zoo.training.recipe.loop import fit
from vlmlens.zoo.training.smol.lessons import Lessons
from vlmlens.zoo.training.smol.plan import Recipe
from vlmlens.zoo.training.smol.pupil import Pupil, folded
from vlmlens.zoo.training.smol.words import Words, word_loss, word_targets

GATED = ("object/color_of", "object/shape_of")


def train(recipe: Recipe, folder: Path, parts: Path) -> Path:
    """All stages; returns the folder with the projector and the adapter.

    Raises:
        InputError: look-ups about validation layouts are below the gate; nothing is exported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    pupil = Pupil(recipe, parts)
    targets = word_targets(pupil.tokenizer, pupil.model.get_input_embeddings().weight)
    to_words = partial(word_loss, pupil, targets)
    to_answers = partial(answer_loss, pupil.model, see=pupil.features)
    fit("words", pupil.model, to_words, Words(recipe), recipe.schedule("words"), folder)
    last = "projector"
    lessons = Lessons(recipe, pupil.tokenizer, last)
    fit(last, pupil.model, to_answers, lessons, recipe.schedule(last), folder)
    if recipe.adapter_steps:
        last = "adapter"
        pupil.adapt(recipe)
        lessons = Lessons(recipe, pupil.tokenizer, last)
        fit(last, pupil.model, to_answers, lessons, recipe.schedule(last), folder)
    held_out = Lessons(recipe, pupil.tokenizer, "validation")
    passed(last, to_answers, held_out, folder, gate=recipe.gate, of=GATED)
    return export(pupil, recipe, folder / "weights")


def export(pupil: Pupil, recipe: Recipe, folder: Path) -> Path:
    """Projector and adapter in bfloat16, the standardisation folded into the projector."""
    folder.mkdir(exist_ok=True)
    state = folded(pupil.projector.state_dict(), pupil.mean, pupil.std)
    saved = {f"projector.{name}": value for name, value in state.items()}
    saved |= {f"adapter.{name}": value.detach() for name, value in pupil.adapter().items()}
    whole = {name: value.to(torch.bfloat16).contiguous() for name, value in saved.items()}
    save_file(whole, folder / "trained.safetensors")
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    return folder


def main(
    out: Path = typer.Option(...),
    normalize: str = "",
    seed: int = 0,
    projector_steps: int = Recipe.projector_steps,
    adapter_steps: int = Recipe.adapter_steps,
    threads: int = 1,
):
    """Train smol-llava's projector and adapter, or go on with a run that was cut off."""
    torch.set_num_threads(threads)
    recipe = Recipe(
        seed=seed,
        normalize=normalize,
        projector_steps=projector_steps,
        adapter_steps=adapter_steps,
    )
    typer.echo(train(recipe, out, cache_folder() / "parts"))


if __name__ == "__main__":
    typer.run(main)
