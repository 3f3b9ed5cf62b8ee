"""What is saved: activations whole, reduced, or of some rows alone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache, Placed, Save
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.model.lifetime.level import Level
from vlmlens.model.passes.room import refuse_too_large
from vlmlens.model.wiring.attention import RowRequest, ask_rows, withdraw
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.spliced import dictionaries
from vlmlens.model.wiring.wired import Wired
from vlmlens.positions import Positions, chosen
from vlmlens.tensors import onto


class Keeping:
    """What one pass saves.

    Attributes:
        axes: of what is saved, by point.
        hooked: the points whose hooks save something.
    """

    def __init__(self, vlm: Wired, inputs: Inputs, tensors: Any):
        self._vlm, self._inputs, self._tensors = vlm, inputs, tensors
        self._kept: dict[str, Tensor] = {}
        self._ways: dict[str, Any] = {}
        self._rows: dict[tuple, Tensor] = {}
        self.axes: dict[str, tuple[str, ...]] = {}
        self.hooked: list[str] = []

    @contextmanager
    def of(self, saves: Sequence[Save], level: Level) -> Iterator[None]:
        """Have these saved by the passes that are run while this lasts.

        Raises:
            InputError: one point in two ways, rows of a point that has none, or patterns that
                memory has no room for.
        """
        with ExitStack() as stack:
            for item in saves:
                for name in self._vlm.matching(item.points):
                    self._add(name, item, level, stack)
            whole = [name for name in self.hooked if self._ways[name] == (None, None)]
            size: Any = self._tensors["input_ids"].shape
            refuse_too_large(self._vlm, whole, *size)
            yield

    def saved(self) -> ActivationCache:
        """What was kept, in the order of the model's points."""
        kept = self._kept
        found = {name: kept[name] for name in self._vlm.hook_dict if name in kept} if kept else {}
        layouts, instance = self._inputs.layouts, self._vlm.instance
        made = ActivationCache(found, self.axes, layouts, instance, self._ways, self._vlm)
        made.dictionaries = dictionaries(self._vlm.spliced)
        return made

    def _add(self, name: str, item: Save, level: Level, stack: ExitStack) -> None:
        point, way = self._vlm.hook_dict[name], (item.rows, item.reduce)
        if self._ways.setdefault(name, way) != way:
            raise InputError(
                f"{name} is to be saved in two ways, but is kept under its name only: save it "
                "whole, or run twice"
            )
        if name in self.axes:  # two patterns that mean the same
            return
        self.axes[name] = point.axes
        if item.rows is not None:
            _refuse_rows(point)
        if item.rows is not None and name.endswith("attn.hook_pattern"):
            stack.enter_context(self._attention_rows(name, item))
            return
        hook: Any = partial(self._keep, item=item)
        point.add_own(hook, level)
        self.hooked.append(name)

    @contextmanager
    def _attention_rows(self, name: str, item: Save) -> Iterator[None]:
        """Have one layer's attention rows computed, and nothing else of its pattern."""
        vlm = self._vlm
        module = vlm.hf_model.get_submodule(_attention_path(vlm, name))

        def deliver(rows: Float[Tensor, "batch head rows key"]) -> None:
            self._kept[name] = self._reduced(item, rows) if item.reduce else rows

        assert item.rows is not None
        size = self._tensors["input_ids"].shape[1]
        request = RowRequest(self._index(item.rows, size, vlm.device), deliver)
        with vlm.noted(partial(withdraw, module, request)):
            ask_rows(module, request)
            yield

    def _keep(
        self, x: Shaped[Tensor, "*axes"], hook: WiredPoint, item: Save
    ) -> Shaped[Tensor, "*axes"] | None:
        whole = x = in_the_graph(x) if torch.is_grad_enabled() else x
        x = x if item.rows is None else self._of_rows(x, hook, item.rows)
        x = x if torch.is_grad_enabled() else x.detach()
        # A function that writes into what it is given writes into a copy.
        kept_now = self._reduced(item, x.clone()) if item.reduce else x
        name = hook.point.name
        if hook.tap.pieces and name in self._kept:  # a tower that is called image by image
            kept_now = torch.cat([self._kept[name], kept_now], dim=hook.axes.index("patch"))
        self._kept[name] = kept_now
        return whole if torch.is_grad_enabled() else None

    def _reduced(self, item: Save, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        reduce = item.reduce
        assert reduce is not None
        made: Any = reduce.by(x, self._inputs.layouts) if isinstance(reduce, Placed) else reduce(x)
        if not isinstance(made, Tensor):
            raise InputError(
                f"the reduce of Save({item.points!r}) returned a {type(made).__name__}; it should "
                "return the tensor to keep"
            )
        return made

    def _of_rows(
        self, x: Shaped[Tensor, "..."], hook: WiredPoint, wanted: Positions
    ) -> Shaped[Tensor, "..."]:
        at = hook.axes.index("pos" if "pos" in hook.axes else "query")
        index = self._index(wanted, x.shape[at], x.device)
        view = [1] * x.ndim
        view[0], view[at] = index.shape
        shape = list(x.shape)
        shape[at] = index.shape[1]
        return x.gather(at, index.reshape(view).expand(shape))

    def _index(
        self, wanted: Positions, size: int, device: torch.device
    ) -> Int[Tensor, "batch rows"]:
        """Each sample's chosen rows, found once for all layers."""
        key = (wanted, size, device)
        if key not in self._rows:
            self._rows[key] = onto(row_index(self._inputs, wanted, size), device)
        return self._rows[key]


def row_index(inputs: Inputs, wanted: Positions, size: int) -> Int[Tensor, "batch rows"]:
    """Each sample's chosen rows among the last ``size`` positions."""
    rows = [chosen(layout, wanted)[-size:].nonzero()[0] for layout in inputs.layouts]
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(str(len(row)) for row in rows)
        raise InputError(
            f"rows={wanted!r} are {counts} positions in the samples of this batch; rows need "
            "the same number in each: run the samples one by one"
        )
    return torch.from_numpy(np.stack(rows))


def in_the_graph(x: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
    """The same values as a tensor of their own, that gradients can be taken with respect to.

    It has to be given back to the pass: what lies beside the path to the logits has no gradient.
    """
    return (x if x.requires_grad else x.detach().requires_grad_()).clone()


def _attention_path(vlm: Wired, name: str) -> str:
    point = vlm.hook_dict[name]
    path = vlm.family.vision_layers if name.startswith("vision.") else vlm.family.lm_layers
    return f"{path}.{point.point.layer}.{point.tap.module}"


def _refuse_rows(point: WiredPoint) -> None:
    if "batch" not in point.axes:
        raise InputError(
            f"{point.point.name} has no positions of which rows could be kept: rows are positions "
            "of the language model's sequence"
        )
