"""A HookPoint at every point of a transformers model.

A torch hook is installed when a point gets its first hook and removed with its last, so a point
that nobody watches costs nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from vlmlens.errors import UnsupportedModelError
from vlmlens.families import BLOCKS, Family, Tap, block_table, layer_types
from vlmlens.model.lifetime.board import Board
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.wire import Wire
from vlmlens.points import BLOCK_POINTS, SINGLE_POINTS, Point, block_point


def wire(model: Any, family: Family, board: Board) -> tuple[dict[str, WiredPoint], dict[str, str]]:
    """A point for every place that the family's tables name.

    Args:
        model: a transformers model.
        family: where its points are.
        board: what all its wires share.

    Returns:
        The points by name, in the order of one pass; and, for names that exist in principle but
        not here, why not.

    Raises:
        UnsupportedModelError: a stack of blocks that no table describes, or a path that this
            model does not have.
    """
    config: Any = model.config
    text, vision = config.get_text_config(), config.vision_config
    wires: dict[nn.Module, Wire] = {}
    points: dict[str, WiredPoint] = {}
    absent: dict[str, str] = {}

    def add(point: Point, tap: Tap | str, path: str, sizes: dict[str, int]) -> None:
        if isinstance(tap, str):
            absent[point.name] = tap
            return
        module = _module(model, ".".join(filter(None, (path, tap.module))), point.name)
        if tap.axes is not None:
            point = replace(point, axes=tap.axes)
        wire = wires.setdefault(module, Wire(module, board))
        norm = _module(model, f"{path}.{tap.norm}", point.name) if tap.norm else None
        points[point.name] = WiredPoint(point, tap, sizes, wire, norm)

    def add_blocks(
        prefix: str, path: str, tower: Any, kinds: Sequence[str], used: int | None
    ) -> None:
        for layer in range(len(_module(model, path, f"{prefix}blocks"))):
            sizes = _sizes(tower.per_layer_config[layer] if tower.is_heterogeneous else tower)
            kind = kinds[layer] if layer < len(kinds) else ""
            table = block_table(family.blocks, tower.model_type, kind)
            if table is None:
                raise UnsupportedModelError(
                    f"{config.model_type} is built of {tower.model_type!r} blocks, which no table "
                    f"describes; known are {', '.join(BLOCKS)}; see docs/add_a_family.md"
                )
            for point in BLOCK_POINTS:
                here = block_point(prefix, layer, point)
                if used is not None and layer >= used:
                    absent[here.name] = (
                        f"the projector reads the tower's first {used} blocks only, so this one "
                        "is computed and never used"
                    )
                else:
                    lacking = f"{tower.model_type} blocks have no such step"
                    add(here, table.get(point.name, lacking), f"{path}.{layer}", sizes)

    taps = _single(family)
    for point in SINGLE_POINTS:
        if point.name == "projector.hook_in":
            used = family.vision_used(config)
            add_blocks("vision.", family.vision_layers, vision, layer_types(vision), used)
        if point.name == "ln_final.hook_normalized":
            add_blocks("", family.lm_layers, text, family.lm_kinds(text), None)
        add(point, taps[point.name], "", {})
        if point.name == "projector.hook_out" and family.deepstack:
            for number in range(len(_module(model, family.deepstack, "projector.deepstack"))):
                name = f"projector.deepstack.{number}.hook_out"
                deeper = Point(name, "patch d_model", "vision tokens added after an early block")
                add(deeper, Tap(f"{family.deepstack}.{number}", "out"), "", {})
    return points, absent


def _single(family: Family) -> dict[str, Tap | str]:
    """The taps of points that exist once."""
    usual: dict[str, Tap | str] = {
        "vision.hook_embed": Tap(f"{family.vision_layers}.0", "in"),
        "projector.hook_in": Tap(family.projector, "in"),
        "projector.hook_out": Tap(family.projector, "out"),
        "hook_embed": Tap(f"{family.lm_layers}.0", "in"),
        "ln_final.hook_normalized": Tap(family.final_norm, "out"),
        "hook_logits": Tap(family.lm_head, "out"),
    }
    return usual | dict(family.points)


def _module(model: nn.Module, path: str, wanted: str) -> Any:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"{wanted} should be at {path}, but {type(model).__name__} has no such module: {error}"
        ) from error


def _sizes(tower: Any) -> dict[str, int]:
    heads = getattr(tower, "num_attention_heads", None) or tower.num_heads
    return {"head": heads, "kv_head": getattr(tower, "num_key_value_heads", None) or heads}
