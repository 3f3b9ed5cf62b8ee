"""Scenes for training and validation, and their pictures."""

import zlib

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from vlmlens.datasets.shapes.scene import COLORS, SHAPES, Scene, random_scene
from vlmlens.zoo.shapes import GRID, IMAGE_SIZE


def split_of(scene: Scene) -> str:
    """``"test"``, ``"validation"`` or ``"train"``, by the layout alone.

    Of the layouts that the data set calls ``"train"``, one in twenty is kept for validation: gates
    and choices look at these, so the test layouts stay unseen until the end.
    """
    if scene.split == "test":
        return "test"
    cells = sorted({(int(s.y * 4), int(s.x * 4)) for s in scene.shapes})
    return "validation" if zlib.crc32(f"validation {cells}".encode()) % 20 == 0 else "train"


def scene_of(split: str, rng: np.random.Generator, most: int = 6) -> Scene:
    """A random scene of 2 to ``most`` shapes, of one split."""
    while split_of(scene := random_scene(rng, int(rng.integers(2, most + 1)))) != split:
        pass
    return scene


def draw_pixels(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, "row column channel"]:
    """A scene as the image processor would see it: drawn small, or drawn large and resized."""
    if rng.random() < 0.7:
        image = scene.draw(IMAGE_SIZE)
    else:
        large = int(rng.choice([128, 224, 256]))
        image = scene.draw(large).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def patch_labels(scene: Scene) -> Int[np.ndarray, "patch 4"]:
    """(patch, 4): colour and kind of the shape at each patch (last class: none), row, column."""
    centre = (np.arange(GRID) + 0.5) / GRID
    labels = np.empty((GRID, GRID, 4), dtype=np.int64)
    labels[..., 0], labels[..., 1] = len(COLORS), len(SHAPES)
    labels[..., 2], labels[..., 3] = np.indices((GRID, GRID))
    for s in scene.shapes:
        near = np.hypot(centre[:, None] - s.y, centre[None] - s.x) < s.radius
        labels[near, 0], labels[near, 1] = list(COLORS).index(s.color), SHAPES.index(s.shape)
    return labels.reshape(-1, 4)
