"""Attention rows: who reads whom, with everything that an explorer draws beside it."""

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.layout import EDGES, TokenLayout
from vlmlens.model import Generation, Run
from vlmlens.roles import COUNTED
from vlmlens.select import Positions, chosen

NEEDS = (Save("blocks.*.attn.hook_pattern"),)


@checked
def attention_rows(
    run: Run | Generation, *, sample: int = 0, rows: Positions | None = None
) -> xr.Dataset:
    """The attention of one sample, position by position, and what every position is.

    A row is one query's weights on all keys: it sums to 1. The row at a position is what the model
    reads THERE, in order to predict the token after it. For a ``Generation`` the rows of the
    generated tokens follow those of the prompt; the last token was never fed and has none.

    Args:
        run: a run or generation that saved ``NEEDS``, or the same with some ``rows``.
        sample: which of the batch.
        rows: the ``rows`` that the run saved; None for all of them.

    Returns:
        ``attention`` (layer, head, query, key), a fraction; 0 where a query cannot see a key.
        ``query`` and ``key`` are positions of the sample without its padding. Along ``key``:
        ``token``, ``role``, ``turn``, ``kind``, ``image``, ``tile``, ``row``, ``column``, and of
        their grid ``grid_rows``, ``grid_columns`` (-1 where it is no vision token), and ``left``,
        ``top``, ``right``, ``bottom``, a patch's box in pixels of the original image (NaN
        elsewhere). The images themselves as ``picture_0``, ``picture_1`` ... (height, width, rgb),
        each with axes of its own.

    Raises:
        InputError: no such sample, or rows other than those that were saved.
        UnknownPointError: the run saved no patterns.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.rows.NEEDS)
        >>> found = vl.probes.attention_rows(run, sample=0)
        >>> found.attention.dims, np.allclose(found.attention.sum("key"), 1, atol=1e-3)
        (('layer', 'head', 'query', 'key'), True)
        >>> found.role[0].item(), dict(found.picture_0.sizes)
        ('bos', {'y_0': 224, 'x_0': 224, 'rgb': 3})
    """
    if not 0 <= sample < len(run.inputs):
        raise InputError(f"no sample {sample}: the run holds {len(run.inputs)}, counted from 0")
    layout = run.steps[-1].inputs.layouts[sample]
    own = np.flatnonzero(~layout.mask("pad"))
    _refuse_other(run.steps[0], rows, sample)
    blocks, queries = [], []
    for step in run.steps[: _said(run, sample)]:
        weights = step.saved.stack(NEEDS[0].points)[:, sample].float().cpu().numpy()
        here = _queries(step.inputs.layouts[sample], rows, weights.shape[-2], len(queries) > 0)
        room = (*weights.shape[:-1], len(layout) - weights.shape[-1])
        blocks.append(np.concatenate([weights, np.zeros(room, weights.dtype)], -1))
        queries.append(here)
    at = np.concatenate(queries)
    kept = np.isin(at, own)
    every = np.concatenate(blocks, -2)[..., kept, :][..., own]
    table = _labelled(every, np.searchsorted(own, at[kept]), layout, own)
    table.attrs["answer"] = run.texts[sample] if isinstance(run, Generation) and run.texts else ""
    if not run.inputs.samples:
        return table
    asked = run.inputs.samples[sample]
    table.attrs["question"] = asked.question
    for number, picture in enumerate(asked.pictures()):
        table[f"picture_{number}"] = ((f"y_{number}", f"x_{number}", "rgb"), np.asarray(picture))
    return table


def _said(run: Run | Generation, sample: int) -> int:
    """How many passes were about this sample: one, or one for every token that it was given."""
    return int(run.lengths[sample]) if isinstance(run, Generation) else 1


def _refuse_other(step: Run, rows: Positions | None, sample: int) -> None:
    """Refuse patterns that were reduced, and as many rows as these that are others."""
    for name in (name for name in step.saved if fnmatchcase(name, NEEDS[0].points)):
        kept, reduce = step.saved.ways.get(name, (rows, None))
        same = kept == rows or kept is None or rows is None  # then their number tells
        if kept is not None and rows is not None and not same:
            layout = step.inputs.layouts[sample]
            same = np.array_equal(chosen(layout, kept), chosen(layout, rows))
        if reduce is not None or not same:
            raise InputError(
                f"{name} was saved with rows={kept!r}, reduce={shown(reduce)}, and is read with "
                f"rows={rows!r}: run again with the NEEDS of this probe, or the rows it is asked"
            )


def _queries(
    layout: TokenLayout, rows: Positions | None, saved: int, later: bool
) -> Int[np.ndarray, " query"]:
    """The positions of the rows that one pass saved: while decoding, the newest alone."""
    if later:
        return np.array([len(layout) - 1])
    if rows is None and saved == len(layout):
        return np.arange(saved)
    meant = np.array([], int) if rows is None else np.flatnonzero(chosen(layout, rows))
    if len(meant) != saved:
        raise InputError(
            f"the run saved {saved} of {len(layout)} rows, but rows={rows!r} means "
            f"{len(meant) or 'all of them'}: pass the rows that its Save had"
        )
    return meant


def _labelled(
    weights: Float[np.ndarray, "layer head query key"],
    queries: Int[np.ndarray, " query"],
    layout: TokenLayout,
    own: Int[np.ndarray, " key"],
) -> xr.Dataset:
    numbers: dict[str, Any] = {name: ("key", getattr(layout, name)[own]) for name in COUNTED}
    numbers |= {name: ("key", size[own]) for name, size in layout.spans().items()}
    words = {
        "token": ("key", [layout.tokens[at] for at in own]),
        "role": ("key", [layout.roles[at] for at in own]),
        "kind": ("key", [layout.kind[at] for at in own]),
    }
    pixels = {"units": "pixels of the original image"}
    box = {edge: ("key", layout.box[own, at], pixels) for at, edge in enumerate(EDGES)}
    counts = {"layer": np.arange(len(weights)), "head": np.arange(weights.shape[1])}
    places = {"query": queries, "key": np.arange(len(own))}
    name = {"long_name": "attention", "units": "fraction"}
    return xr.Dataset(
        {"attention": (("layer", "head", "query", "key"), weights, name)},
        coords=counts | places | numbers | words | box,
    )
