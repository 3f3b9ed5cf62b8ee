"""A head atlas: what each head does with the image, over a data set."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Placed, Save
from vlmlens.checks import shown
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.layout import TokenLayout
from vlmlens.model import Inputs, Run
from vlmlens.probes.attention_maps import image_attention, normalised_entropy
from vlmlens.probes.grids import Box
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.overlap import object_overlap
from vlmlens.probes.steps import LAST_ROWS
from vlmlens.tensors import onto, suited

NEEDS = (LAST_ROWS,)
#: What is kept of every head for ``patch_looks``, in this order.
LOOKS = ("right", "down", "distance", "to_left", "to_right", "above", "below", "own", "share")
LONG = {
    "share": ("share of all attention that goes to the image", "fraction"),
    "entropy": ("normalised entropy over the image", "fraction"),
    "row": ("centre of the attention, from the top", "fraction of the height"),
    "column": ("centre of the attention, from the left", "fraction of the width"),
    "spread": ("root mean square distance from that centre", "fraction of the image"),
    "peak": ("share of the image's attention on its most attended patch", "fraction"),
}


@checked
def head_atlas(
    run: Run, boxes: Sequence[Sequence[Box]] | None = None, *, image: int = 0
) -> xr.Dataset:
    """Where each head looks when the next token is predicted.

    With p the last row's weights on the image's patches divided by their sum ``share``, and
    (y, x) the patches' centres as fractions of the grid:

        row = sum p y,   column = sum p x,   spread = sqrt(sum p ((y - row)^2 + (x - column)^2))

    and ``entropy`` and ``peak`` of p. (0.5, 0.5) is the middle; a head whose column is above
    0.5 looks to the right. Average it over a data set with ``statistics.map_test``.

    Args:
        run: a run, or a step of a generation, that saved ``NEEDS``.
        boxes: every sample's objects in pixels of the original image; adds the variables of
            ``object_overlap``, of which ``hit`` averages to the object hit rate.
        image: which of the sample's images; its first tile, where it has several.

    Returns:
        The variables above, each (sample, layer, head). NaN where a head gives the image nothing.

    Raises:
        EmptySelectionError: a sample without that image.
        UnknownPointError: the run saved no rows.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.atlas.NEEDS)
        >>> found = vl.probes.head_atlas(run)
        >>> list(found), found.row.dims
        (['share', 'entropy', 'row', 'column', 'spread', 'peak'], ('sample', 'layer', 'head'))
    """
    maps = image_attention(run, image=image)
    x = maps.values
    share = np.nansum(x, axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.nan_to_num(x) / share[..., None, None]
    y_at, x_at = _centres(run, image, x.shape[-2:])
    row, column = (p * y_at).sum((-2, -1)), (p * x_at).sum((-2, -1))
    apart = (y_at - row[..., None, None]) ** 2 + (x_at - column[..., None, None]) ** 2
    found = {
        "share": share,
        "entropy": normalised_entropy(x.reshape(*x.shape[:-2], -1)),
        "row": row,
        "column": column,
        "spread": np.sqrt((p * apart).sum((-2, -1))),
        "peak": p.max((-2, -1)),
    }
    layers = layer_numbers(run, LAST_ROWS)
    made = xr.Dataset(
        {
            name: array(
                torch.from_numpy(value),
                ("sample", "layer", "head"),
                run.inputs,
                name,
                *LONG[name],
                "plain",
                layer=layers,
            )
            for name, value in found.items()
        }
    )
    if boxes is None:
        return made
    return made.merge(object_overlap(run, boxes, image=image), compat="override")


def _centres(
    run: Run, image: int, shape: tuple[int, ...]
) -> tuple[Float[np.ndarray, "sample 1 1 row 1"], Float[np.ndarray, "sample 1 1 1 column"]]:
    """Patches' centres as fractions of each sample's own grid."""
    grids = np.array([layout.grid(image) for layout in run.inputs.layouts], dtype=float)
    y = (np.arange(shape[0]) + 0.5) / grids[:, :1]
    x = (np.arange(shape[1]) + 0.5) / grids[:, 1:]
    return y[:, None, None, :, None], x[:, None, None, None, :]


def _looks(
    rows: Float[Tensor, "batch head query key"], layouts: Sequence[TokenLayout]
) -> Float[Tensor, "batch head look"]:
    """The mean over vision queries of every number in ``LOOKS``, reduced while the pass runs."""
    return torch.stack([_of_one(rows[i].float(), own) for i, own in enumerate(layouts)])


def _of_one(
    rows: Float[Tensor, "head query key"], layout: TokenLayout
) -> Float[Tensor, "head look"]:
    vision = np.flatnonzero(layout.mask("vision"))
    if rows.shape[1] != len(vision):
        raise InputError(
            f"{rows.shape[1]} rows of {len(vision)} vision tokens: looks_needs(inputs) keeps all"
        )
    queries = np.flatnonzero(layout.row[vision] >= 0)  # newlines and registers have no place
    here = vision[queries]
    weights = rows[:, onto(torch.from_numpy(queries), rows.device)]
    weights = weights[..., onto(torch.from_numpy(here), rows.device)]
    grid = np.stack([layout.image[here], layout.tile[here]])
    same = (grid[:, :, None] == grid[:, None]).all(0)
    dy, dx = (x[here][None] - x[here][:, None] for x in (layout.row, layout.column))  # query key
    ways = [dx < 0, dx > 0, dy < 0, dy > 0, np.eye(len(here), dtype=bool)]
    parts = suited(torch.from_numpy(np.stack([dx, dy, np.hypot(dx, dy), *ways])), weights)
    weights = weights * suited(torch.from_numpy(same), weights)
    share = weights.sum(-1)
    p = (weights / share[..., None]).nan_to_num()
    looks = torch.einsum("hqk,lqk->hql", p, parts)
    seen = (share > 0)[..., None]
    mean = (looks * seen).sum(1) / seen.sum(1)
    return torch.cat([mean, share.mean(-1, keepdim=True)], dim=-1)


#: What ``patch_looks`` needs, of whatever inputs: its reduction is told where the patches lie.
_LOOKED = Save("blocks.*.attn.hook_pattern", rows="vision", reduce=Placed(_looks))


@checked
def looks_needs(inputs: Inputs) -> Save:
    """What ``patch_looks`` needs a run of these inputs to save, whatever edits make of them.

    Raises:
        EmptySelectionError: a sample that shows no image.

    Examples:
        >>> inputs = model.inputs(samples)
        >>> need = vl.probes.looks_needs(inputs)
        >>> run = model.run(inputs, save=need)
        >>> run.saved["blocks.0.attn.hook_pattern"].shape  # batch head look
        torch.Size([4, 4, 9])
    """
    for layout in inputs.layouts:
        layout.positions("vision")  # says what is there, if nothing is
    return _LOOKED


@checked
def patch_looks(run: Run) -> xr.Dataset:
    """Which way a head looks across the image: left, right, up or down, and how far.

    For every patch q as a query, p its weights on the patches of its own grid divided by their
    sum; with dx, dy the way from q to a patch in patches:

        right = sum p dx,   down = sum p dy,   distance = sum p sqrt(dx^2 + dy^2)
        to_left = sum p[dx < 0],  to_right, above, below likewise;  own = p[q]

    averaged over queries. A grid is an image, or where it has several, one of its tiles or
    frames: each counts rows and columns of its own, a thumbnail's are wider than a tile's, and
    between two of them there is no way in patches. So what goes to other tiles and frames is in
    none of these. Nor are newlines and registers, which have no place. After edits that drop or
    pool tokens it is about those that are left, on the coarse grid where they were pooled.

    Rows are reduced while the pass runs. In a causal model a patch sees those before it only, so
    a head that spreads evenly looks up: compare heads with each other or with ``to_left``
    against ``to_right`` in the same row.

    Args:
        run: a run that saved ``looks_needs(inputs)``; its samples have equally many vision tokens.

    Returns:
        The variables above and ``share`` (of the queries' whole attention, what goes to their
        own grid), each (sample, layer, head). Displacements in patches, the rest fractions. NaN
        where no query gives its grid anything.

    Raises:
        EmptySelectionError: the run saved no such rows.
        InputError: it reduced them to something else.

    Examples:
        >>> inputs = model.inputs(samples)
        >>> found = vl.probes.patch_looks(model.run(inputs, save=vl.probes.looks_needs(inputs)))
        >>> found.distance.dims, found.distance.units
        (('sample', 'layer', 'head'), 'patches')
    """
    needed = [name for name in run.saved if name.endswith("attn.hook_pattern")]
    if not needed or run.saved[needed[0]].shape[-1] != len(LOOKS) or run.saved[needed[0]].ndim != 3:
        raise EmptySelectionError("this run did not save looks_needs(inputs), for patch_looks")
    for name in needed:
        kept = run.saved.ways.get(name)
        if kept is not None and kept != (_LOOKED.rows, _LOOKED.reduce):
            raise InputError(
                f"{name} was saved with rows={kept[0]!r}, reduce={shown(kept[1])}: run again with "
                "save=looks_needs(inputs), for patch_looks"
            )
    found = run.saved.stack(LAST_ROWS.points).permute(1, 0, 2, 3)  # batch layer head look
    layers = layer_numbers(run, LAST_ROWS)
    return xr.Dataset(
        {
            name: array(
                found[..., at],
                ("sample", "layer", "head"),
                run.inputs,
                name,
                f"vision queries: {name.replace('_', ' ')}",
                "patches" if at < 3 else "fraction",
                "plain",
                layer=layers,
            )
            for at, name in enumerate(LOOKS)
        }
    )
