"""Diagnoses of several models side by side, with the differences and their intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Diagnosis
from vlmlens.probes.statistics import corrected
from vlmlens.report import contrasts
from vlmlens.report.headline import Headline, headlines_of
from vlmlens.report.written import Estimate

#: Attributes that decide what was measured, and have to be the same.
SETTINGS = ("reference", "scoring", "rule", "delta", "permutations", "max_new_tokens", "system")
#: Of the table, in order.
COLUMNS = (
    *("measure", "title", "units", "model", "value", "value_low", "value_high", "other_model"),
    *("difference", "difference_low", "difference_high", "p", "p_corrected"),
    *("paired", "n", "draws", "unit"),
)


@checked
def headlines(found: Mapping[str, Diagnosis], *, seed: int = 0) -> pd.DataFrame:
    """Every headline measure of several diagnoses, and how each differs from the first.

    Where the samples are the same, differences are paired: what is drawn (a picture, a pair) is
    drawn for both models. If samples failed in one model, or one was asked more, the samples that
    both have are compared. Where the samples are others, the two count as independent, and a
    difference is one of models and of samples.

    * Interval, paired: of accuracies and other shares of answers Newcombe's, as ``vlmlens
      evaluate`` has it (``evaluation.intervals.difference``); of means and PSI that of what each
      unit adds (``statistics.between.ratio_difference``). Unpaired, with d the difference and the
      two models' own intervals [l, u] of p and [m, v] of q:

          d - sqrt((p - l)^2 + (v - q)^2)   to   d + sqrt((u - p)^2 + (q - m)^2)

    * p: two-sided permutation test. Paired, the two models change places within each unit, for the
      null that they may; unpaired, units change models.
    * p_corrected: false discovery rate (Benjamini-Hochberg) over all rows of the table.

    Args:
        found: diagnoses by name; the first is what others are compared with.
        seed: of permutations that are drawn, where not all are tried.

    Returns:
        A row for each measure and model: ``measure``, ``title``, ``units``, ``model``, ``value``,
        ``value_low``, ``value_high`` (95 %, of the model's own samples). Against the
        ``other_model``, which is the first, and empty in its own rows: ``difference``,
        ``difference_low``, ``difference_high``, ``p``, ``p_corrected``, ``paired``, ``n`` samples
        (unpaired: of both) in so many ``draws`` of the ``unit``. Accuracy and PSI are in per cent,
        their differences in percentage points. Where the reference is the model's own answers,
        there is no accuracy.

    Raises:
        InputError: fewer than two diagnoses, or settings or data that differ.
        DataError: diagnoses that have no measure in common.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions";
    Zou and Donner 2008, "Construction of confidence limits about effect measures"; Benjamini and
    Hochberg 1995.

    Examples:
        >>> found = {
        ...     name: vl.experiments.diagnose(
        ...         vl.HookedVLM.from_pretrained(name), samples, permutations=1, progress=False
        ...     )
        ...     for name in ("shapes-base", "shapes-normalize")
        ... }
        >>> table = vl.report.headlines(found).set_index(["measure", "model"])
        >>> bool(table.loc[("norm_first", "shapes-normalize"), "paired"])
        True
    """
    if len(found) < 2:
        raise InputError(f"{len(found)} diagnosis: there is nothing to compare; name two at least")
    first, *others = found
    refuse_differing(found)
    measures = {name: {each.name: each for each in headlines_of(d)} for name, d in found.items()}
    shared = [name for name in measures[first] if all(name in own for own in measures.values())]
    if not shared:
        raise DataError(f"{', '.join(found)} have no headline measure in common")
    one = found[first].results
    rows_of = {name: contrasts.shared(one, found[name].results) for name in others}
    rows = []
    for name in shared:
        for model, own in measures.items():
            row = _value(model, own[name])
            if model != first:
                pair, there = (measures[first][name], own[name]), rows_of[model]
                row |= {"other_model": first}
                row |= (
                    contrasts.unpaired(*pair, one, found[model].results, seed)
                    if there is None
                    else contrasts.paired(*pair, one, there, seed)
                )
            rows.append(row)
    table = pd.DataFrame(rows, columns=[c for c in COLUMNS if c != "p_corrected"])
    adjusted = corrected(table["p"].to_numpy(float), "fdr")
    table.insert(COLUMNS.index("p_corrected"), "p_corrected", adjusted)
    return table


def estimate(row: Mapping[Any, Any], name: str) -> Estimate:
    """A row's ``value`` or ``difference``, with its interval."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])


def refuse_differing(found: Mapping[str, Diagnosis]) -> None:
    """Refuse diagnoses that were not made in the same way.

    Raises:
        InputError: it says which settings differ, and what each diagnosis has.
    """
    first, *others = found
    one = found[first].results
    for name in others:
        other = found[name].results
        told = [key for key in SETTINGS if _said(one, key) != _said(other, key)]
        if _said(one, "data") != _said(other, "data") and contrasts.shared(one, other) is None:
            told.append("data")
        if _shuffles(one) != _shuffles(other) and "permutations" not in told:
            told.append("permutation")
        if told:
            differ = "; ".join(
                f"{key} is {_shown(one, key)} in {first}, {_shown(other, key)} in {name}"
                for key in told
            )
            raise InputError(
                f"{first} and {name} were not measured in the same way: {differ}. Measure one of "
                "them again"
            )


def _said(results: xr.Dataset, key: str) -> str:
    return str(results.attrs.get(key, ""))


def _shuffles(results: xr.Dataset) -> list[str]:
    return list(map(str, results["permutation"].values)) if "permutation" in results.coords else []


def _shown(results: xr.Dataset, key: str) -> str:
    if key == "permutation":
        return ", ".join(_shuffles(results)) or "not said"
    return _said(results, key) or "not said"


def _value(model: str, own: Headline) -> dict[str, Any]:
    told = own.estimate
    row = {"measure": own.name, "title": own.title, "units": own.units, "model": model}
    row |= {"value": told.value, "value_low": told.low, "value_high": told.high, "other_model": ""}
    ends = ("difference", "difference_low", "difference_high", "p", "n", "draws")
    return row | dict.fromkeys(ends, np.nan) | {"paired": None, "unit": ""}
