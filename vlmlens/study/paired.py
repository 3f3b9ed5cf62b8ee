"""Two models, the same held-out questions: ``python -m vlmlens.study.paired ONE OTHER``."""

from pathlib import Path

import numpy as np
import typer
import xarray as xr

from vlmlens.datasets.shapes import CATEGORIES, CONTROLS, entries
from vlmlens.model import HookedVLM
from vlmlens.probes.psi import OVERALL
from vlmlens.study.model_card import SEED, scores
from vlmlens.study.pooling import by_kind

RESAMPLES = 10_000
COLUMNS = ("accuracy_one", "accuracy_other", "psi_one", "psi_other", "accuracy", "psi")


def compared(one: xr.DataArray, other: xr.DataArray, *, seed: int = 0) -> xr.Dataset:
    """Accuracy and PSI of two models, and by how much the second differs, question by question.

    A resampled question brings both models' answers to it, intact and shuffled, so differences
    are paired.

    Args:
        one: (condition, sample), 0 or 1, with ``"intact"`` and ``"shuffled"``, and the samples'
            ``category``; ``card.scores``.
        other: the same of the other model, of the same samples.
        seed: of the resampling.

    Returns:
        Over ``kind`` (overall, absolute, relative, no place): each of ``COLUMNS`` with ``_low``
        and ``_high`` (95 % percentile bootstrap), PSI in per cent, NaN where nothing is right
        intact; ``n``.
    """
    xr.align(one["sample"], other["sample"], join="exact")
    kinds = by_kind(one.to_dataset(name="correct"))["category"].values.astype(str)
    rows = {}
    for kind in (OVERALL, *dict.fromkeys(kinds)):
        here = np.flatnonzero((kinds == kind) | (kind == OVERALL))
        draws = np.random.default_rng(seed).integers(0, len(here), (RESAMPLES, len(here)))
        order = np.concatenate([np.arange(len(here))[None], draws])  # first: as they are
        accuracy, psi = [], []
        for found in (one, other):
            intact, shuffled = (
                found.sel(condition=c).values[here].astype(float)[order].mean(-1)
                for c in ("intact", "shuffled")
            )
            accuracy.append(intact)
            psi.append(100 * (intact - shuffled) / np.where(intact > 0, intact, np.nan))
        values = (*accuracy, *psi, accuracy[1] - accuracy[0], psi[1] - psi[0])
        row = {"n": float(len(here))}
        for name, value in zip(COLUMNS, values, strict=True):
            drawn = value[1:][~np.isnan(value[1:])]
            low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
            row |= {name: value[0], f"{name}_low": low, f"{name}_high": high}
        rows[kind] = row
    return xr.Dataset(
        {name: ("kind", [row[name] for row in rows.values()]) for name in rows[OVERALL]},
        coords={"kind": list(rows)},
    )


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
        typer.echo(f"{kind}, {int(row['n'])} questions")
        for name in COLUMNS:
            value, low, high = (float(row[name + end]) for end in ("", "_low", "_high"))
            typer.echo(f"  {name:14} {value:8.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    typer.run(main)
