"""Harvesting: activations of chosen positions, as a table with what every position is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.experiments.cell import alone
from vlmlens.experiments.measures import Measure
from vlmlens.interventions import Intervention
from vlmlens.layout import EDGES, TokenLayout
from vlmlens.model import HookedVLM
from vlmlens.positions import Positions, chosen
from vlmlens.sample import Sample
from vlmlens.store import RAGGED

DTYPES = ("float16", "bfloat16", "float32")
#: An attribute: whose bits a column of whole numbers holds. numpy and Parquet know no bfloat16.
BITS = "bits"
#: Points whose positions are not the prompt's, and the axes of all that has positions.
OUTSIDE = ("vision.", "projector.")
PLACED = (("batch", "pos"), ("image", "pos"), ("image", "patch"))
#: How many tokens a sample has, which the other columns are as long as.
COUNT = "tokens"


@dataclass(frozen=True)
class Harvesting(Measure):
    """Activations at chosen positions, and what these positions are.

    Attributes:
        points: names or patterns of points with one row a position: ``"blocks.*.hook_resid_post"``,
            or points of the tower and the projector alone, ``"vision.blocks.*.hook_resid_post"``.
        rows: positions that are kept, such as ``"vision"``; None: all of the prompt. A tower keeps
            all of its own.
        dtype: of what is kept, ``"float16"``, ``"bfloat16"`` (its bits, as uint16: the upper half
            of a float32) or ``"float32"``.

    Raises:
        InputError: no points, another dtype.

    Examples:
        >>> from vlmlens.experiments import Harvesting
        >>> found = Harvesting(points=("blocks.2.hook_resid_post",), rows="vision")(
        ...     model, samples[:2], ()
        ... )
        >>> found["blocks.2.hook_resid_post"].dims, found.tokens.values.tolist()
        (('sample', 'token', 'd_model'), [64, 64])
        >>> found["role"].values[0, 0].item(), found["box"].values[0, 0].tolist()
        ('vision', [0.0, 0.0, 28.0, 28.0])
    """

    points: tuple[str, ...] = ()
    rows: Positions | None = None
    dtype: str = "float16"

    def __post_init__(self):
        super().__post_init__()
        one_of(self.dtype, "dtype", DTYPES)
        if not self.points:
            raise InputError('points=(): name some, such as ("blocks.*.hook_resid_post",)')

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """Over (sample, token), padded at the end: every point, and what the tokens are.

        Raises:
            InputError: a point without positions; a value that the dtype does not hold.
            EmptySelectionError: a sample without such rows.
        """
        names = self._names(model)
        if names[0].startswith(OUTSIDE):
            return self._of_tower(model, samples, interventions, names)
        inputs = model.inputs(samples, system=self.system)
        run = model.run(inputs, interventions, save=names, logits=False)
        saved, layouts = run.saved, run.inputs.layouts  # without what an edit took out
        at = [self._positions(layout) for layout in layouts]
        most = max(map(len, at))
        table = _places(layouts, at, most)
        for name in names:
            kept = [self._kept(name, x[own]) for x, own in zip(saved[name], at, strict=True)]
            dims = ("sample", "token", *saved.axes[name][2:])
            table[name] = (dims, _padded(kept, most), self._attrs)
        return table

    def _of_tower(
        self,
        model: HookedVLM,
        samples: Sequence[Sample],
        interventions: Sequence[Intervention],
        names: Sequence[str],
    ) -> xr.Dataset:
        """The same of a tower's own positions, sample by sample: which are whose is then plain.

        Raises:
            InputError: points whose positions are not the same ones; a sample without a picture.
        """
        found: dict[str, list[Shaped[np.ndarray, ...]]] = {name: [] for name in names}
        dims: dict[str, tuple[str, ...]] = {}
        sizes = []
        for at, sample in enumerate(samples):
            edits = alone(interventions, at, len(samples))
            inputs = model.inputs([sample], system=self.system)
            saved = model.run(inputs, edits, save=list(names), logits=False).saved
            own, packed = {}, False
            for name in names:
                packed = saved.axes[name][0] == "patch"
                own[name] = saved[name] if packed else saved[name].flatten(0, 1)
                dims[name] = saved.axes[name][1 if packed else 2 :]
            counts = {name: len(x) for name, x in own.items()}
            if len(set(counts.values())) > 1:
                raise InputError(
                    f"these points have {counts} positions: those of one tower, before its "
                    "patches are merged or after, go into one folder"
                )
            sizes.append((len(own[names[0]]), 1 if packed else len(saved[names[0]])))
            for name, x in own.items():
                found[name].append(self._kept(name, x))
        table = _positions_of_towers(sizes)
        for name, parts in found.items():
            most = max(map(len, parts))
            table[name] = (("sample", "token", *dims[name]), _padded(parts, most), self._attrs)
        return table

    @property
    def _attrs(self) -> dict[str, str]:
        return {RAGGED: COUNT} | ({BITS: self.dtype} if self.dtype == "bfloat16" else {})

    def _names(self, model: HookedVLM) -> list[str]:
        names = list(dict.fromkeys(n for point in self.points for n in model.matching(point)))
        for name in names:
            axes = model.hook_dict[name].axes
            if name.startswith(OUTSIDE) != names[0].startswith(OUTSIDE):
                raise InputError(
                    f"{names[0]} and {name} have positions of two kinds, the prompt's and the "
                    "tower's: harvest each into a folder of its own"
                )
            if name.startswith(OUTSIDE) and self.rows is not None:
                raise InputError(
                    f"rows={self.rows!r} are positions of the prompt, and {name} has the tower's "
                    "own: leave rows= out"
                )
            if axes[:2] not in PLACED and axes[0] != "patch":
                raise InputError(
                    f"{name} has the axes {' '.join(axes)}: what is harvested has a row for every "
                    "position, (batch pos ...) or, in a tower, (image pos ...), such as "
                    "blocks.*.hook_resid_post"
                )
        return names

    def _positions(self, layout: TokenLayout) -> Int[Tensor, " token"]:
        there = ~layout.mask("pad")
        if self.rows is not None:
            there = there & chosen(layout, self.rows)
        return torch.from_numpy(there.nonzero()[0])

    def _kept(self, name: str, x: Shaped[Tensor, "..."]) -> Shaped[np.ndarray, "..."]:
        wanted = getattr(torch, self.dtype)
        made = x.detach().to("cpu", wanted)
        if bool(made.isinf().any()) and not bool(x.isinf().any()):
            most = x.float().abs().max().item()
            raise InputError(
                f"{name} has values up to {most:.4g}, beyond {self.dtype}: dtype='bfloat16' holds "
                "those that a model in bfloat16 makes, dtype='float32' all"
            )
        if made.dtype == torch.bfloat16:
            return made.view(torch.int16).numpy().view(np.uint16)
        return made.numpy()


def numbers(values: Shaped[np.ndarray, "..."], bits: str | None) -> Shaped[np.ndarray, "..."]:
    """What is kept, as numbers: bfloat16 as float32, which holds every one of it."""
    if bits is None:
        return values
    return (values.astype(np.uint32) << 16).view(np.float32)


def _padded(parts: Sequence[Shaped[np.ndarray, "..."]], most: int) -> Shaped[np.ndarray, "..."]:
    """Samples' rows in one array, each at its beginning."""
    whole = np.zeros((len(parts), most, *parts[0].shape[1:]), np.result_type(*parts))
    for place, part in zip(whole, parts, strict=True):
        place[: len(part)] = part
    return whole


