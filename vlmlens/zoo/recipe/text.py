"""The language model's first stage: scenes in words, and questions about them."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaProcessor

from vlmlens.zoo.recipe.answers import answer_loss, only
from vlmlens.zoo.recipe.gate import passed
from vlmlens.zoo.recipe.lessons import Lessons
from vlmlens.zoo.recipe.loop import fit
from vlmlens.zoo.recipe.plan import TextPlan


def train_text(model: Any, processor: LlavaProcessor, plan: TextPlan, seed: int, folder: Path):
    """Teach a language model to read scenes, or give it the weights of when it was taught."""
    only(model, "language_model", "lm_head")
    loss, steps = partial(answer_loss, model), plan.schedule.steps
    lessons = Lessons(plan.syllabus, processor, steps, (seed, 3), pictures=False)
    fit("text", model, loss, lessons, plan.schedule, folder)
    held_out = Lessons(plan.validation, processor, 40, (seed, 3, 1), False, split="validation")
    passed("text", loss, held_out, folder, gate=plan.gate)


def begin_as(model: Any, other: Any) -> None:
    """Give a model another's language model, words and all."""
    weights = other.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "language_model" in name or "lm_head" in name:
                tensor.copy_(weights[name])
