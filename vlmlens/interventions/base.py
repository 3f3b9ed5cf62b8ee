"""What an intervention is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from vlmlens.annotations import Checked, settle
from vlmlens.cache import ActivationCache
from vlmlens.checks import shown
from vlmlens.errors import InputError, UnknownPointError
from vlmlens.interventions.own import made_of, refuse_unlike
from vlmlens.layout import TokenLayout
from vlmlens.points import OF_BLOCKS
from vlmlens.positions import Positions
from vlmlens.positions.selection import SETTLED
from vlmlens.select import Where
from vlmlens.tensors import onto

if TYPE_CHECKING:  # an edit that nnsight sends to a server takes along what its module holds
    from vlmlens.inputs import Inputs


@dataclass(frozen=True)
class Site:
    """Where an edit takes place, passed to ``edit``.

    Attributes:
        name: the point's name.
        axes: its axes.
        layer: its block, or None.
        layouts: every sample's layout, up to the newest position.
        keys: a stable number for every sample, whatever batch it is in; seeds random edits.
        step: the decoding step; 0 is the prompt.
        seen: the activations at the points that the intervention ``reads``.
        model: the open ``HookedVLM``.
        masks: what is meant at points of one shape, made once a pass: on a GPU, what is copied
            there is waited for.

    Examples:
        >>> from dataclasses import dataclass
        >>> from vlmlens.interventions import Intervention
        >>> @dataclass(frozen=True)
        ... class Look(Intervention):
        ...     def edit(self, x, site):
        ...         print(site.name, site.axes, site.layer, site.step)
        ...         return x
        >>> run = model.run(model.inputs(sample), Look("blocks.2.hook_mlp_out"))
        blocks.2.hook_mlp_out ('batch', 'pos', 'd_model') 2 0
    """

    name: str
    axes: tuple[str, ...]
    layer: int | None
    layouts: Sequence[TokenLayout]
    keys: Sequence[int]
    step: int = 0
    seen: Mapping[str, Shaped[Tensor, "..."]] = field(default_factory=dict)
    model: Any = None
    masks: dict[Any, tuple[Bool[Tensor, "..."] | None, bool]] = field(default_factory=dict)

    def meant(
        self, where: Where, x: Shaped[Tensor, "..."]
    ) -> tuple[Bool[Tensor, "..."] | None, bool]:
        """The part of an activation that is meant, None for all of it; and whether any is."""
        key = (where, self.axes, tuple(x.shape), x.device)
        if key not in self.masks:
            mask = where.mask(self.axes, x.shape, self.layouts)
            found = (None, True) if mask is None else (onto(mask, x.device), bool(mask.any()))
            self.masks[key] = found
        return self.masks[key]

    def read(self, point: str) -> Shaped[Tensor, "..."]:
        """The activation at one of the points that the intervention ``reads``, as a copy."""
        if (name := within_block(self.name, point)) not in self.seen:
            raise UnknownPointError(name, self.seen, "among what this edit reads in this block")
        return self.seen[name].clone()


@dataclass(frozen=True)
class Intervention(Checked):
    """An edit of one kind of point: a frozen value with one pure method.

    Subclasses add their own fields and write ``edit`` for the whole tensor; ``where`` confines it.
    Fields are checked by their annotations when a value is made: an ``int`` is a whole number, a
    ``float`` a finite one, of Python, numpy or torch.

    Attributes:
        point: the point's name, or a pattern such as ``"blocks.*.hook_mlp_out"``.
        where: which layers, heads and positions are edited; everywhere by default.
        reads: points of the same block (``"attn.hook_cos"``), or of the whole model, whose
            activation ``edit`` needs to see; ``site.read`` hands it over.

    Examples:
        One of one's own is a frozen dataclass with an ``edit``; ``where`` comes with it:

        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Clip(vl.Intervention):
        ...     most: float = 1.0
        ...     def edit(self, x, site):
        ...         return x.clamp(-self.most, self.most)
        >>> clip = Clip("hook_embed", vl.Where(positions="vision"), most=0.5)
        >>> str(clip)
        "Clip(point='hook_embed', positions='vision', most=0.5)"
        >>> saved = model.run(model.inputs(sample), clip, save="hook_embed").saved
        >>> float(saved["hook_embed"][0, 4:68].abs().max())
        0.5
    """

    point: str = ""
    where: Where = field(default_factory=Where)
    reads: ClassVar[tuple[str, ...]] = ()
    ADVICE: ClassVar[Mapping[str, str]] = {
        item.name: f"say where=Where({item.name}=...)" for item in fields(Where)
    }

    def __post_init__(self):
        settle(self, FIELDS)

    @property
    def also(self) -> tuple[str, ...]:
        """Points that are edited as well, in models that have them."""
        return ()

    @property
    def points(self) -> tuple[str, ...]:
        """Every point it edits, as names or patterns; none if it changes the inputs alone."""
        return (self.point,) if self.point else ()

    @property
    def reach(self) -> Positions | None:
        """The positions (queries, at scores and patterns) that it may change; None for all."""
        return self.where.positions if self.where.queries is None else self.where.queries

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"] | None:
        """What the activation becomes, with the same shape.

        Args:
            x: a copy of the activation: another tensor may be returned, or this one written into.
            site: where this takes place.

        Examples:
            >>> from vlmlens.interventions import Scale, Site
            >>> site = Site("hook_embed", ("batch", "pos", "d_model"), None, (), ())
            >>> Scale("hook_embed", by=3).edit(torch.ones(1, 1, 2), site)
            tensor([[[3., 3.]]])
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it edits")

    def prepare(self, inputs: "Inputs") -> "Inputs":
        """The inputs, changed before the pass; by default as they are.

        Examples:
            >>> from vlmlens.interventions import DropTokens
            >>> drop = DropTokens(where=vl.Where(positions="vision"))
            >>> drop.prepare(model.inputs(sample)).layouts[0]
            TokenLayout(78 positions: 1 bos, 6 template, 7 user, 64 pad)
        """
        return inputs

    def apply(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The edit, confined to ``where``; everything outside stays bit for bit.

        Returns:
            Another tensor, in the activation's dtype; the activation itself, which is never
            written into, where nothing was edited.

        Raises:
            InputError: an edit of another shape or device, or one that returned nothing and
                wrote nothing.

        Examples:
            >>> from vlmlens.interventions import Scale, Site
            >>> layout = model.inputs(sample).layouts[0]
            >>> site = Site("hook_embed", ("batch", "pos", "d_model"), None, (layout,), (0,))
            >>> double = Scale("hook_embed", vl.Where(positions="vision"), by=2)
            >>> double.apply(torch.ones(1, 78, 1), site).sum()  # 64 of 78 positions are the image's
            tensor(142.)
        """
        if not self.where.has_step(site.step):
            return x
        mask, any_is = site.meant(self.where, x)
        if site.step > 0 and not any_is:
            return x
        made = made_of(x, lambda own: self.edit(own, site))
        if not made.edited:
            if made.returned is None:
                raise InputError(
                    f"{self} returned nothing at {site.name} and wrote nothing: return a tensor, "
                    "or write into the one that was given"
                )
            return x
        edited = made.value
        if isinstance(edited, Tensor) and torch.can_cast(edited.dtype, x.dtype):
            edited = edited.to(x.dtype)
        refuse_unlike(edited, x, site.name, site.axes, self)
        return edited if mask is None else torch.where(mask, edited, x)

    def __str__(self) -> str:
        """The label of a column: the class and the fields that differ from their defaults."""
        shown = []
        for item in fields(self):
            value = getattr(self, item.name)
            plain = item.default_factory() if callable(item.default_factory) else item.default
            if value is plain or value == plain:
                continue
            if isinstance(value, Where):
                shown += value.shown()
            else:
                shown.append(f"{item.name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def as_edits(given: Any) -> tuple[Intervention, ...]:
    """What a user passed as interventions: one, or several in order.

    Raises:
        InputError: what is none.

    Examples:
        >>> from vlmlens.interventions import ZeroAblate, as_edits
        >>> as_edits(ZeroAblate("hook_embed")) == as_edits([ZeroAblate("hook_embed")]), as_edits([])
        (True, ())
    """
    if isinstance(given, Intervention):
        return (given,)
    advice = (
        "interventions are values such as ZeroAblate('hook_embed'), in a list; [] edits nothing"
    )
    none = str | bytes | Mapping | type | Tensor | np.ndarray
    if not isinstance(given, Iterable) or isinstance(given, none):
        raise InputError(f"{shown(given)} is no intervention: {advice}")
    edits = tuple(given)
    for edit in edits:
        if not isinstance(edit, Intervention):
            raise InputError(f"{shown(edit)} is no intervention: {advice}")
        if not isinstance(edit.where, Where):  # a class of one's own, with its own __post_init__
            _placed(edit.where, "where")
    return edits


def _placed(value: Any, what: str) -> Where:
    if not isinstance(value, Where):
        raise InputError(f"{what}={shown(value)}: say Where(...), such as Where(positions='last')")
    return value


def _saved(value: Any, what: str) -> ActivationCache:
    if not isinstance(value, ActivationCache):
        run = f"; this is a {type(value).__name__}" if hasattr(value, "saved") else ""
        raise InputError(f"{what}={shown(value)}: what a run saved is wanted, run.saved{run}")
    return value


#: How an intervention's fields are checked.
FIELDS = SETTLED | {frozenset({Where}): _placed, frozenset({ActivationCache}): _saved}


def label(interventions: Iterable[Intervention]) -> str:
    """The label of a list of edits, in their order; ``"original"`` where there is none.

    Examples:
        >>> from vlmlens.interventions import KnockOut, PermuteVision, label
        >>> label([PermuteVision(seed=1), KnockOut(where=vl.Where(keys="vision"))])
        "PermuteVision(seed=1) + KnockOut(keys='vision')"
        >>> label([])
        'original'
    """
    return " + ".join(map(str, interventions)) or "original"


def _shown(value: Any) -> str:
    """A field's value in a label: never an address, which is another one in every process."""
    if isinstance(value, ActivationCache):
        return f"ActivationCache({len(value)} points, {value.digest})"
    if isinstance(value, partial):
        given = [*map(_shown, value.args), *(f"{k}={_shown(v)}" for k, v in value.keywords.items())]
        return f"{_shown(value.func)}({', '.join(given)})"
    if isinstance(value, Callable) and hasattr(value, "__qualname__"):
        return value.__qualname__.rpartition("<locals>.")[2]
    return repr(value)


def within_block(name: str, point: str) -> str:
    """The full name of a point of the same block; one of the whole model keeps its name."""
    block, dot, _ = name.partition("blocks.")
    if not dot or point not in OF_BLOCKS:
        return point
    return f"{block}blocks.{name.removeprefix(f'{block}blocks.').partition('.')[0]}.{point}"


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A source of randomness that depends on the seed and the keys alone."""
    return np.random.default_rng([seed, *keys])
