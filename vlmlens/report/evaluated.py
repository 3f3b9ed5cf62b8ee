"""The page of ``vlmlens evaluate``: models side by side, and the pictures whose answers turned."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from vlmlens.annotations import checked
from vlmlens.errors import ImageError
from vlmlens.evaluation import Evaluation, Questions, flips
from vlmlens.report import drawn
from vlmlens.report.embedding import embedded, environment
from vlmlens.report.page import write_whole
from vlmlens.report.thumbnails import thumbnails
from vlmlens.report.written import Estimate
from vlmlens.sample import Sample

#: Pictures a set, model and condition.
MOST = 8
#: Settings that the page tells.
TOLD = ("permutations", "scoring", "max_new_tokens", "seed")

#: Of metrics, which are compared with other people's: written whatever an interval leaves open.
DECIMALS = 3


@checked
def compare(found: Evaluation, path: Path, asked: Iterable[Questions] = ()) -> Path:
    """Write the page of an evaluation: figures and tables with intervals, differences, PSI, flips.

    Like that of ``build`` it holds all it needs, and the same numbers give the same bytes.

    Args:
        found: what models answered.
        path: of the page; folders are made, a page already there is replaced.
        asked: the sets as they were asked, for their pictures; without them there are none.

    Returns:
        The path.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.evaluation import evaluate
        >>> from vlmlens.report import compare
        >>> found = evaluate(model, samples, conditions="clean", progress=False)
        >>> compare(found, Path("page.html")).is_file()
        True
    """
    pictures = {each.name: _by_name(each.samples) for each in asked}
    settings = found.settings
    page = (
        environment()
        .get_template("evaluated.html")
        .render(
            models=list(settings["models"]),
            plotlyjs=Markup(get_plotlyjs()),
            sets=[_set(found, name, spec) for name, spec in settings["sets"].items()],
            differences=[_difference(row) for row in _rows(found.differences, overall=True)],
            psi=[_psi(row) for row in _rows(found.psi)],
            flipped=_flipped(found, pictures),
            failures=found.failures.to_dict("records"),
            settings={"conditions": ", ".join(settings["conditions"])}
            | {name: settings[name] for name in TOLD},
            command=settings.get("command", ""),
            created=settings.get("created", ""),
            interval=settings.get("interval", ""),
            versions=settings.get("versions", {}),
        )
    )
    return write_whole(path, page)


def _rows(table: Any, *, overall: bool = False) -> list[dict[Any, Any]]:
    if not len(table):
        return []
    return (table[table["group"] == ""] if overall else table).to_dict("records")


def _set(found: Evaluation, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A set's metrics, overall, and its headline by group."""
    mine: Any = found.metrics[found.metrics["data"] == name]
    rows: list[dict[Any, Any]] = [
        row | {"value": _estimate(row)} for row in _rows(mine, overall=True)
    ]
    headline = next(iter(spec["metrics"]), "")
    grouped = mine[mine["group"] != ""]
    there = set(grouped["metric"])  # the headline may be of the whole set alone
    shown = next((name for name in spec["metrics"] if name in there), "")
    parts = grouped[grouped["metric"] == shown]
    return {
        "name": name,
        "unit": spec["unit"],
        "rows": rows,
        "by": _by_group(parts),
        "shown": drawn.words(shown),
        "rule": ", ".join(sorted({row["rule"] for row in rows if row["rule"]})),
        "form": rows[0]["prompt_form"] if rows else "",
        "chanced": any(row.get("chance", np.nan) == row.get("chance", np.nan) for row in rows),
        "headline": drawn.words(headline),
        "figures": _figures(found, name, headline),
    }


def _figures(found: Evaluation, name: str, headline: str) -> dict[str, Markup]:
    """A set's figures, those that there are, by what they show."""
    made = {
        "conditions": drawn.by_condition(found, name, headline),
        "differences": drawn.differences(found, name, headline),
        "psi": drawn.psi_by_category(found, name),
    }
    place = list(found.settings["sets"]).index(name)
    said = {
        "conditions": f"{drawn.words(headline)} by condition and model, {name}",
        "differences": f"differences of {drawn.words(headline)} between models, {name}",
        "psi": f"PSI by category, {name}",
    }
    return {kind: embedded(f"{kind}-{place}", fig, said[kind]) for kind, fig in made.items() if fig}


def _estimate(row: Mapping[Any, Any], name: str = "value") -> Estimate:
    ends = row.get("low", np.nan), row.get("high", np.nan)
    return Estimate(row[name], *ends, decimals=DECIMALS)


def _by_group(parts: Any) -> dict[str, Any]:
    """A line for each member of each group, and a column for each model and condition."""
    heads = list(dict.fromkeys(zip(parts["model"], parts["condition"], strict=True)))
    lines: dict[tuple[str, str], dict[tuple[str, str], Estimate]] = {}
    counts: dict[tuple[str, str], int] = {}
    for row in parts.to_dict("records"):
        line = (row["group"], row["member"])
        cell = _estimate(row)
        lines.setdefault(line, {})[row["model"], row["condition"]] = cell
        counts[line] = max(counts.get(line, 0), row["n"])
    return {
        "heads": heads,
        "lines": [
            {"group": g, "member": m, "n": counts[g, m], "cells": [cells.get(h) for h in heads]}
            for (g, m), cells in lines.items()
        ],
    }


def _difference(row: Mapping[Any, Any]) -> dict[Any, Any]:
    return {**row, "span": _estimate(row, "difference")}


def _psi(row: Mapping[Any, Any]) -> dict[Any, Any]:
    def estimate(name: str) -> Estimate:
        decimals = 0 if name == "psi" else DECIMALS
        return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], decimals=decimals)

    written = {name: estimate(name) for name in ("accuracy", "accuracy_permuted", "psi")}
    return {**row, **written}


def _by_name(samples: Sequence[Sample]) -> dict[str, Sample]:
    return {sample.id or str(number): sample for number, sample in enumerate(samples)}


def _flipped(
    found: Evaluation, pictures: Mapping[str, Mapping[str, Sample]]
) -> list[dict[str, Any]]:
    """The first items that each condition turned, for each model and set, with their pictures."""
    shown = []
    first, *others = found.settings["conditions"]
    turned: Any = flips(found).groupby(["data", "model", "condition"], sort=False)
    for (data, model, condition), part in turned:
        lost = part[part["became"] < part["was"]]
        rows: Any = pd.concat([lost.head(MOST), part.drop(lost.index).head(MOST // 2)])
        there = pictures.get(str(data), {})
        shown.append(
            {
                "title": f"{data}, {model}: {first} against {condition}",
                "first": first,
                "condition": condition,
                "open": condition == others[0],
                "lost": len(lost),
                "gained": len(part) - len(lost),
                "items": [
                    {**row, "pictures": _thumbnails(there.get(row["sample"]))}
                    for row in rows.to_dict("records")
                ],
            }
        )
    return shown


def _thumbnails(sample: Sample | None) -> list[str]:
    """A sample's pictures as data URLs, small; none where they cannot be opened any more."""
    try:
        return [] if sample is None else thumbnails(sample)
    except ImageError:  # the item's own row tells of its answers all the same
        return []
