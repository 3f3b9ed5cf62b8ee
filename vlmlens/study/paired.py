"""Two models, the same held-out questions: ``python -m vlmlens.study.paired ONE OTHER``."""

from pathlib import Path

import numpy as np
import typer
import xarray as xr

from vlmlens.datasets.shapes import CATEGORIES, CONTROLS, entries
from vlmlens.draws import units_of
from vlmlens.estimates import beware, share_interval
from vlmlens.model import HookedVLM
from vlmlens.probes.psi import OVERALL, psi_interval
from vlmlens.probes.statistics.between import ratio_difference
from vlmlens.probes.statistics.intervals import drawn_from
from vlmlens.study.model_card import SEED, scores
from vlmlens.study.pooling import by_kind

COLUMNS = ("accuracy_one", "accuracy_other", "psi_one", "psi_other", "accuracy", "psi")
CONDITIONS = ("intact", "shuffled")


def compared(
    one: xr.DataArray, other: xr.DataArray, *, scene: str | bool | None = None
) -> xr.Dataset:
    """Accuracy and PSI of two models, and by how much the second differs, question by question.

    A picture brings both models' answers to all its questions, intact and shuffled, so differences
    are paired. The interval of a difference of PSI is that of the mean over pictures of what each
    adds to it; where all add the same, it is as wide as that of a share of which none was seen:

        100 (a2 e2 - a1 e1) + PSI2 - PSI1,    e = r (intact) - shuffled,    r = shuffled / intact

    with a the inverse of a model's mean of right answers a picture, r that of its sums, and
    a picture's own sums in e.

    Args:
        one: (condition, sample), 0 or 1, with ``"intact"`` and ``"shuffled"``, and the samples'
            ``category``; ``card.scores``.
        other: the same of the other model, of the same samples.
        scene: a coordinate of ``sample``; questions about one scene are one draw. By default
            ``picture``, where it is there; ``False``: every question is.

    Returns:
        Over ``kind`` (overall, absolute, relative, no place): each of ``COLUMNS`` with ``_low``
        and ``_high`` (95 %, ``vlmlens.estimates``), PSI in per cent, NaN where nothing is right
        intact; ``n`` questions, of ``units`` that are drawn. The attribute ``note`` says which
        kinds have few.
    """
    xr.align(one["sample"], other["sample"], join="exact")
    kinds = by_kind(one.to_dataset(name="correct"))["category"].values.astype(str)
    unit, _ = units_of(one, "sample", scene)
    rows, notes = {}, []
    for kind in (OVERALL, *dict.fromkeys(kinds)):
        here = np.flatnonzero((kinds == kind) | (kind == OVERALL))
        rows[kind] = _row(one.isel(sample=here), other.isel(sample=here), scene)
        if note := beware(unit, int(rows[kind]["units"])):
            notes.append(f"{kind}: {note}")
    table = xr.Dataset(
        {name: ("kind", [row[name] for row in rows.values()]) for name in rows[OVERALL]},
        coords={"kind": list(rows)},
        attrs=drawn_from(unit, int(rows[OVERALL]["units"])),
    )
    return table.assign_attrs(note=". ".join(notes)) if notes else table


def _row(one: xr.DataArray, other: xr.DataArray, scene: str | bool | None) -> dict[str, float]:
    """One kind's numbers."""
    _, which = units_of(one, "sample", scene)
    sums = [
        [
            np.bincount(which, found.sel(condition=c).values.astype(float))[:, None]
            for c in CONDITIONS
        ]
        for found in (one, other)
    ]
    count = np.bincount(which).astype(float)[:, None]
    parts = [share_interval(intact, count) for intact, _ in sums]
    parts += [psi_interval(intact, shuffled, count) for intact, shuffled in sums]
    flat, each = [[x[:, 0] for x in pair] for pair in sums], count[:, 0]
    rights = [(intact, each) for intact, _ in flat]
    losses = [(intact - shuffled, intact) for intact, shuffled in flat]
    parts.append(ratio_difference(*rights, count=each)[:, None])
    parts.append(100 * ratio_difference(*losses, count=each)[:, None])
    row = {"n": float(len(which)), "units": float(len(count))}
    for name, part in zip(COLUMNS, parts, strict=True):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), part[:, 0].tolist(), strict=True))
    return row


def main(one: str, other: str, each: int = 100, work: Path | None = None) -> None:
    """Ask two models EACH questions of every category, as a card does, and compare them."""
    categories = (*CATEGORIES, *CONTROLS)
    chosen = list(entries(each * len(categories), seed=SEED, split="test", categories=categories))
    answers = []
    for name in (one, other):
        with HookedVLM.from_pretrained(name) as model:
            folder = None if work is None else work / Path(name).name
            answers.append(scores(model, chosen, folder=folder))
    table = compared(*answers)
    for kind in map(str, table["kind"].values):
        row = table.sel(kind=kind)
        about = f" about {int(row['units'])} pictures" if row["units"] < row["n"] else ""
        typer.echo(f"{kind}, {int(row['n'])} questions{about}")
        for name in COLUMNS:
            value, low, high = (float(row[name + end]) for end in ("", "_low", "_high"))
            typer.echo(f"  {name:14} {value:8.3f} [{low:.3f}, {high:.3f}]")
    if "note" in table.attrs:
        typer.echo(table.attrs["note"])


if __name__ == "__main__":
    typer.run(main)
