"""One run of the staged recipe: an arm, a seed, a tower and a projector's scale.

LLaVA's recipe: the tower is taught and frozen; the language model is taught on text; then the
projector alone learns captions, and at last projector and language model learn to answer. Tower
and text stage are shared by all runs: what a seed varies is the projector's beginning and the
lessons of the last two stages.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaProcessor

from vlmlens.errors import UnknownNameError
from vlmlens.zoo import load
from vlmlens.zoo.shapes import shapes_processor
from vlmlens.zoo.training.recipe.answers import answer_loss, only
from vlmlens.zoo.training.recipe.build import new_model, new_projector, save_model
from vlmlens.zoo.training.recipe.gate import passed
from vlmlens.zoo.training.recipe.lessons import Lessons
from vlmlens.zoo.training.recipe.locks import claimed
from vlmlens.zoo.training.recipe.loop import fit
from vlmlens.zoo.training.recipe.plan import StagedRecipe
from vlmlens.zoo.training.recipe.text import begin_as, train_text
from vlmlens.zoo.training.recipe.tower import train_tower
from vlmlens.zoo.training.recipe.words import corpus
from vlmlens.zoo.variants import multilayer, normalize

ARMS = ("base", "normalize", "multilayer", "both")
PROJECTOR = ("projector.linear", "projector.norm")


@dataclass(frozen=True)
class Job:
    """What one run differs in.

    Attributes:
        arm: ``"base"``, ``"normalize"``, ``"multilayer"`` or ``"both"``.
        seed: of the projector and of the lessons.
        position: what the tower knows of places: ``"kept"``, ``"zeroed"`` or ``"trained"``.
        scale: the projector's output begins this many times larger.
    """

    arm: str = "base"
    seed: int = 0
    position: str = "kept"
    scale: float = 1.0

    @property
    def name(self) -> str:
        """The run's folder."""
        return f"{self.arm}-{self.position}-x{self.scale:g}-{self.seed}"


def shared_model(recipe: StagedRecipe, position: str, folder: Path) -> tuple[Any, LlavaProcessor]:
    """A model whose tower and language model are taught; what is taught already is read.

    Of several processes that share the folder one teaches, the others wait and read.

    Raises:
        InputError: tower or language model misses its gate.
    """
    with claimed(folder / "locks" / "shared", wait=True):
        return _shared_model(recipe, position, folder)


def _shared_model(recipe: StagedRecipe, position: str, folder: Path) -> tuple[Any, LlavaProcessor]:
    if recipe.start:
        taught, reader = load(recipe.start)
    else:
        reader = shapes_processor(corpus(in_words=True), vocab_size=1024)
        taught = new_model(reader, recipe.seed)
        train_text(taught, reader, recipe.text, recipe.seed, folder / "text")
    # What only a reader needs, words for cells and for shapes, is left behind.
    processor = reader if recipe.start else shapes_processor(corpus())
    model = new_model(processor, recipe.seed)
    begin_as(model, processor.tokenizer, taught, reader.tokenizer)
    tower = replace(recipe.tower, position=position)
    train_tower(model.model.vision_tower, tower, recipe.seed, folder / f"tower-{position}")
    return model, processor


def armed(model: Any, job: Job) -> Any:
    """The model, or a copy of it, with the arm's projector as the job's seed begins it.

    Raises:
        UnknownNameError: an arm that does not exist.
    """
    if job.arm not in ARMS:
        raise UnknownNameError(job.arm, ARMS, "These are the arms.")
    if job.arm in ("multilayer", "both"):
        depth = model.config.vision_config.num_hidden_layers
        model = multilayer(model, range(1, depth + 1))
    if job.arm in ("normalize", "both"):
        # Made after the text stage, so its constants are those of the taught table.
        model = normalize(model, "match_each")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(job.seed)
        new_projector(model)
        for parameter in model.model.multi_modal_projector.linear_2.parameters():
            parameter.mul_(job.scale)
    return model


def train_arm(recipe: StagedRecipe, job: Job, folder: Path) -> Path:
    """Train one run, or go on with it; returns the folder that ``from_pretrained`` opens.

    Args:
        recipe: every number.
        job: arm, seed, tower and scale.
        folder: of all runs; the shared stages are kept there too.

    Raises:
        InputError: a stage misses its gate.
        UnknownNameError: an arm that does not exist.
    """
    own = folder / job.name
    if (own / "model" / "config.json").exists():
        return own / "model"
    model, processor = shared_model(recipe, job.position, folder)
    model = armed(model, job)
    own.mkdir(parents=True, exist_ok=True)
    (own / "recipe.json").write_text(json.dumps(asdict(job) | asdict(recipe), indent=1))
    model.model.vision_tower.requires_grad_(False)
    loss = partial(answer_loss, model)
    stages = (("captions", recipe.captions, 4), ("answers", recipe.answers, 5))
    for name, stage, number in stages:
        only(model, *PROJECTOR, *(("language_model", "lm_head") if name == "answers" else ()))
        steps = stage.schedule.steps
        lessons = Lessons(stage.syllabus, processor, steps, (job.seed, number))
        fit(name, model, loss, lessons, stage.schedule, own)
    held_out = Lessons(recipe.validation, processor, 12, (recipe.seed, 5, 1), split="validation")
    passed("answers", loss, held_out, own, gate=recipe.gate)
    part = save_model(model, processor, own / "saving")
    part.replace(own / "model")
    return own / "model"
