"""Image processors with pillow, for families whose own need torchvision.

For the tiny models only: they cut and number pictures as the family's processor does. A real
checkpoint comes with its own, and opens where torchvision is installed.
"""

from typing import Any

import numpy as np
from transformers import GotOcr2ImageProcessorPil
from transformers.image_utils import SizeDict


def _cut(image: np.ndarray, rows: int, columns: int) -> list[np.ndarray]:
    """An image (channel row column) in equal tiles, row by row."""
    return [
        tile for row in np.split(image, rows, axis=1) for tile in np.split(row, columns, axis=2)
    ]


def _least_enlarged(size: tuple[int, int], side: int, most: int) -> tuple[int, int]:
    """Rows and columns of the tiles that take an image (height, width) with least enlargement."""
    every = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most]
    grids = np.array(sorted(every, key=np.prod))
    scales = (grids * side / (size[1], size[0])).min(1)
    best = np.where(scales < 1, np.inf, scales).argmin() if (scales >= 1).any() else scales.argmax()
    columns, rows = grids[best].tolist()
    return rows, columns


class Cohere2Pixels(GotOcr2ImageProcessorPil):
    """InternVL's processor, on Command A Vision's canvas.

    Args:
        patch_size: tokens along a tile's side.
    """

    def __init__(self, patch_size: int, **settings: Any):
        super().__init__(**settings)
        self.patch_size = patch_size

    def crop_image_to_patches(
        self,
        image: np.ndarray,
        min_patches: int,
        max_patches: int,
        use_thumbnail: bool = True,
        patch_size: Any = None,
        resample: Any = None,
    ) -> list[np.ndarray]:
        """The tiles of an image (channel row column), and a small copy if there are several."""
        rows, columns = _least_enlarged(image.shape[1:], patch_size.height, max_patches)
        size = SizeDict(height=rows * patch_size.height, width=columns * patch_size.width)
        tiles = _cut(self.resize(image, size, resample=resample), rows, columns)
        return (
            tiles
            if len(tiles) == 1
            else [*tiles, self.resize(image, patch_size, resample=resample)]
        )