def _places(
    layouts: Sequence[TokenLayout], at: Sequence[Int[Tensor, "..."]], most: int
) -> xr.Dataset:
    """What every token is, and where it looks."""
    columns: dict[str, list[Shaped[np.ndarray, ...]]] = {}
    for layout, own in zip(layouts, at, strict=True):
        rows = own.numpy()
        there = np.flatnonzero(~layout.mask("pad"))
        marks = {
            "position": np.searchsorted(there, rows).astype(np.int32),
            "role": np.array([layout.roles[row] for row in rows]),
            "word": np.array([layout.tokens[row] for row in rows]),
            **{name: getattr(layout, name)[rows].astype(np.int16) for name in MARKS},
            "box": layout.box[rows].astype(np.float32),
        }
        for name, values in marks.items():
            columns.setdefault(name, []).append(values)
    table = xr.Dataset({COUNT: ("sample", np.array([len(own) for own in at], np.int32))})
    for name, parts in columns.items():
        dims = ("sample", "token", "edge")[: parts[0].ndim + 1]
        table[name] = (dims, _padded(parts, most), {RAGGED: COUNT})
    return table.assign_coords(edge=list(EDGES))


def _positions_of_towers(sizes: Sequence[tuple[int, int]]) -> xr.Dataset:
    """What every position of a tower is: its number, and which image it is of, where that is known.

    Towers order patches in their own way, windows and all, so that where one looks is not said.

    Args:
        sizes: of every sample, how many positions, and on how many images they lie.
    """
    counts = np.array([count for count, _ in sizes], np.int32)
    most = int(counts.max())
    here = np.arange(most) < counts[:, None]
    dims, attrs = ("sample", "token"), {RAGGED: COUNT}
    each = np.array([count // images for count, images in sizes])[:, None]
    marks = {name: np.where(here, -1, 0).astype(np.int16) for name in MARKS}
    marks["image"] = np.where(here, np.arange(most) // each, 0).astype(np.int16)
    columns: dict[str, Shaped[np.ndarray, ...]] = {
        "position": np.where(here, np.arange(most) % each, 0).astype(np.int32),
        "role": np.where(here, "vision", ""),
        "word": np.full(here.shape, "", "U1"),
        **marks,
        "box": np.where(here[..., None], np.float32(np.nan), np.float32(0)).repeat(4, -1),
    }
    table = xr.Dataset({COUNT: ("sample", counts)})
    for name, values in columns.items():
        table[name] = ((*dims, "edge")[: values.ndim], values, attrs)
    return table.assign_coords(edge=list(EDGES))


#: What is kept of a token's place: its turn; of a vision token's, beside its box; -1 for others.
MARKS = ("turn", "image", "tile", "row", "column")
