"""Scenes in words: what a language model reads before it has seen a picture.

A scene is *listed*, its shapes in random order after their column and row, as in
``"3 5 redcircle, 7 2 bluestar."``; or *drawn*, one word for each cell of the grid, row by row
from the top left, as in ``". . redcircle redcircle ..."``. A list says places, in a drawing only
the order of the words tells them. A shape is one word, and its place comes first, so that whoever
has read the word may know all of it, as with the token of a patch.
"""

from collections.abc import Iterator

import numpy as np

from vlmlens.datasets.shapes_2d.questions import CAPTION, ask, caption
from vlmlens.datasets.shapes_2d.scene import COLORS, SHAPES, Scene, random_scene
from vlmlens.zoo.recipe.pictures import patch_labels
from vlmlens.zoo.recipe.plan import EVERYTHING
from vlmlens.zoo.shapes import GRID, SYSTEM

GROUND = " ."


def listed(scene: Scene, rng: np.random.Generator) -> str:
    """Column and row of every shape's centre, counted from 1, and its word; in random order."""
    said = [f"{int(s.x * GRID) + 1} {int(s.y * GRID) + 1} {s.color}{s.shape}" for s in scene.shapes]
    return ", ".join(said[i] for i in rng.permutation(len(said))) + "."


def drawn(scene: Scene) -> list[str]:
    """A word for each cell of the grid, row by row, each beginning with a space."""
    cells = [f" {color}{shape}" for color in COLORS for shape in SHAPES]
    return [
        GROUND if color == len(COLORS) else cells[color * len(SHAPES) + shape]
        for color, shape, _, _ in patch_labels(scene)
    ]


def corpus(seed: int = 0, scenes: int = 400, *, in_words: bool = False) -> Iterator[str]:
    """Text in which every word of the questions occurs: what the tokenizer learns from.

    Args:
        seed: of the scenes.
        scenes: how many.
        in_words: with the scenes themselves in words, both ways.
    """
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = random_scene(rng)
        yield f"{SYSTEM} USER: \n{CAPTION} ASSISTANT: {caption(scene)}"
        for category in EVERYTHING:
            for question in list(ask(scene, category))[:20]:
                yield f"{question.text} ASSISTANT: {question.answer}"
        if in_words:
            yield f"{SYSTEM} USER: {listed(scene, rng)}"
            yield "".join(drawn(scene))
