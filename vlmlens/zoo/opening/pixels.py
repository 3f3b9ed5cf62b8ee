"""Image processors with pillow, for families whose own need torchvision.

For the tiny models only: they cut and number pictures as the family's processor does. A real
checkpoint comes with its own, and opens where torchvision is installed.
"""

import math
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from transformers import BatchFeature, GotOcr2ImageProcessorPil
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict, make_flat_list_of_images
from transformers.processing_utils import ImagesKwargs

from vlmlens.versions import as_rgb
from vlmlens.zoo.opening.frames import pillow


def _flat(images: Any) -> list[Any]:
    found: Any = make_flat_list_of_images(images)
    return list(found)


def _cut(
    image: Shaped[np.ndarray, "channel row column"], rows: int, columns: int
) -> list[Shaped[np.ndarray, "channel side across"]]:
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
        image: Shaped[np.ndarray, "channel row column"],
        min_patches: int,
        max_patches: int,
        use_thumbnail: bool = True,
        patch_size: Any = None,
        resample: Any = None,
    ) -> list[Shaped[np.ndarray, "channel side side"]]:
        """The tiles of an image (channel row column), and a small copy if there are several."""
        rows, columns = _least_enlarged(image.shape[1:], patch_size.height, max_patches)
        size = SizeDict(height=rows * patch_size.height, width=columns * patch_size.width)
        tiles = _cut(self.resize(image, size, resample=resample), rows, columns)
        return (
            tiles
            if len(tiles) == 1
            else [*tiles, self.resize(image, patch_size, resample=resample)]
        )


class _RowsAndColumns(ImagesKwargs, total=False):
    return_row_col_info: bool


