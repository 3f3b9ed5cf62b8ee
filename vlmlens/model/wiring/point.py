"""A hook point of a transformers model: who watches it, and what they make of its activations."""

import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from einops import parse_shape, rearrange
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformer_lens.hook_points import HookPoint, LensHandle

from vlmlens.checks import function
from vlmlens.errors import ClosedModelError
from vlmlens.families import Tap
from vlmlens.interventions.own import made_of, refuse_unlike
from vlmlens.model.lifetime.board import Board
from vlmlens.model.lifetime.level import Level
from vlmlens.model.wiring.line import Line, Taker, after
from vlmlens.points import Point
from vlmlens.tensors import pieces

#: What is computed beside the pass, and takes its place only once it is edited.
BESIDE = ("reads", "scale", "mask", "scores", "pattern", "heads")


class WiredPoint(HookPoint):
    """A TransformerLens HookPoint that knows its axes and wakes its wire when it is hooked.

    Every hook is shown a copy of its own; see ``interventions.own``.

    Attributes:
        point: its name, axes and meaning.
        layout: the tensor's axes in transformers, where they are not the point's; see ``Tap``.
        sizes: how long its head axes are.
        part: (which, shares of all) of a fused projection's output; None where it has no parts.
        norms: the norm before its module, at what heads read; empty elsewhere.
        fired: how often a pass reached it since it was last set to 0.
        taken: what is spliced in here.

    Examples:
        >>> model.hook_dict["blocks.0.attn.hook_pattern"]
        blocks.0.attn.hook_pattern (batch head query key): attention weights, after the softmax
        >>> def look(x, hook):
        ...     print(hook.name, tuple(x.shape))
        >>> with model.hooks([("blocks.0.hook_mlp_out", look)]):
        ...     run = model.run(model.inputs(sample))
        blocks.0.hook_mlp_out (1, 78, 128)
    """

    def __init__(
        self,
        point: Point,
        tap: Tap,
        sizes: dict[str, int],
        wire: Line,
        norm: nn.Module | None = None,
    ):
        super().__init__()
        self.name, self.point, self.tap = point.name, point, tap
        self.axes, self.fired = tuple(point.axes.split()), 0
        self.norms = () if norm is None else (norm,)  # in a tuple: it is not ours to register
        self._wire = wire
        wire.points.append(self)
        self.layout = tap.layout
        self.sizes = {axis: size for axis, size in sizes.items() if axis in self.axes}
        self.part = tap.shares(sizes)
        self._level: Level | None = None
        self.taken: list[Taker] = []

    def add_hook(
        self,
        hook: Any,
        dir: Literal["fwd", "bwd"] = "fwd",
        is_permanent: bool = False,
        level: int | None = None,
        prepend: bool = False,
        alias_names: list[str] | None = None,
    ) -> LensHandle:
        """Add a hook as TransformerLens does; one of a context acts in the context's thread."""
        function(hook, "hook", "a hook", "tensor", hook="point")
        with self._wire.board.lock:
            self._level = level if isinstance(level, Level) else None
            try:
                return super().add_hook(hook, dir, is_permanent, level, prepend, alias_names)
            finally:
                self._level = None

    def __repr__(self) -> str:
        return f"{self.point.name} ({' '.join(self.axes)}): {self.point.about}"

    def add_own(self, hook: Any, level: Level) -> None:
        """Add a hook of vlmlens's own, which writes into nothing: it is shown no copy."""

        def call(
            module: nn.Module, args: tuple, x: Shaped[Tensor, "*axes"]
        ) -> Shaped[Tensor, "*axes"] | None:
            return hook(x, hook=self) if level.acts else None

        with self._wire.board.lock:
            self._check_open()
            shown: Any = call
            shown.level = level
            handle = super().register_forward_hook(shown)
            self.fwd_hooks.append(LensHandle(handle, False, level, hook))
            self._wire.refresh()

    def register_forward_hook(self, hook: Callable, **options: Any) -> RemovableHandle:
        """Add a hook as torch does (TransformerLens's ``add_hook`` calls this); begin to watch."""

        def call(module: nn.Module, args: tuple, *rest: Any) -> Shaped[Tensor, "..."] | None:
            if not _acts(call):
                return None
            return self._shown(rest[-1], lambda x: hook(module, (x,), *rest[:-1], x))

        return self._watch(super().register_forward_hook, call, options)

    def register_forward_pre_hook(self, hook: Callable, **options: Any) -> RemovableHandle:
        """The same, for hooks that see what comes in."""

        def call(module: nn.Module, args: tuple, *rest: Any) -> Any:
            if not _acts(call):
                return None
            made = self._shown(args[0], lambda x: _only(hook(module, (x,), *rest)))
            return None if made is None else ((made,), *rest) if rest else (made,)

        return self._watch(super().register_forward_pre_hook, call, options)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """The same, for hooks on gradients."""

        def call(module: nn.Module, entering: Any, leaving: Any) -> Any:
            if entering[0] is None:  # of what has no gradient
                return hook(module, entering, leaving)
            made = self._shown(entering[0], lambda x: _only(hook(module, (x,), (x,))))
            return None if made is None else (made,)

        return self._watch(super().register_full_backward_hook, call, {"prepend": prepend})

    def register_full_backward_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """The same, for hooks on gradients before the others."""

        def call(module: nn.Module, leaving: Any) -> Any:
            made = self._shown(leaving[0], lambda x: _only(hook(module, (x,))))
            return None if made is None else (made,)

        return self._watch(super().register_full_backward_pre_hook, call, {"prepend": prepend})

    def remove_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Remove hooks as TransformerLens does; stop watching when none is left."""
        with self._wire.board.lock:
            super().remove_hooks(*args, **kwargs)
            self._wire.refresh()

    def drop(self, level: Level) -> None:
        """Remove a context's hooks, also those that an interrupt kept from being noted."""
        with self._wire.board.lock:
            for hooks in self._torch_hooks:
                for key in [k for k, hook in hooks.items() if getattr(hook, "level", 0) is level]:
                    del hooks[key]
            self._wire.refresh()
            # Last: while they are noted here, somebody will come again.
            self.fwd_hooks = [one for one in self.fwd_hooks if one.context_level is not level]
            self.bwd_hooks = [one for one in self.bwd_hooks if one.context_level is not level]

    def remove_all(self) -> None:
        """Remove every hook, also one of torch's own and what an interrupt left."""
        with self._wire.board.lock:
            for hooks in self._torch_hooks:
                hooks.clear()
            self.fwd_hooks, self.bwd_hooks, self.taken = [], [], []
            self._wire.refresh()

    def release(self, level: Level) -> None:
        """Let a context's hooks stay when it ends, until they are removed."""
        for hooks in self._torch_hooks:
            for hook in hooks.values():
                if getattr(hook, "level", None) is level:
                    hook.level = None
        for handle in (*self.fwd_hooks, *self.bwd_hooks):
            if handle.context_level is level:
                handle.context_level = int(level)

    @property
    def module(self) -> nn.Module:
        """The transformers module that it lies at."""
        return self._wire.module

    def size(self, axis: str) -> int:
        """How long one of its head axes is."""
        return self.sizes[axis]

    @property
    def board(self) -> Board:
        """What it shares with the model's other points."""
        return self._wire.board

    def refresh(self) -> None:
        """Have the pass come by where, and only where, somebody watches."""
        with self._wire.board.lock:
            self._wire.refresh()

    @property
    def hooked(self) -> bool:
        """Whether any hook is on."""
        return any(self._torch_hooks)

    @property
    def watched(self) -> bool:
        """Whether any hook is on, or anything is spliced in."""
        return self.hooked or bool(self.taken)

    @property
    def acts(self) -> bool:
        """Whether anything of this acts now and in this thread."""
        hooks = (hook for hooks in self._torch_hooks for hook in list(hooks.values()))
        return any(map(_acts, hooks)) or any(each.acts for each in self.taken)

    @property
    def _torch_hooks(self) -> tuple[dict[int, Any], ...]:
        forward = self._forward_hooks, self._forward_pre_hooks
        return (*forward, self._backward_hooks, self._backward_pre_hooks)

    def _check_open(self) -> None:
        if self._wire.board.closed:
            raise ClosedModelError(
                f"no hook can be added at {self.point.name}: the model is closed; wrap it again"
            )

    def _watch(self, register: Callable, call: Any, options: dict) -> RemovableHandle:
        with self._wire.board.lock:
            self._check_open()
            call.level = self._level
            handle = register(call, **options)
            self._wire.refresh()
            return handle

    def _shown(
        self, x: Shaped[Tensor, "*axes"], make: Callable[[Shaped[Tensor, "*axes"]], Any]
    ) -> Shaped[Tensor, "*axes"] | None:
        """What a hook makes of an activation or a gradient; None where it only looked."""
        made = made_of(x, make)
        if not made.edited:
            # With a graph the copy goes on, so that gradients reach whoever keeps it; but not
            # where that would change how the pass computes.
            return made.own if torch.is_grad_enabled() and self.tap.stage not in BESIDE else None
        refuse_unlike(made.value, x, self.point.name, self.axes, "a hook")
        return made.value

    def carry(self, native: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Show a tensor to the hooks in the point's own axes.

        Returns:
            The very same tensor where no hook changed it, else the changed one in the layout
            that it came in.
        """
        if not self.acts:
            return native
        self.fired += 1
        if self.part is None or self.tap.stage == "reads":
            return self._carry(native)
        which, shares = self.part
        parts = pieces(native, shares)
        changed = self._carry(parts[which])
        if changed is parts[which]:
            return native
        parts[which] = changed
        return torch.cat(parts, dim=-1)

    def _carry(self, native: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        backward = self._backward_hooks or self._backward_pre_hooks
        if backward and torch.is_grad_enabled() and not native.requires_grad:
            # Angles, or a model whose weights are frozen: torch would not call the hooks.
            native = native.detach().clone().requires_grad_()
        if self.layout is None:
            return after(self, self.taken, self(native))
        theirs, _, ours = self.layout.partition(" -> ")
        ours, axes, sizes = ours or " ".join(self.axes), " ".join(self.axes), dict(self.sizes)
        if ours != axes:  # several axes become one, which has to be cut again
            sizes |= parse_shape(native, re.sub(r"\b1\b", "_", theirs))
        seen = rearrange(native, f"{theirs} -> {ours}", **sizes)
        changed = after(self, self.taken, self(seen))
        if changed is seen:
            return native
        return rearrange(changed, f"{ours} -> {theirs}", **sizes)


def _acts(hook: Any) -> bool:
    level = getattr(hook, "level", None)
    return level is None or level.acts


def _only(returned: Any) -> Any:
    """What torch's hooks return: a tensor, or a tuple that holds nothing else (or keywords)."""
    while isinstance(returned, tuple) and returned:
        returned = returned[0]
    return returned
