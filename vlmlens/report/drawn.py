"""The figures of an evaluation's page."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from vlmlens import plots
from vlmlens.evaluation import Evaluation
from vlmlens.plots.figures.psi import LIMITS
from vlmlens.report.forest import Point, forest

#: Lines of a figure at most: relations of VSR are sixty, and in the table.
MOST = 24


def by_condition(found: Evaluation, data: str, metric: str) -> go.Figure | None:
    """A set's headline under every condition, models side by side; None for none."""
    mine: Any = found.metrics
    mine = mine[(mine["data"] == data) & (mine["group"] == "") & (mine["metric"] == metric)]
    points = [
        Point(
            row["condition"], row["model"], row["value"], row["low"], row["high"],
            row["chance"], f"n = {row['n']}",
        )
        for row in mine.to_dict("records")
        if row["value"] == row["value"]
    ]  # fmt: skip
    return _forest(found, points, words(metric), bounds=(0.0, 1.0))


def differences(found: Evaluation, data: str, metric: str) -> go.Figure | None:
    """Every other model's headline less the first's, under each condition; None for one model."""
    if not len(found.differences):
        return None
    mine: Any = found.differences
    mine = mine[(mine["data"] == data) & (mine["group"] == "") & (mine["metric"] == metric)]
    points = [
        Point(
            row["condition"], row["model"], row["difference"], row["low"], row["high"],
            told=f"p = {row['p']:.2g}, n = {row['n']}",
        )
        for row in mine.to_dict("records")
        if row["model"] != row["other_model"]
    ]  # fmt: skip
    first = next(iter(found.settings["models"]))
    return _forest(found, points, f"{words(metric)}, less that of {first}", zero=True)


def psi_by_category(found: Evaluation, data: str) -> go.Figure | None:
    """PSI of a set's categories: both accuracies too where there is one model; None for none."""
    if not len(found.psi):
        return None
    mine: Any = found.psi
    mine = mine[mine["data"] == data]
    mine = mine[mine["condition"] == mine["condition"].iloc[0]] if len(mine) else mine
    mine = mine[mine["member"].isin(list(dict.fromkeys(mine["member"]))[:MOST])]
    mine = mine[mine["psi"].notna()]
    if not len(mine):
        return None
    names = zip(mine["group"], mine["member"], strict=True)
    mine = mine.assign(line=[m if g in ("", "category") else f"{g}: {m}" for g, m in names])
    if mine["model"].nunique() == 1:
        return plots.psi(_table(mine))
    points = [
        Point(
            row["line"], row["model"], row["psi"], row["psi_low"], row["psi_high"],
            told=f"n = {row['n']:.0f}",
        )
        for row in mine.to_dict("records")
    ]  # fmt: skip
    return _forest(found, points, "PSI [%]", limits=LIMITS, zero=True)


def _forest(found: Evaluation, points: list[Point], axis: str, **options: Any) -> go.Figure | None:
    """Models have the same colours in all figures of a page."""
    return (
        forest(points, axis, series=list(found.settings["models"]), **options) if points else None
    )


def words(metric: str) -> str:
    """A metric's name as people write it."""
    return metric.replace("_", " ")


def _table(rows: pd.DataFrame) -> xr.Dataset:
    names = ("accuracy", "accuracy_permuted", "psi")
    columns = [n + end for n in names for end in ("", "_low", "_high")] + ["n", "p_value", "chance"]
    kept: Mapping[str, Any] = {n: rows[n].to_numpy(float) for n in columns if n in rows}
    table = xr.Dataset(
        {n: ("category", values) for n, values in kept.items() if not np.isnan(values).all()},
        coords={"category": rows["line"].tolist()},
    )
    for name in ("psi", "psi_low", "psi_high"):
        if name in table:
            table[name].attrs["units"] = "%"
    return table
