"""Between a module and its points: torch hooks, which are on while some point has hooks."""

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.model.arithmetic.norm import Norm
from vlmlens.model.arithmetic.projections import by_head, by_reader
from vlmlens.model.lifetime.board import Board
from vlmlens.model.wiring.attention import Carrier, watch_steps
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.rotary import angles, with_angles

#: Stages before a module runs, after it, and inside attention.
BEFORE = ("in", "embeds", "stream", "cos", "sin")
AFTER = ("reads", "scale", "heads", "out")
INSIDE = ("query", "key", "value", "mask", "scores", "pattern")

#: The name by which a language model is handed its embeddings, at ``embeds``.
EMBEDS = "inputs_embeds"


class Wire:
    """All points that lie at one module, behind at most one torch hook before and one after.

    Attributes:
        points: these points.
        board: what it shares with the model's other wires.
    """

    def __init__(self, module: nn.Module, board: Board):
        self._module = [module]  # in a list: it is not ours to register
        self.board = board
        self.points: list[WiredPoint] = []
        self._before = _carry_before(self)
        self._after = _carry_after(self)
        self._entering = _keep_entering(self)
        #: What entered the norm before this module, by thread, while a pass is between the two.
        self.entered: dict[int, Float[Tensor, "*lead d_model"]] = {}

    @property
    def module(self) -> nn.Module:
        """The module that the points lie at."""
        (module,) = self._module
        return module

    def watched(self, stages: Sequence[str]) -> list[WiredPoint]:
        """The points of some stages that have hooks, in the order in which a pass reaches them."""
        found = [p for p in self.points if p.tap.stage in stages and p.watched]
        # hook_embed before block 0's; what heads read and write, then their sum.
        return sorted(found, key=lambda p: (p.point.layer is not None, p.tap.stage == "out"))

    @property
    def norm(self) -> nn.Module | None:
        """The norm before this module, where some point shows what entered it."""
        return next((norm for point in self.points for norm in point.norms), None)

    def of(self, module: nn.Module) -> bool:
        """Whether this is the module it lies at, and not a copy that took the hooks along."""
        return module is self._module[0]

    def refresh(self) -> None:
        """Have torch call us where, and only where, some point has hooks."""
        module = self.module
        take_off(module, self._before)
        take_off(module, self._after)
        if self.watched(BEFORE):
            module.register_forward_pre_hook(self._before, with_kwargs=True)
        if self.watched(AFTER):
            # Prepended: transformers' own capturing hooks must see what ours made of it.
            module.register_forward_hook(self._after, prepend=True)
        if (norm := self.norm) is not None:
            take_off(norm, self._entering)
            if self.watched(("reads",)):
                norm.register_forward_hook(self._entering)
        inside: dict[str, Carrier] = {p.tap.stage: p for p in self.watched(INSIDE)}
        watch_steps(module, inside)


def take_off(module: nn.Module, hook: Callable) -> None:
    """Take a hook off, also one whose handle an interrupt kept from being noted."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [key for key, known in hooks.items() if known is hook]:
            del hooks[key]
            module._forward_hooks_with_kwargs.pop(key, None)
            module._forward_pre_hooks_with_kwargs.pop(key, None)


def _carry_before(wire: Wire) -> Callable:
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not wire.of(module):
            return None
        for point in wire.watched(BEFORE):
            if point.tap.stage in ("cos", "sin"):
                side = ("cos", "sin").index(point.tap.stage)
                given = kwargs["position_embeddings"]
                seen = angles(given)[side]
                if (changed := point.carry(seen)) is not seen:
                    kwargs = kwargs | {"position_embeddings": with_angles(given, side, changed)}
                continue
            if point.tap.stage == "embeds":
                kwargs = kwargs | {EMBEDS: point.carry(kwargs[EMBEDS])}
                continue
            name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs), "")
            x = args[0] if args else kwargs[name]
            if point.tap.floats and not x.is_floating_point():
                continue
            if point.tap.stage == "stream":
                # The residual branch holds this very tensor: hooks see a copy, and what they make
                # of it is written into the original, where both branches read it.
                changed = point.carry(seen := x.clone()) if point.acts else (seen := x)
                if changed is not seen:
                    x.copy_(changed)
                continue
            changed = point.carry(x)
            if args:
                args = (changed, *args[1:])
            else:
                kwargs = kwargs | {name: changed}
        return args, kwargs

    return hook


def _carry_after(wire: Wire) -> Callable:
    def hook(module: nn.Module, args: tuple, output: Any) -> Any:
        if not wire.of(module):
            return None
        x = output[0] if isinstance(output, tuple) else output
        for point in wire.watched(AFTER):
            if not point.acts or (point.tap.floats and not args[0].is_floating_point()):
                continue
            if point.tap.stage == "heads":
                writes, rest = by_head(module, args[0], point.size("head"))
                changed = point.carry(writes)
                if changed is not writes:
                    x = changed.sum(-2) + rest
            elif point.tap.stage == "reads":
                x = _carry_reads(wire, point, args[0], x)
            elif point.tap.stage == "scale":
                x = _carry_scale(module, point, args[0], x)
            elif point.tap.stage == "out" and args and x.ndim < args[0].ndim == len(point.axes):
                # Experts take all positions in one row; what they give back has its input's axes.
                seen = x.view(*args[0].shape[:-1], x.shape[-1])
                changed = point.carry(seen)
                x = x if changed is seen else changed.reshape(x.shape)
            else:
                x = point.carry(x)
        wire.entered.pop(get_ident(), None)
        return (x, *output[1:]) if isinstance(output, tuple) else x

    return hook


def _keep_entering(wire: Wire) -> Callable:
    def hook(norm: nn.Module, args: tuple, output: Any) -> None:
        if norm is wire.norm:
            wire.entered[get_ident()] = args[0]

    return hook


def _carry_reads(
    wire: Wire,
    point: WiredPoint,
    normed: Float[Tensor, "*lead d_model"],
    made: Float[Tensor, "*lead width"],
) -> Float[Tensor, "*lead width"]:
    norm, before = wire.norm, normed
    if norm is None:  # nothing norms the stream that is read
        norm = nn.Identity()
    else:
        before = wire.entered[get_ident()]
    (axis,) = point.sizes
    seen = repeat(before, "... d -> ... h d", h=point.size(axis))
    changed = point.carry(seen)
    if changed is seen:
        return made
    part = point.part or (0, (1,))
    return by_reader(norm, wire.module, changed, before, normed, made, part)


def _carry_scale(
    module: nn.Module,
    point: WiredPoint,
    x: Float[Tensor, "*lead d_model"],
    made: Float[Tensor, "*lead d_model"],
) -> Float[Tensor, "*lead d_model"]:
    norm = Norm.of(module, x)
    scale = norm.scale(x).to(x.dtype)
    changed = point.carry(scale)
    if changed is scale:
        return made
    return norm.bias + (made - norm.bias) * (scale / changed)