class Lfm2Pixels(PilBackend):
    """LFM2-VL's: an image whole, or, if it is large, in tiles and then small; as rows of patches.

    Args:
        encoder_patch_size: pixels along a patch's side.
        tile_size: pixels along a tile's side.
        min_image_tokens: fewest tokens of an image that is not cut, and of its small copy.
        max_image_tokens: most of them.
        max_tiles: most tiles.
    """

    valid_kwargs = _RowsAndColumns
    downsample_factor = 2
    min_tiles = 2
    use_thumbnail = True
    max_pixels_tolerance = 2.0

    def __init__(
        self,
        encoder_patch_size: int,
        tile_size: int,
        min_image_tokens: int,
        max_image_tokens: int,
        max_tiles: int,
    ):
        super().__init__()
        self.encoder_patch_size, self.tile_size = encoder_patch_size, tile_size
        self.max_tiles = max_tiles
        self.min_image_tokens, self.max_image_tokens = min_image_tokens, max_image_tokens

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        images: Any,
        return_row_col_info: bool = False,
        return_tensors: str | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Patches (tile patch pixels), which of them are padding, and every tile's grid."""
        made = [self._one(self.process_image(i, True)) for i in _flat(images)]
        tiles = [tile for cut, *_ in made for tile in cut]
        unit = self.downsample_factor**2
        most = max(self.max_image_tokens * unit, (self.tile_size // self.encoder_patch_size) ** 2)
        grids = [tuple(n // self.encoder_patch_size for n in tile.shape[1:]) for tile in tiles]
        rows = [self._patches(tile) for tile in tiles]
        data: dict[str, Any] = {
            "pixel_values": np.stack(
                [np.pad(r, ((0, max(0, most - len(r))), (0, 0))) for r in rows]
            ),
            "pixel_attention_mask": np.stack([np.arange(most) < len(r) for r in rows]).astype(int),
            "spatial_shapes": np.array(grids),
        }
        if return_row_col_info:
            names = ("image_rows", "image_cols", "image_sizes")
            data |= {name: [one[at] for one in made] for at, name in enumerate(names, 1)}
        return BatchFeature(data, tensor_type=return_tensors)

    def _one(
        self, image: Shaped[np.ndarray, "channel row column"]
    ) -> tuple[list[Shaped[np.ndarray, "channel _ _"]], int, int, tuple[int, int]]:
        """Tiles of one image (channel row column), their arrangement, and the small copy's size."""
        unit = self.encoder_patch_size * self.downsample_factor
        height, width = image.shape[1:]
        near = [max(unit, round(n / unit) * unit) for n in (height, width)]
        least, most = (n * unit**2 for n in (self.min_image_tokens, self.max_image_tokens))
        size = near
        if near[0] * near[1] > most:
            by = math.sqrt(height * width / most)
            size = [max(unit, math.floor(n / by / unit) * unit) for n in (height, width)]
        elif near[0] * near[1] < least:
            by = math.sqrt(least / (height * width))
            size = [math.ceil(n * by / unit) * unit for n in (height, width)]
        small = self.resize(image, SizeDict(height=size[0], width=size[1]))
        if near[0] * near[1] <= most * self.max_pixels_tolerance:
            return [small], 1, 1, (size[0], size[1])
        rows, columns = self._arranged(height, width)
        canvas = SizeDict(height=rows * self.tile_size, width=columns * self.tile_size)
        cut = _cut(self.resize(image, canvas), rows, columns)
        return [*cut, small], rows, columns, (size[0], size[1])

    def _arranged(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tiles whose shape is nearest; more tiles if they are half filled."""
        most = range(1, self.max_tiles + 1)
        every = [(c, r) for c in most for r in most if self.min_tiles <= c * r <= self.max_tiles]
        best, nearest = (1, 1), math.inf
        for columns, rows in sorted(every, key=np.prod):
            off = abs(width / height - columns / rows)
            filled = width * height > 0.5 * self.tile_size**2 * columns * rows
            if off < nearest or (off == nearest and filled):
                best, nearest = (columns, rows), off
        return best[1], best[0]

    def _patches(
        self, tile: Shaped[np.ndarray, "channel row column"]
    ) -> Float[np.ndarray, "patch pixel"]:
        """A tile (channel row column) as patches, each with its channels last."""
        side = self.encoder_patch_size
        channels, height, width = tile.shape
        scaled = (tile.astype(np.float32) / 255 - 0.5) / 0.5
        cut = scaled.reshape(channels, height // side, side, width // side, side)
        return cut.transpose(1, 3, 2, 4, 0).reshape(-1, side * side * channels)


class Llama4Pixels(PilBackend):
    """Llama 4's: an image in the corner of a canvas of tiles, and a small copy after them.

    Args:
        side: pixels along a tile's side.
        max_patches: most tiles.
    """

    def __init__(self, side: int, max_patches: int):
        super().__init__()
        self.side, self.max_patches = side, max_patches

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, images: Any, return_tensors: str | None = None, **_: Any
    ) -> BatchFeature:
        """Tiles (tile channel row column), and how many rows and columns of them an image has."""
        made = [self._one(self.process_image(i, True)) for i in _flat(images)]
        tiles = np.stack([tile for cut, _ in made for tile in cut]).astype(np.float32)
        grids = [grid for _, grid in made]
        pixels = (tiles / 255 - 0.5) / 0.5
        return BatchFeature(
            {"pixel_values": pixels, "aspect_ratios": grids}, tensor_type=return_tensors
        )

    def _one(
        self, image: Shaped[np.ndarray, "channel row column"]
    ) -> tuple[list[Shaped[np.ndarray, "channel side side"]], tuple[int, int]]:
        """Tiles of one image (channel row column), and their arrangement."""
        most, side, size = range(1, self.max_patches + 1), self.side, image.shape[1:]
        grids = [(r, c) for r in most for c in most if r * c <= self.max_patches]
        scales = {grid: min(grid[0] * side / size[0], grid[1] * side / size[1]) for grid in grids}
        fitting = [scale for scale in scales.values() if scale >= 1]
        best = min(fitting) if fitting else max(scales.values())
        rows, columns = min((g for g in grids if scales[g] == best), key=math.prod)
        room = [min(max(n, side), k * side) for n, k in zip(size, (rows, columns), strict=True)]
        down, across = room[0] / size[0], room[1] / size[1]
        height = min(math.floor(size[0] * across), room[0]) if across < down else room[0]
        width = room[1] if across < down else min(math.floor(size[1] * down), room[1])
        fitted = self.resize(image, SizeDict(height=max(height, 1), width=max(width, 1)))
        spare = ((0, 0), (0, rows * side - height), (0, columns * side - width))
        tiles = _cut(np.pad(fitted, spare), rows, columns)
        if len(tiles) > 1:
            tiles.append(self.resize(image, SizeDict(height=side, width=side)))
        return tiles, (rows, columns)


def Molmo2Pixels(**settings: Any) -> Any:
    """Molmo 2's: a small copy of the image, then tiles that overlap; transformers' own code.

    It resizes as torchvision does there: without smoothing.
    """
    home = import_module("transformers.models.molmo2.image_processing_molmo2")

    class Pixels(home.Molmo2ImageProcessor, pillow()):
        def process_image(
            self, image: Any, *_: Any, **__: Any
        ) -> Shaped[Tensor, "channel row column"]:
            """A picture as bytes in RGB, for which transformers 5.20 calls torchvision."""
            return torch.from_numpy(as_rgb(image)).permute(2, 0, 1).contiguous()

        def resize(
            self, image: Shaped[Tensor, "image channel _ _"], size: Any, **_: Any
        ) -> Shaped[Tensor, "image channel row column"]:
            """Images (image channel row column), to a height and a width."""
            room = size.height, size.width
            return torch.nn.functional.interpolate(image, room, mode="bilinear")

    Pixels.__name__ = home.Molmo2ImageProcessor.__name__
    return Pixels(**settings)
