"""Where: which layers, heads, positions, samples and decoding steps."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vlmlens.annotations import Checked, kinds, settle
from vlmlens.checks import shown
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.layout import TokenLayout
from vlmlens.positions import Indices, Positions, Span, as_written, chosen, indices
from vlmlens.positions.selection import SETTLED

#: ``"prefill"`` is the pass over the prompt, ``"decode"`` every later one; or numbers, prefill 0.
Steps: TypeAlias = str | int | range | tuple[str | int, ...] | list[str | int]
STEPS = ("prefill", "decode")


@dataclass(frozen=True, repr=False)
class Where(Checked):
    """Which part of an activation is meant; None, or ``"all"``, means all of an axis.

    Numbers may be numpy's or torch's; several of them a tuple, a list, a set, an array, a range or
    a slice (whose ends must be there).

    Attributes:
        layers: blocks, counted from 0; negative counts from the last; 0.5 is the block at half
            the depth and ``(0.25, 0.75)`` the middle half. Points outside the blocks
            (``hook_embed``) belong to no layer: beside points of blocks they are edited whatever
            this says, and alone they are refused.
        heads: heads (or key-value heads, at points that have those), counted from 0.
        positions: along ``pos``: roles (``"vision"``), ``"last"``, indices, selections such as
            ``Role("vision") & ~Row(0)``, or a tuple of these. Along ``patch``, at the projector,
            the vision tokens among them.
        queries: the same along ``query``, at scores and patterns.
        keys: the same along ``key``.
        samples: rows of the batch, counted from 0; the images of those samples, where a point
            has images in place of samples.
        steps: decoding steps: ``"prefill"``, ``"decode"``, numbers, or a tuple of these.
        neurons: hidden units of MLPs, or features of a dictionary that is spliced in, counted from
            0, at points that have those.
        patches: entries along a tower's own positions (``pos`` beside ``image``, where CLS comes
            first), or along ``patch``, in towers and at projectors; counted from 0.

    Examples:
        >>> vl.Where(layers=(0.5, 1.0), heads=0, queries="last", keys="vision")
        Where(layers=(0.5, 1.0), heads=0, queries='last', keys='vision')
        >>> where = vl.Where(layers=(0.5, 1.0))
        >>> [where.has_layer(layer, 4) for layer in range(4)]
        [False, False, True, True]
    """

    layers: Indices | None = None
    heads: Indices | None = None
    positions: Positions | None = None
    queries: Positions | None = None
    keys: Positions | None = None
    samples: Indices | None = None
    steps: Steps | None = None
    neurons: Indices | None = None
    patches: Indices | None = None

    def __post_init__(self):
        settle(self, _RULES)

    def has_layer(self, layer: int | None, layers: int) -> bool:
        """Whether a block is meant; what belongs to no block is always meant.

        Raises:
            EmptySelectionError: a layer that the model does not have.

        Examples:
            >>> last = vl.Where(layers=-1)
            >>> last.has_layer(3, layers=4), last.has_layer(None, layers=4)
            (True, True)
        """
        if self.layers is None or layer is None:
            return True
        return layer in indices(self.layers, layers, "layer")

    def refuse_no_layer(self, layers: Sequence[int | None]) -> None:
        """Refuse ``layers`` at points of which none is in a block.

        Args:
            layers: each point's block; None for a point outside the blocks.

        Raises:
            EmptySelectionError: layers are named, and none of the points has one.

        Examples:
            >>> vl.Where(layers=3).refuse_no_layer([0, 1, 2, 3])
            >>> vl.Where(layers=3).refuse_no_layer([None])
            Traceback (most recent call last):
            vlmlens.errors.EmptySelectionError: layers=3 where no point is in a block: ...
        """
        if self.layers is not None and layers and all(layer is None for layer in layers):
            raise EmptySelectionError(
                f"layers={shown(self.layers)} where no point is in a block: leave layers out, or "
                "edit a point of the blocks, such as blocks.*.hook_resid_pre"
            )

    def has_step(self, step: int) -> bool:
        """Whether a decoding step is meant; 0 is the pass over the prompt.

        Raises:
            EmptySelectionError: no step at all.

        Examples:
            >>> vl.Where(steps="decode").has_step(0), vl.Where(steps="decode").has_step(1)
            (False, True)
        """
        if self.steps is None:
            return True
        items = [self.steps] if isinstance(self.steps, str | int) else self.steps
        if not items:
            raise EmptySelectionError("no step is selected: the selection is empty")
        return step in items or ("decode" if step else "prefill") in items

    def mask(
        self, axes: Sequence[str], shape: Sequence[int], layouts: Sequence[TokenLayout]
    ) -> Bool[Tensor, "..."] | None:
        """The part that is meant, to be broadcast over the activation; None for all of it.

        Positions are matched to the LAST entries of an axis: while decoding, an activation holds
        the newest positions only.

        Raises:
            EmptySelectionError: an axis that the point lacks, a head or a sample that it lacks,
                a selection that means no position of some sample.

        Examples:
            >>> layout = model.inputs(sample).layouts[0]
            >>> where = vl.Where(positions="vision")
            >>> mask = where.mask(("batch", "pos", "d_model"), (1, 78, 128), [layout])
            >>> mask.shape, int(mask.sum())
            (torch.Size([1, 78, 1]), 64)
        """
        axes = list(axes)
        parts: list[Tensor] = []
        meant = range(len(layouts))
        if self.samples is not None:
            meant = indices(self.samples, len(layouts), "sample")
            part = torch.zeros(len(layouts), dtype=torch.bool)
            part[meant] = True
            parts.append(_view(_rows(part, axes, shape, layouts), [0], shape))
        if self.heads is not None:
            at = axes.index(_axis("kv_head" if "kv_head" in axes else "head", "head", axes))
            part = torch.zeros(shape[at], dtype=torch.bool)
            part[indices(self.heads, shape[at], axes[at])] = True
            parts.append(_view(part, [at], shape))
        for asked, wanted in (("neuron", self.neurons), ("patch", self.patches)):
            if wanted is not None:
                at = axes.index(_axis(_own_axis(asked, axes), asked, axes))
                part = torch.zeros(shape[at], dtype=torch.bool)
                part[indices(wanted, shape[at], asked)] = True
                parts.append(_view(part, [at], shape))
        for axis, wanted in (("pos", self.positions), ("query", self.queries), ("key", self.keys)):
            if wanted is None:
                continue
            if axis == "pos" and "patch" in axes:
                part, at = _patches(wanted, shape, layouts, meant), 1
            else:
                at = axes.index(_axis(axis, axis, axes))
                if "batch" not in axes:
                    raise EmptySelectionError(
                        "positions are those of the language model's sequence; inside the vision "
                        "tower there are no roles"
                    )
                rows = np.zeros((len(layouts), min(shape[at], len(layouts[0]))), dtype=bool)
                for row in meant:  # a sample that is not meant need not have such positions
                    rows[row] = chosen(layouts[row], wanted)[-shape[at] :]
                part = torch.from_numpy(rows)
            parts.append(_view(part, [0, at], shape))
        whole = None
        for part in parts:
            whole = part if whole is None else whole & part
        return whole

    def __repr__(self) -> str:
        """As it is written, without what is left out."""
        return f"Where({', '.join(self.shown())})"

    def shown(self) -> list[str]:
        """What it says, as ``axis=what``.

        Examples:
            >>> vl.Where(layers=0, keys="vision").shown()
            ['layers=0', "keys='vision'"]
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return [f"{name}={value!r}" for name, value in values.items() if value is not None]


