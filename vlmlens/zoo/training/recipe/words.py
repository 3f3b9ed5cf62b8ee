"""Scenes in words: what a language model reads before it has seen a picture.

A scene is *listed*, its shapes in random order, each after the name of its cell, as in
``"cfive redcircle, gtwo bluestar."``; or *drawn*, one word for each cell of the grid, row by row
from the top left, as in ``". . redcircle redcircle ..."``. A list says places, in a drawing only
the order of the words tells them. A shape is one word, and so is a cell, and the cell comes
first: whoever has read a shape's word may know all of it, as with the token of a patch.
"""

from collections.abc import Iterator

import numpy as np

from vlmlens.datasets.shapes.questions import CAPTION, ask, caption
from vlmlens.datasets.shapes.scene import COLORS, SHAPES, Scene, Shape, random_scene
from vlmlens.zoo.shapes import GRID, SYSTEM
from vlmlens.zoo.training.recipe.pictures import patch_labels
from vlmlens.zoo.training.recipe.plan import EVERYTHING

GROUND = " ."
#: A cell is called by its column, then its row, in one word, as chess players say it.
COLUMNS = "abcdefgh"
ROWS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
CELLS = tuple(f" {column}{row}" for row in ROWS for column in COLUMNS)
THINGS = tuple(f" {color}{shape}" for color in COLORS for shape in SHAPES)


def cell_of(shape: Shape) -> tuple[int, int]:
    """Row and column of the cell that holds a shape's centre, counted from 0."""
    return int(shape.y * GRID), int(shape.x * GRID)


def cell_word(row: int, column: int) -> str:
    """A cell's name, with a space before it: ``" cfive"``."""
    return CELLS[row * GRID + column]


def shape_word(shape: Shape) -> str:
    """A shape in one word, with a space before it: ``" redcircle"``."""
    return f" {shape.color}{shape.shape}"


def listed(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Every shape's cell, word and comma, in random order; a full stop ends them."""
    words: list[str] = []
    for i in rng.permutation(len(scene.shapes)):
        words += [cell_word(*cell_of(scene.shapes[i])), shape_word(scene.shapes[i]), ","]
    return [*words[:-1], "."]


def drawn(scene: Scene) -> list[str]:
    """A word for each cell of the grid, row by row, each beginning with a space."""
    return [
        GROUND if color == len(COLORS) else THINGS[color * len(SHAPES) + shape]
        for color, shape, _, _ in patch_labels(scene)
    ]


def corpus(seed: int = 0, scenes: int = 400, *, in_words: bool = False) -> Iterator[str]:
    """Text in which every word of the questions occurs: what the tokenizer learns from.

    Args:
        seed: of the scenes.
        scenes: how many.
        in_words: with the words of scenes that are read, each often enough to become one token.
    """
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = random_scene(rng)
        yield f"{SYSTEM} USER: \n{CAPTION} ASSISTANT: {caption(scene)}"
        for category in EVERYTHING:
            for question in list(ask(scene, category))[:20]:
                yield f"{question.text} ASSISTANT: {question.answer}"
        if in_words:
            yield f"{SYSTEM} USER:{''.join(listed(scene, rng))}"
            yield "".join(drawn(scene))
    if in_words:
        for word in CELLS + THINGS + tuple(f" {n + 1}" for n in range(GRID)):
            yield word * 4
