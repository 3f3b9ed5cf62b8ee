"""LLaVA as ``vlmlens.zoo.variants`` extends it: normed, pooled, with registers, with 2-D RoPE."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlmlens.families.family import Family, Pictures, count
from vlmlens.families.llava import LLAVA, deepest_selected, one_grid
from vlmlens.view import View


def _pooled(pictures: Pictures) -> list[tuple[View, ...]]:
    """LLaVA's grid, as many rows and columns as are left of it, and registers after it."""
    side, extra = pictures.config.pool, pictures.config.registers
    found = []
    for (view,) in one_grid(pictures):
        view = replace(view, registers=extra)
        if side and view.box:
            left, top, right, bottom = view.box
            across, down = (
                _shared(left, right, view.columns, side),
                _shared(top, bottom, view.rows, side),
            )
            view = replace(view, across=across, down=down)
        found.append((replace(view, rows=side, columns=side) if side else view,))
    return found


def _shared(start: float, end: float, cells: int, groups: int) -> tuple[tuple[float, float], ...]:
    """Start and end of every group of cells; neighbours share a cell that lies in both."""
    cell = (end - start) / cells
    return tuple(
        (start + n * cells // groups * cell, start + -(-(n + 1) * cells // groups) * cell)
        for n in range(groups)
    )


def _grid(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Time, height and width of every position, by the model's own rule."""
    return model.model.grid_positions(tensors["input_ids"], count(model, tensors))


VLMLENS_LLAVA = Family(
    model_type="vlmlens_llava", views=_pooled, vision_used=deepest_selected, towers=LLAVA.towers
)

VLMLENS_LLAVA_GRID = Family(
    model_type="vlmlens_llava_grid",
    views=_pooled,
    vision_used=deepest_selected,
    axes=("time", "height", "width"),
    positions=_grid,
    towers=LLAVA.towers,
)
