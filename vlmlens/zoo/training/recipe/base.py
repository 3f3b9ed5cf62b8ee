"""How ``shapes-base`` is trained: the tower, then projector and language model together."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from vlmlens.zoo.shapes import shapes_processor
from vlmlens.zoo.training.recipe.answers import answer_loss, only
from vlmlens.zoo.training.recipe.arms import PROJECTOR
from vlmlens.zoo.training.recipe.build import new_model, save_model
from vlmlens.zoo.training.recipe.gate import passed
from vlmlens.zoo.training.recipe.lessons import Lessons
from vlmlens.zoo.training.recipe.loop import fit
from vlmlens.zoo.training.recipe.plan import Recipe
from vlmlens.zoo.training.recipe.tower import train_tower
from vlmlens.zoo.training.recipe.words import corpus


def train(recipe: Recipe, folder: Path) -> Path:
    """Train one model; returns the folder that ``from_pretrained`` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    processor = shapes_processor(corpus())
    model = new_model(processor, recipe.seed)
    train_tower(model.model.vision_tower, recipe.tower, recipe.seed, folder)
    only(model, *PROJECTOR, "language_model", "lm_head")
    loss, steps = partial(answer_loss, model), recipe.answers.steps
    lessons = Lessons(recipe.syllabus, processor, steps, (recipe.seed, 2))
    fit("answers", model, loss, lessons, recipe.answers, folder)
    held_out = Lessons(recipe.validation, processor, 40, (recipe.seed, 2, 1), split="validation")
    passed("answers", loss, held_out, folder, gate=recipe.gate)
    return save_model(model, processor, folder / "model")
