"""Command A Vision: Aya Vision's tiles, each with a line break after it, on another canvas."""

from typing import Any

from vlmlens.families.aya_vision import tile_side
from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.internvl import tiled
from vlmlens.view import View


def canvas(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the tiles on which the image is enlarged least.

    If it fits on none, those on which it is shrunk least.
    """
    most, side = processor.max_patches, processor.size["height"]
    grids = sorted(
        ((c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most),
        key=lambda grid: grid[0] * grid[1],
    )
    scales = {grid: min(grid[0] * side / size[0], grid[1] * side / size[1]) for grid in grids}
    fitting = {grid: scale for grid, scale in scales.items() if scale >= 1}
    columns, rows = (
        min(fitting, key=fitting.__getitem__) if fitting else max(scales, key=scales.__getitem__)
    )
    return rows, columns


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    return tiled(pictures, *tile_side(pictures.config), canvas)


COHERE2_VISION = Family(
    model_type="cohere2_vision",
    views=_views,
    points={
        "projector.hook_out": Tap(
            "model.multi_modal_projector",
            "out",
            "image row column d_model -> image (row column) d_model",
        )
    },
)
