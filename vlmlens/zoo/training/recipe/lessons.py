"""Batches of packed questions, each drawn by the seed and its own number."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import LlavaProcessor

from vlmlens.datasets.shapes.questions import CAPTION, LESSON, Question, ask, caption
from vlmlens.datasets.shapes.scene import Scene
from vlmlens.errors import UnknownNameError
from vlmlens.zoo.shapes import SYSTEM
from vlmlens.zoo.training.recipe.packing import Packer, padded, stacked
from vlmlens.zoo.training.recipe.pictures import draw_pixels, scene_of
from vlmlens.zoo.training.recipe.plan import EVERYTHING, LOOKUPS, NAMES, Syllabus
from vlmlens.zoo.training.recipe.words import cell_of, shape_word


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


def recalls_of(scene: Scene, names: tuple[str, ...], rng: np.random.Generator) -> list[Question]:
    """Every shape by one of the names that single it out, and its column and row, from 1."""
    found = []
    for shape in scene.shapes if names else ():
        row, column = cell_of(shape)
        called = {"word": shape_word(shape), "both": f" {shape.name}"}
        if sum(s.color == shape.color for s in scene.shapes) == 1:
            called["color"] = f" {shape.color}"
        if sum(s.shape == shape.shape for s in scene.shapes) == 1:
            called["shape"] = f" {shape.shape}"
        if there := [name for name in names if name in called]:
            name = there[rng.integers(len(there))]
            said = f"{column + 1} {row + 1}"
            found.append(Question(called[name], said, (), "recall", name))
    return found


@dataclass
class Lessons(Dataset):
    """Batch number ``step`` of a stage.

    Attributes:
        syllabus: what a batch holds.
        processor: the model's.
        steps: how many batches there are.
        seed: the stream of numbers: seed of the run, then number of the stage, then 1 for its
            validation. Stages: 2 and 5 answers, 3 questions about words, 4 captions, 6 words.
        pictures: whether scenes are seen; otherwise they are read, in words.
        split: of the scenes.

    Raises:
        UnknownNameError: a syllabus calls shapes by names that are none.
    """

    syllabus: Syllabus
    processor: LlavaProcessor
    steps: int
    seed: tuple[int, ...]
    pictures: bool = True
    split: str = "train"

    def __post_init__(self) -> None:
        for name in self.syllabus.names:
            if name not in NAMES:
                raise UnknownNameError(name, NAMES, "These are the ways to call a shape.")
        self.packer = Packer(self.processor)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        """``stacked`` rows and their ``forms``; with ``pixels``, or ``cells`` and ``drawn``.

        ``pixels``: (row, y, x, channel). ``cells``: (row, token), where a shape's word stands, row
        by row, or -1. ``drawn``: (row,), whether a scene in words is drawn and not listed.
        """
        rng, plan = np.random.default_rng([*self.seed, step]), self.syllabus
        early = step < plan.lookup_steps
        weights = LOOKUPS if early else EVERYTHING | {LESSON: plan.grid}
        most = 3 if step < plan.few_shapes_steps else 6
        rows, pixels, cells, kinds, forms = [], [], [], [], []
        for _ in range(plan.lookup_batch if early else plan.batch):
            scene = scene_of(self.split, rng, most)
            asked = lessons_of(scene, weights, plan.questions, rng)
            if rng.random() < plan.captions:
                asked[-1] = Question(CAPTION, caption(scene), (), "caption", "caption")
            system = SYSTEM + " " if rng.random() < 0.5 else ""
            in_cells = step >= plan.drawn_from and rng.random() < plan.drawn
            if self.pictures:
                rows.append(self.packer.pack(self.packer.picture(system), asked))
                pixels.append(draw_pixels(scene, rng))
                forms += [f"{q.category}/{q.form}" for q in asked]
                continue
            recalled = recalls_of(scene, plan.names, rng)
            prefix, where = self.packer.words(system, scene, rng, in_cells=in_cells)
            rows.append(self.packer.pack(prefix, asked, recalled))
            cells.append(where + [-1] * (len(rows[-1][0]) - len(where)))
            kinds.append(in_cells)
            kind = "drawn" if in_cells else "listed"
            forms += [f"{kind}/{q.category}/{q.form}" for q in asked + recalled]
        batch = stacked(rows) | {"forms": forms}
        if self.pictures:
            return batch | {"pixels": torch.from_numpy(np.stack(pixels))}
        return batch | {"cells": padded(cells), "drawn": torch.tensor(kinds)}
