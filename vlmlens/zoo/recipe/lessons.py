"""Batches of packed questions, each drawn by the seed and its own number.

Several questions share one prefix, the picture or its words: each attends to the prefix and to
itself, and has the position ids that it would have alone.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import LlavaProcessor

from vlmlens.datasets.shapes_2d.questions import CAPTION, LESSON, Question, ask, caption
from vlmlens.datasets.shapes_2d.scene import Scene
from vlmlens.errors import InputError
from vlmlens.zoo.recipe.pictures import draw_pixels, scene_of
from vlmlens.zoo.recipe.plan import EVERYTHING, LOOKUPS, Syllabus
from vlmlens.zoo.recipe.words import drawn, listed
from vlmlens.zoo.shapes import GRID, SYSTEM


def lessons_of(
    scene: Scene, weights: dict[str, float], count: int, rng: np.random.Generator
) -> list[Question]:
    """Questions about a scene: each a category by weight, then a form, then one of that form."""
    categories, p = list(weights), np.array(list(weights.values()))
    known: dict[str, dict[str, list[Question]]] = {}
    chosen: list[Question] = []
    while len(chosen) < count:
        category = str(rng.choice(categories, p=p / p.sum()))
        if category not in known:
            known[category] = defaultdict(list)
            for question in ask(scene, category):
                # "exist" would say no nearly always; its two answers count as two forms.
                form = question.answer if category == "exist" else question.form
                known[category][form].append(question)
        if forms := known[category]:
            choices = forms[list(forms)[rng.integers(len(forms))]]
            chosen.append(choices[rng.integers(len(choices))])
    return chosen


class Packer:
    """Turns a prefix and questions into ids and what belongs to each token."""

    def __init__(self, processor: LlavaProcessor):
        self.tokenizer, self.image_token = processor.tokenizer, processor.image_token

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def picture(self, system: str) -> list[int]:
        """The prefix of a picture."""
        return self.encode(f"<s>{system}USER: " + self.image_token * GRID**2)

    def drawing(self, system: str, scene: Scene) -> list[int]:
        """The prefix of a drawing in words: one token a cell, just where a picture has its.

        Raises:
            InputError: a tokenizer that has not learned these words.
        """
        cells = [token for word in drawn(scene) for token in self.encode(word)]
        if len(cells) != GRID**2:
            raise InputError(
                f"{GRID**2} cells came out as {len(cells)} tokens: the tokenizer has to be learned "
                "from corpus(in_words=True)"
            )
        return self.encode(f"<s>{system}USER: ") + cells

    def pack(self, prefix: list[int], asked: list[Question]) -> tuple[list[int], ...]:
        """Ids, segment (0: shared prefix), position id and whether the loss counts, per token."""
        ids, segments = list(prefix), [0] * len(prefix)
        positions, learn = list(range(len(prefix))), [0] * len(prefix)
        for number, question in enumerate(asked, start=1):
            said = self.encode(f"\n{question.text} ASSISTANT:")
            answer = self.encode(f" {question.answer}</s>")
            ids += said + answer
            segments += [number] * len(said + answer)
            positions += range(len(prefix), len(prefix) + len(said + answer))
            learn += [0] * len(said) + [1] * len(answer)
        return ids, segments, positions, learn


@dataclass
class Lessons(Dataset):
    """Batch number ``step`` of a stage.

    Attributes:
        syllabus: what a batch holds.
        processor: the model's.
        steps: how many batches there are.
        seed: the stream of numbers: seed of the run, then number of the stage.
        pictures: whether scenes are seen; otherwise they are read, in words.
        split: of the scenes.
    """

    syllabus: Syllabus
    processor: LlavaProcessor
    steps: int
    seed: tuple[int, ...]
    pictures: bool = True
    split: str = "train"

    def __post_init__(self) -> None:
        self.packer = Packer(self.processor)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        rng, plan = np.random.default_rng([*self.seed, step]), self.syllabus
        early = step < plan.lookup_steps
        weights = LOOKUPS if early else EVERYTHING | {LESSON: plan.grid}
        most = 3 if step < plan.few_shapes_steps else 6
        rows, pixels, forms = [], [], []
        for _ in range(plan.lookup_batch if early else plan.batch):
            scene = scene_of(self.split, rng, most)
            asked = lessons_of(scene, weights, plan.questions, rng)
            if rng.random() < plan.captions:
                asked[-1] = Question(CAPTION, caption(scene), (), "caption", "caption")
            system = SYSTEM + " " if rng.random() < 0.5 else ""
            in_cells = step >= plan.drawn_from and rng.random() < plan.drawn
            if self.pictures:
                prefix = self.packer.picture(system)
                pixels.append(draw_pixels(scene, rng))
            elif in_cells:
                prefix = self.packer.drawing(system, scene)
            else:
                prefix = self.packer.encode(f"<s>{system}USER: {listed(scene, rng)}")
            rows.append(self.packer.pack(prefix, asked))
            kind = "" if self.pictures else "drawn/" if in_cells else "listed/"
            forms += [f"{kind}{q.category}/{q.form}" for q in asked]
        batch = stacked(rows) | {"forms": forms}
        return batch | ({"pixels": torch.from_numpy(np.stack(pixels))} if pixels else {})


def stacked(rows: list[tuple[list[int], ...]]) -> dict[str, Any]:
    """Packed rows as tensors; padding is a segment of its own, -1."""
    length = max(len(row[0]) for row in rows)
    padded = [
        np.pad(np.array(r), ((0, 0), (0, length - len(r[0]))), constant_values=-1) for r in rows
    ]
    ids, segments, positions, learn = torch.from_numpy(np.stack(padded)).unbind(1)
    return {
        "input_ids": ids.clamp(min=0),
        "segments": segments,
        "positions": positions.clamp(min=0),
        "learn": learn > 0,
    }


def packed_mask(segments: Tensor) -> Tensor:
    """Who sees whom, additive: the past of one's own question, and the shared prefix."""
    size = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    allowed = ((key == 0) | (key == query)) & (key >= 0)
    allowed &= torch.ones(size, size, dtype=torch.bool).tril()
    allowed |= torch.eye(size, dtype=torch.bool)  # padding sees itself, or its softmax is empty
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