def as_steps(wanted: Any, what: str = "steps") -> Any:
    """What a user wrote for decoding steps, in plain values; ``"all"`` is None.

    Raises:
        EmptySelectionError: a word or a number that is no step.
        InputError: what is neither.
    """
    if isinstance(wanted, str) and wanted == "all":
        return None
    there = "there is prefill, decode, and numbers from 0"
    if isinstance(wanted, str) and wanted not in STEPS:
        raise EmptySelectionError(f"no step {wanted!r}: {there}")
    written = as_written(wanted, what, STEPS)
    if isinstance(written, Span):
        if written.stop is None or min(written.start or 0, written.stop, written.step or 1) < 0:
            raise InputError(f"{what}={written}: nobody knows how many steps come; say both ends")
        return range(written.start or 0, written.stop, written.step or 1)
    for item in written if isinstance(written, tuple | range) else (written,):
        if not (isinstance(item, str) or (isinstance(item, int) and item >= 0)):
            raise EmptySelectionError(f"no step {item!r}: {there}")
    return written


_RULES = SETTLED | {kinds(Steps): as_steps}


def _own_axis(asked: str, axes: list[str]) -> str:
    """The axis along which neurons or patches lie."""
    if asked == "neuron":
        return "d_sae" if "d_sae" in axes else "d_mlp"
    return "pos" if axes[0] == "image" and "patch" not in axes else "patch"


def _axis(name: str, asked: str, axes: list[str]) -> str:
    if name not in axes:
        raise EmptySelectionError(
            f"this selects along {asked!r}, but the point has the axes {' '.join(axes)}"
        )
    return name


def _view(part: Bool[Tensor, "..."], at: list[int], shape: Sequence[int]) -> Bool[Tensor, "..."]:
    """The mask with its axes at the activation's, to be broadcast over the rest."""
    view = [1] * len(shape)
    for axis, size in zip(at, part.shape, strict=True):
        view[axis] = size
    return part.reshape(view)


def _rows(
    part: Bool[Tensor, " batch"],
    axes: list[str],
    shape: Sequence[int],
    layouts: Sequence[TokenLayout],
):
    """Samples along the first axis; where that is images, the images of these samples."""
    if axes[0] == "batch":
        return part
    counts = torch.tensor([layout.images for layout in layouts])
    if int(counts.sum()) != shape[0]:
        raise EmptySelectionError(
            f"this selects samples, but {shape[0]} pictures are here for {int(counts.sum())} "
            "images, so whose they are is not known; select samples at points with a batch axis"
        )
    return part.repeat_interleave(counts)


def _patches(
    wanted: Positions, shape: Sequence[int], layouts: Sequence[TokenLayout], meant: Sequence[int]
) -> Bool[Tensor, "image patch"]:
    """Vision tokens along image and patch, as the projector writes them.

    Pictures and videos that pass it together do so in the order of the sequence.
    """
    rows = []
    for row, layout in enumerate(layouts):
        mask = chosen(layout, wanted) if row in meant else np.zeros(len(layout), dtype=bool)
        rows += [mask[layout.made(image)] for image in layout.standing()]
    if [len(rows), *{len(row) for row in rows}] != list(shape[:2]):
        raise EmptySelectionError(
            f"the projector writes {shape[0]} x {shape[1]} patches, which are not these images' "
            "vision tokens one by one; select positions at hook_embed"
        )
    found = np.stack(rows)
    if not found.any():
        raise EmptySelectionError(f"{wanted!r} means no vision token")
    return torch.from_numpy(found)
