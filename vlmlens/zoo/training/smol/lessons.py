"""What smol-llava was taught with: pictures, and questions packed behind each.

The questions about a picture share it: each attends to the picture and to itself, as if it stood
alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch.utils.data import Dataset

from vlmlens.datasets.shapes.questions import (
    ABSOLUTE,
    CAPTION,
    RELATIVE,
    Question,
    caption,
)
from vlmlens.datasets.shapes.scene import Scene
from vlmlens.zoo.smol import compose
from vlmlens.zoo.training.recipe.lessons import lessons_of, stacked
from vlmlens.zoo.training.recipe.pictures import scene_of
from vlmlens.zoo.training.smol.plan import STAGES, Recipe

SYSTEM = "Answer in a word or two."
LOOKUPS = {"object": 6.0, "exist": 1.0} | dict.fromkeys(ABSOLUTE, 0.5)
EVERYTHING = (
    {"object": 3.0, "exist": 1.0, "count": 0.5}
    | dict.fromkeys(ABSOLUTE, 1.5)
    | dict.fromkeys(RELATIVE, 1.5)
)


@dataclass
class Lessons(Dataset):
    """Batch number ``step`` of a stage that is taught by answers, or of its validation.

    Attributes:
        recipe: what a batch holds.
        tokenizer: the model's.
        stage: ``"projector"``, ``"adapter"`` or ``"validation"``: pictures one by one, of layouts
            that no stage sees, with up to 16 questions of all kinds each, a caption among them.
    """

    recipe: Recipe
    tokenizer: Any
    stage: str

    def __len__(self) -> int:
        return 16 if self.stage == "validation" else self.recipe.schedule(self.stage).steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        recipe, tokenizer = self.recipe, self.tokenizer
        if self.stage == "validation":
            rng = np.random.default_rng([recipe.seed, 7, step])
            return batch_of(rng, tokenizer, 1, 16, 6, EVERYTHING, split="validation")
        rng = np.random.default_rng([recipe.seed, STAGES.index(self.stage), step])
        step += recipe.projector_steps if self.stage == "adapter" else 0
        most = 3 if step < recipe.few_shapes_steps else 6
        if step < recipe.lookup_steps:
            pictures, questions = recipe.lookup_pictures, recipe.lookup_questions
            return batch_of(rng, tokenizer, pictures, questions, most, LOOKUPS)
        return batch_of(rng, tokenizer, recipe.pictures, recipe.questions, most, EVERYTHING)


def pixels(scene: Scene, rng: np.random.Generator) -> Float[np.ndarray, "channel row column"]:
    """A scene as the image processor would hand it on: drawn small, or drawn large and resized."""
    side = compose.IMAGE_SIZE
    image = scene.draw(side)
    if rng.random() >= 0.7:
        large = int(rng.choice([168, 224, 256]))
        image = scene.draw(large).resize((side, side), Image.Resampling.BICUBIC)
    scaled = np.asarray(image, dtype=np.float32) / 255
    return ((scaled - compose.MEAN) / compose.STD).transpose(2, 0, 1).astype(np.float32)


def batch_of(
    rng: np.random.Generator,
    tokenizer: Any,
    pictures: int,
    questions: int,
    most: int,
    weights: dict[str, float],
    split: str = "train",
) -> dict[str, Any]:
    """Pictures with packed questions about them; the last of each is a caption."""
    rows, seen, forms = [], [], []
    for _ in range(pictures):
        scene = scene_of(split, rng, most)
        asked = {}
        for _ in range(3 * questions):  # a picture of two shapes has few questions
            (question,) = lessons_of(scene, weights, 1, rng)
            asked |= {question.text: question} if len(asked) < questions - 1 else {}
        asked = [*asked.values(), Question(CAPTION, caption(scene), (), "caption", "caption")]
        rows.append(pack(tokenizer, SYSTEM if rng.random() < 0.5 else "", asked))
        seen.append(pixels(scene, rng))
        forms += [f"{q.category}/{q.form}" for q in asked]
    return stacked(rows) | {"pixels": torch.from_numpy(np.stack(seen)), "forms": forms}


def pack(tokenizer: Any, system: str, asked: list[Question]) -> tuple[list[int], ...]:
    """Ids, segment (0: shared prefix), position id and whether the loss counts, per token."""

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    told = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    prefix = encode(f"{told}<|im_start|>user\n{compose.IMAGE * compose.GRID**2}\n")
    ids, segments = list(prefix), [0] * len(prefix)
    positions, learn = list(range(len(prefix))), [0] * len(prefix)
    for number, question in enumerate(asked, start=1):
        said = encode(f"{question.text}<|im_end|>\n<|im_start|>assistant\n")
        answer = encode(f"{question.answer}<|im_end|>")
        ids += said + answer
        segments += [number] * len(said + answer)
        positions += range(len(prefix), len(prefix) + len(said + answer))
        learn += [0] * len(said) + [1] * len(answer)
    return ids, segments, positions, learn
