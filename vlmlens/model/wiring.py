"""A HookPoint at every point of a transformers model.

A torch hook is installed when a point gets its first hook and removed with its last, so a point
that nobody watches costs nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from einops import parse_shape, rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformer_lens.hook_points import HookPoint

from vlmlens.errors import UnsupportedModelError
from vlmlens.families import BLOCKS, Family, Tap, block_table, layer_types
from vlmlens.model.attention import CATCHERS, Catcher
from vlmlens.model.rotary import angles, with_angles
from vlmlens.points import BLOCK_POINTS, SINGLE_POINTS, Point, block_point

ATTENTION_STAGES = ("query", "key", "value", "scores", "pattern")


class WiredPoint(HookPoint):
    """A TransformerLens HookPoint that knows its axes and wakes its wire when it is hooked.

    Attributes:
        point: its name, axes and meaning.
        fired: how often activations came by since it was last set to 0.
    """

    def __init__(self, point: Point, tap: Tap, sizes: dict[str, int], wire: "Wire"):
        super().__init__()
        self.name, self.point, self.tap = point.name, point, tap
        self.axes = tuple(point.axes.split())
        self.fired = 0
        self._wire = wire
        self._native = tap.layout
        self._sizes = {axis: size for axis, size in sizes.items() if axis in self.axes}

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Add a hook as torch does (TransformerLens's ``add_hook`` calls this); begin to watch."""
        self._wire.connect(self)
        return super().register_forward_hook(*args, **kwargs)

    def register_forward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """The same, for hooks that see what comes in."""
        self._wire.connect(self)
        return super().register_forward_pre_hook(*args, **kwargs)

    def register_full_backward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """The same, for hooks on gradients."""
        self._wire.connect(self)
        return super().register_full_backward_hook(*args, **kwargs)

    def register_full_backward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """The same, for hooks on gradients before the others."""
        self._wire.connect(self)
        return super().register_full_backward_pre_hook(*args, **kwargs)

    def remove_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Remove hooks as TransformerLens does; stop watching when none is left."""
        super().remove_hooks(*args, **kwargs)
        if not self.watched:
            self._wire.disconnect(self)

    def size(self, axis: str) -> int:
        """How long one of its head axes is."""
        return self._sizes[axis]

    @property
    def watched(self) -> bool:
        """Whether any hook is on."""
        return bool(
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
        )

    def carry(self, native: Tensor) -> Tensor:
        """Show a tensor to the hooks in the point's own axes.

        Returns:
            The very same tensor where no hook changed it, else the changed one in the layout
            that it came in.
        """
        self.fired += 1
        if self.tap.part is None:
            return self._carry(native)
        which, of = self.tap.part
        parts = list(native.chunk(of, dim=-1))
        changed = self._carry(parts[which])
        if changed is parts[which]:
            return native
        parts[which] = changed
        return torch.cat(parts, dim=-1)

    def _carry(self, native: Tensor) -> Tensor:
        backward = self._backward_hooks or self._backward_pre_hooks
        if backward and torch.is_grad_enabled() and not native.requires_grad:
            # Angles, or a model whose weights are frozen: torch would not call the hooks.
            native = native.detach().clone().requires_grad_()
        if self._native is None:
            return self(native)
        theirs, _, ours = self._native.partition(" -> ")
        ours, axes, sizes = ours or " ".join(self.axes), " ".join(self.axes), dict(self._sizes)
        if ours != axes:  # several axes become one, which has to be cut again
            sizes |= parse_shape(native, re.sub(r"\b1\b", "_", theirs))
        seen = rearrange(native, f"{theirs} -> {ours}", **sizes)
        changed = self(seen)
        if changed is seen:
            return native
        return rearrange(changed, f"{ours} -> {theirs}", **sizes)


class Wire:
    """All points that lie at one module, behind at most one torch hook before and one after."""

    def __init__(self, module: nn.Module):
        self._module = [module]  # in a list: it is not ours to register
        self._active: list[WiredPoint] = []
        self._handles: list[Any] = []

    def connect(self, point: WiredPoint) -> None:
        """Begin to carry activations to a point."""
        if point not in self._active:
            self._active.append(point)
            self._refresh()

    def disconnect(self, point: WiredPoint) -> None:
        """Stop carrying to a point; the last one takes the torch hooks with it."""
        if point in self._active:
            self._active.remove(point)
            self._refresh()

    def _refresh(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        (module,) = self._module
        before = [p for p in self._active if p.tap.stage in ("in", "stream", "cos", "sin")]
        after = [p for p in self._active if p.tap.stage in ("heads", "out")]
        inside = {p.tap.stage: p for p in self._active if p.tap.stage in ATTENTION_STAGES}
        if before:
            before.sort(key=lambda p: p.point.layer is not None)  # hook_embed before block 0's
            hook = _carry_before(before)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        if after:
            after.sort(key=lambda p: p.tap.stage == "out")  # the heads' writes, then their sum
            # Prepended: transformers' own capturing hooks must see what ours made of it.
            self._handles.append(module.register_forward_hook(_carry_after(after), prepend=True))
        catcher = CATCHERS.get(module)
        if inside or (catcher and catcher.rows):
            CATCHERS.setdefault(module, Catcher()).points = dict(inside)
        else:
            CATCHERS.pop(module, None)


def _carry_before(points: list[WiredPoint]) -> Callable:
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        for point in points:
            if point.tap.stage in ("cos", "sin"):
                side = ("cos", "sin").index(point.tap.stage)
                given = kwargs["position_embeddings"]
                changed = point.carry(angles(given)[side])
                kwargs = kwargs | {"position_embeddings": with_angles(given, side, changed)}
                continue
            name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs), "")
            x = args[0] if args else kwargs[name]
            if point.tap.floats and not x.is_floating_point():
                continue
            # The residual branch holds this very tensor: hooks get a copy, and what they make
            # of it is written into the original, where both branches read it.
            seen = x.clone() if point.tap.stage == "stream" else x
            changed = point.carry(seen)
            if point.tap.stage == "stream":
                if changed is not seen:
                    x.copy_(changed)
            elif args:
                args = (changed, *args[1:])
            else:
                kwargs = kwargs | {name: changed}
        return args, kwargs

    return hook


def _carry_after(points: list[WiredPoint]) -> Callable:
    def hook(module: nn.Module, args: tuple, output: Any) -> Any:
        x = output[0] if isinstance(output, tuple) else output
        for point in points:
            if point.tap.floats and not args[0].is_floating_point():
                continue
            if point.tap.stage == "heads":
                writes, rest = _by_head(module, args[0], point._sizes["head"])
                changed = point.carry(writes)
                if changed is not writes:
                    x = changed.sum(-2) + rest
            elif point.tap.stage == "out" and args and x.ndim < args[0].ndim == len(point.axes):
                # Experts take all positions in one row; what they give back has its input's axes.
                seen = x.view(*args[0].shape[:-1], x.shape[-1])
                changed = point.carry(seen)
                x = x if changed is seen else changed.reshape(x.shape)
            else:
                x = point.carry(x)
        return (x, *output[1:]) if isinstance(output, tuple) else x

    return hook


def _by_head(module: nn.Module, z: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Each head's own write (... head d_model), and what is written whatever they say.

    The projection itself is called, never its weight, which may be quantised or elsewhere.
    """
    rest = module.forward(torch.zeros_like(z[:1]))[..., :1, :]
    split = rearrange(z, "... (h d) -> ... h d", h=heads)
    writes = []
    for head in range(heads):
        alone = torch.zeros_like(split)
        alone[..., head, :] = split[..., head, :]
        writes.append(module.forward(rearrange(alone, "... h d -> ... (h d)")) - rest)
    return torch.stack(writes, dim=-2), rest


def wire(model: Any, family: Family) -> tuple[dict[str, WiredPoint], dict[str, str]]:
    """A point for every place that the family's tables name.

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
        points[point.name] = WiredPoint(point, tap, sizes, wires.setdefault(module, Wire(module)))

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

    usual: dict[str, Tap | str] = {
        "vision.hook_embed": Tap(f"{family.vision_layers}.0", "in"),
        "projector.hook_in": Tap(family.projector, "in"),
        "projector.hook_out": Tap(family.projector, "out"),
        "hook_embed": Tap(f"{family.lm_layers}.0", "in"),
        "ln_final.hook_normalized": Tap(family.final_norm, "out"),
        "hook_logits": Tap(family.lm_head, "out"),
    }
    taps = usual | dict(family.points)
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
