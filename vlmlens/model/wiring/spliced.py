"""A dictionary in the place of an activation: its features are points, what they make goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.families import Tap
from vlmlens.layout import TokenLayout
from vlmlens.model.lifetime.board import Board
from vlmlens.model.lifetime.level import Level
from vlmlens.model.wiring.dictionaries import as_rows, decoded, encoded, row_axes
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.points import DICTIONARY_POINTS, Point
from vlmlens.select import Where
from vlmlens.tensors import onto


@runtime_checkable
class Dictionary(Protocol):
    """What can be spliced in: a sparse autoencoder, a transcoder, anything with these two methods.

    Examples:
        >>> from vlmlens.model import Dictionary
        >>> isinstance(vl.interop.sae.load("shapes-base"), Dictionary)
        True
    """

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """How active each feature is."""
        ...

    def decode(self, acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_out"]:
        """What the features make."""
        ...


@dataclass(frozen=True)
class Splice:
    """What is spliced in, and where: part of what identifies a model's results.

    Attributes:
        point: the point whose activation is replaced.
        dictionary: the features.
        error: whether what they do not make is added, so that nothing changes until they do.
        reads: the point that they are read from, by its full name; the same one, but for
            transcoders.
        where: the positions, samples and steps that are replaced.

    Examples:
        >>> sae = vl.interop.sae.load("shapes-base")
        >>> with model.splice("blocks.2.hook_resid_post", sae):
        ...     model.splices
        (Splice(blocks.2.hook_resid_post: SAE(topk, 128 -> 512 at blocks.2.hook_resid_post), ...),)
    """

    point: str
    dictionary: Any
    error: bool = True
    reads: str = ""
    where: Where = field(default_factory=Where)

    def __repr__(self) -> str:
        reads = f", reads={self.reads!r}" if self.reads != self.point else ""
        where = f", where={self.where!r}" if self.where != Where() else ""
        return f"Splice({self.point}: {shown(self.dictionary)}, error={self.error}{reads}{where})"


class Spliced:
    """A splice on a model: the points of its dictionary, and what the pass makes of them.

    With x the activation, y what the dictionary reads (x itself, but for transcoders), and a prime
    for what hooks made of a value,

        x' = decode(acts') + (x - decode(encode(y)))'    with the error term,
        x' = decode(acts')                               without.

    The first is computed as x and what hooks changed, so that nothing changes where they did not.

    Attributes:
        splice: what is spliced in.
        points: the dictionary's points, by their last word.
        level: in which thread, and how long, it acts.
        seat: the layouts of the pass, beam by beam, and its step; None outside of one.
    """

    def __init__(self, splice: Splice, host: WiredPoint, source: WiredPoint, level: Level):
        self.splice, self.level = splice, level
        self._host, self._source = host, source
        self._read: Tensor | None = None
        self.seat: tuple[Sequence[Sequence[TokenLayout]], int] | None = None
        line: Any = _Line(host)
        self.points: dict[str, WiredPoint] = {}
        for point in DICTIONARY_POINTS:
            if splice.error or point.name != "hook_sae_error":
                axes = row_axes((source if point.name == "hook_sae_input" else host).axes)
                own = point.axes.replace("...", " ".join(axes[:-1])).replace("d_in", axes[-1])
                name = f"{host.point.name}.{point.name}"
                self.points[point.name] = WiredPoint(
                    Point(name, own, point.about), Tap("", "out"), {}, line
                )

    @property
    def acts(self) -> bool:
        """Whether it acts now and in this thread."""
        return self.level.acts

    def put(self) -> None:
        """Have the pass come by."""
        self._host.taken.append(self)
        if self._source is not self._host:
            self._source.taken.append(self)
        for point in (self._host, self._source):
            point.refresh()

    def take(self) -> None:
        """Leave nothing on."""
        self._read = None
        for point in (self._host, self._source):
            point.taken = [other for other in point.taken if other is not self]
            point.refresh()
        for point in self.points.values():
            point.remove_all()

    def carry(self, point: WiredPoint, x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """What goes on in an activation's place."""
        if point is not self._host:
            self._read = x
            return x
        whole, x = x, as_rows(x, self._host.axes)
        source = x
        if self._source is not self._host:
            assert self._read is not None  # the source comes first in every pass
            source, self._read = as_rows(self._read, self._source.axes), None
        given = self._at("hook_sae_input", source)
        acts = self._encoded(given)
        kept = self._at("hook_sae_acts_post", acts)
        first = recons = self._decoded(kept, x)
        if self.splice.error and not (kept is acts and given is source):
            # As a pair: some dictionaries keep an input's norm from encode to decode.
            recons = self._decoded(self._encoded(source), x)
        made = out = self._at("hook_sae_recons", first)
        if self.splice.error:
            left = x - recons
            out = x + (made - recons) + (self._at("hook_sae_error", left) - left)
        if (mask := self._mask(whole)) is not None:
            _refuse_outside(
                f"{self.splice.point}.hook_sae_acts_post", self.splice, mask, acts, kept
            )
            out = torch.where(mask, out, x)
        return self._at("hook_sae_output", out).reshape(whole.shape)

    def _at(self, name: str, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.points[name].carry(x)

    def _encoded(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return encoded(self.splice.dictionary, x, self.splice.reads)

    def _decoded(self, acts: Float[Tensor, "..."], x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return decoded(self.splice.dictionary, acts, x.shape, self.splice.point).to(x.dtype)

    def _mask(self, x: Float[Tensor, "..."]) -> Bool[Tensor, "..."] | None:
        """What of the activation is replaced; None for all of it."""
        where = self.splice.where
        if where == Where():
            return None
        if self.seat is None:
            raise InputError(
                f"{self.splice} is at some positions only, and nobody said what the positions of "
                "this pass are: run it by the model's own methods, model.run(inputs)"
            )
        layouts, step = self.seat
        if not where.has_step(step):
            rows = as_rows(x, self._host.axes)
            return torch.zeros([1] * rows.ndim, dtype=torch.bool, device=x.device)
        shape = (len(x) // len(layouts), *x.shape[1:])
        found = [where.mask(self._host.axes, shape, each) for each in layouts]
        # Rows are every sample's beams, sample by sample.
        beams = [own.expand(shape[0], *own.shape[1:]) for own in found if own is not None]
        mask = torch.stack(beams, 1).flatten(0, 1) if beams else None
        if mask is not None and row_axes(self._host.axes) != self._host.axes:
            mask = as_rows(mask.expand(x.shape), self._host.axes)
        return None if mask is None else onto(mask, x.device)


class _Line:
    """What a dictionary's points hang on: the host, which is watched as long as they are there."""

    def __init__(self, host: WiredPoint):
        self._host, self.points = host, []

    @property
    def board(self) -> Board:
        """The host's."""
        return self._host.board

    @property
    def module(self) -> nn.Module:
        """The module that the host lies at."""
        return self._host.module

    def refresh(self) -> None:
        """Nothing: the host calls."""


def dictionaries(spliced: Sequence[Spliced]) -> dict[str, Any]:
    """Whose features each point of features holds."""
    return {str(each.points["hook_sae_acts_post"].name): each.splice.dictionary for each in spliced}


def _refuse_outside(
    name: str,
    splice: Splice,
    mask: Bool[Tensor, "..."],
    acts: Float[Tensor, "..."],
    kept: Float[Tensor, "..."],
) -> None:
    """Refuse edits of features at positions where they are not read, and nowhere else."""
    if kept is acts:
        return
    changed = (kept != acts).any(-1, keepdim=True)
    if changed.any() and not (changed & mask).any():
        raise InputError(
            f"{name} is edited where nothing is spliced in, {splice.where!r}, so this would "
            "change nothing: edit these positions, or splice the dictionary in at those"
        )
