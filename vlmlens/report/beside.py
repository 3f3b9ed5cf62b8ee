"""The page of several diagnoses side by side, and where they come from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from vlmlens import plots
from vlmlens.annotations import checked
from vlmlens.checks import path, shown
from vlmlens.draws import units_of
from vlmlens.errors import DataError, InputError
from vlmlens.estimates import beware
from vlmlens.experiments import Diagnosis, read
from vlmlens.picture import at_home
from vlmlens.plots.cells import ALPHA
from vlmlens.report.contrasts import failed
from vlmlens.report.embedding import embedded, environment
from vlmlens.report.page import write_whole
from vlmlens.report.several import SETTINGS, estimate, headlines
from vlmlens.report.stores import PSI, RESULTS
from vlmlens.report.summary import about, asked, own_reference

#: What is told of every diagnosis.
TOLD = {"model": "model", "revision": "revision", "dtype": "numbers", "attention": "attention"}
TOLD |= {"vision_tokens": "vision tokens", "created": "measured"}


@checked
def diagnoses(folders: Sequence[str | Path]) -> dict[str, Diagnosis]:
    """Diagnoses from the folders that ``vlmlens diagnose --out`` wrote, by their models' names.

    Args:
        folders: two at least, in order. Where models have one name, it is followed by the folder's.

    Raises:
        InputError: fewer than two folders, or one of them twice.
        DataError: a folder that holds no diagnosis.

    Examples:
        >>> for name in ("shapes-base", "shapes-normalize"):
        ...     with vl.HookedVLM.from_pretrained(name) as each:
        ...         found = vl.experiments.diagnose(
        ...             each, samples, permutations=1, max_new_tokens=2, progress=False
        ...         )
        ...     _ = vl.experiments.save(found, f"results/{name}")
        >>> list(vl.report.diagnoses(["results/shapes-base", "results/shapes-normalize"]))
        ['shapes-base', 'shapes-normalize']
    """
    if not isinstance(folders, list | tuple):
        raise InputError(f"folders={shown(folders)}: a list of folders is wanted")
    folders = [path(folder, "folders") for folder in folders]
    if len(folders) < 2:
        raise InputError(
            f"{len(folders)} diagnosis to compare: name two folders at least, which `vlmlens "
            "diagnose --out` wrote"
        )
    seen: dict[Path, str | Path] = {}
    for folder in folders:
        place = at_home(folder).resolve()
        if place in seen:
            raise InputError(f"{folder} is named twice: a diagnosis differs from itself in nothing")
        seen[place] = folder
    found = [_opened(at_home(folder)) for folder in folders]
    return dict(zip(_named(found, list(seen)), found, strict=True))


def _named(found: Sequence[Diagnosis], places: Sequence[Path]) -> list[str]:
    """Their models' names; where one stands twice, with as much of the folder as it takes."""
    names = [str(each.results.attrs.get("model", "")) for each in found]
    names = [name or place.name for name, place in zip(names, places, strict=True)]
    for more in (lambda place: place.name, str):
        said = [f"{n} ({more(place)})" for n, place in zip(names, places, strict=True)]
        if len(set(names)) < len(names):
            wanted = zip(names, said, strict=True)
            made = [long if names.count(n) > 1 else n for n, long in wanted]
            if len(set(made)) == len(made):
                return made
    return names


def _opened(folder: Path) -> Diagnosis:
    files = folder / RESULTS, folder / PSI
    if not all(file.is_file() for file in files):
        there = "there is no such folder" if not folder.is_dir() else _instead(folder)
        raise DataError(
            f"{folder} is no diagnosis: {there}. Give folders that `vlmlens diagnose --out` wrote, "
            f"with {RESULTS} and {PSI}"
        )
    results, psi = map(read, files)
    missing = [name for name in ("accuracy", "accuracy_permuted", "psi") if name not in psi]
    if "sample" not in results.dims or missing or "category" not in psi.dims:
        raise DataError(f"{folder} is no diagnosis: {RESULTS} or {PSI} is something else")
    return Diagnosis(results, psi)


def _instead(folder: Path) -> str:
    """What a folder without the tables of a diagnosis holds."""
    if (folder / "items.parquet").is_file():
        return "it holds an evaluation, whose report compares its models already"
    if any(folder.rglob("results-*.parquet")):
        return "it is unfinished; run its command again, which goes on where it stopped"
    missing = [name for name in (RESULTS, PSI) if not (folder / name).is_file()]
    return f"it has no {' and no '.join(missing)}"


@checked
def side_by_side(
    found: Mapping[str, Diagnosis], path: Path, table: pd.DataFrame | None = None
) -> Path:
    """Write the page of several diagnoses: each headline measure, and how it differs.

    Like that of ``build`` it holds all it needs, and the same numbers give the same bytes. The
    table is written beside it, under its name with the ending ``.csv``.

    Args:
        found: diagnoses by name, as ``diagnoses`` reads them; the first is what others are
            compared with.
        path: of the page; folders are made, what is already there is replaced.
        table: ``headlines`` of them, if that is already known.

    Returns:
        The path.

    Raises:
        InputError: the path is a folder, or what ``headlines`` raises.
        DataError: what ``headlines`` raises.

    Examples:
        >>> from pathlib import Path
        >>> found = {}
        >>> for name in ("shapes-base", "shapes-normalize"):
        ...     with vl.HookedVLM.from_pretrained(name) as each:
        ...         found[name] = vl.experiments.diagnose(
        ...             each, samples, permutations=1, max_new_tokens=2, progress=False
        ...         )
        >>> page = vl.report.side_by_side(found, Path("compare.html"))
        >>> page.with_suffix(".csv").is_file()
        True
    """
    if path.is_dir():
        raise InputError(f"the page is one file, but {path} is a folder: add a name ending .html")
    table = headlines(found) if table is None else table
    first, *others = found
    page = (
        environment()
        .get_template("beside.html")
        .render(
            models=list(found),
            first=first,
            heads=[(name, _of(table, name)) for name in others],
            byline=_byline(found),
            plotlyjs=Markup(get_plotlyjs()),
            sentences=[_sentence(table, found, name) for name in others],
            beware=_beware(table, found),
            psi=embedded(
                "psi", _psi(found), "Accuracy in order and shuffled, and PSI, by category and model"
            ),
            own=own_reference(found[first].results),
            rows=_rows(table),
            file=path.with_suffix(".csv").name,
            settings=_settings(found),
            told=_told(found),
        )
    )
    write_whole(path.with_suffix(".csv"), table.to_csv(index=False))
    return write_whole(path, page)


def _byline(found: Mapping[str, Diagnosis]) -> str:
    said = [f"{asked(d.results)} of {d.results.attrs.get('data', 'data')}" for d in found.values()]
    return " and ".join(dict.fromkeys(said))


def _sentence(table: pd.DataFrame, found: Mapping[str, Diagnosis], name: str) -> str:
    """What one model's differences are of, and which of them are told from chance."""
    first = next(iter(found))
    mine: Any = table[table["model"] == name]
    most = mine.sort_values("n", kind="stable").iloc[-1]
    what = about(int(most["n"]), most["unit"], int(most["draws"]))
    if most["paired"]:
        sizes = {each: found[each].results.sizes["sample"] for each in (first, name)}
        if max(sizes.values()) > most["n"]:
            what += f" ({', '.join(f'{count} in {each}' for each, count in sizes.items())})"
        text = f"{name} and {first} were asked the same {what}, and differences are paired"
    else:
        text = (
            f"{name} was asked about other samples than {first} ({what} of both): a difference is "
            "one of models and of samples, and not paired"
        )
    differ = mine[mine["p_corrected"] < ALPHA]["title"].tolist()
    known = int(mine["p"].notna().sum())
    if not differ:
        return f"{text}. None of {known} measures is shown to differ."
    return f"{text}. {len(differ)} of {known} measures differ: {'; '.join(differ)}."


def _of(table: pd.DataFrame, name: str) -> str:
    """What a column of differences is of."""
    mine: Any = table[table["model"] == name]
    if not bool(mine["paired"].iloc[0]):
        return "other samples"
    n = int(mine["n"].max())
    return f"{n} sample{'' if n == 1 else 's'}, paired"


def _beware(table: pd.DataFrame, found: Mapping[str, Diagnosis]) -> str:
    """What to beware of in intervals of the fewest units; nothing where all have enough."""
    counts = []
    for each in found.values():
        unit, which = units_of(each.results)
        counts.append((len(np.unique(which)), unit))
    rows: Any = table[[each is True for each in table["paired"]]]
    counts += zip(rows["draws"].astype(int), rows["unit"], strict=True)
    counts = [each for each in counts if each[0]]
    fewest, unit = min(counts)
    return beware(unit, fewest)


def _psi(found: Mapping[str, Diagnosis]) -> go.Figure:
    """Accuracies and PSI of the categories that all have."""
    tables = [each.psi for each in found.values()]
    names = [n for n in tables[0].data_vars if all(n in each for each in tables)]
    categories = [
        str(c)
        for c in tables[0]["category"].values
        if all(c in each["category"].values for each in tables)
    ]
    parts = [each[names].sel(category=categories) for each in tables]
    joined = xr.concat(parts, "model", combine_attrs="override").assign_coords(model=list(found))
    return plots.psi(joined, by="model")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A line for each measure, with what each model has and how the others differ."""
    lines: dict[str, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        line = lines.setdefault(
            row["measure"],
            {"title": row["title"], "units": row["units"], "values": [], "differences": []},
        )
        line["values"].append(estimate(row, "value"))
        if row["other_model"]:
            told = {
                "span": estimate(row, "difference"),
                "p": row["p"],
                "corrected": row["p_corrected"],
            }
            line["differences"].append(told | {"differs": row["p_corrected"] < ALPHA})
    return list(lines.values())


def _settings(found: Mapping[str, Diagnosis]) -> dict[str, str]:
    attrs = next(iter(found.values())).results.attrs
    return {name.replace("_", " "): str(attrs[name]) for name in SETTINGS if name in attrs}


def _told(found: Mapping[str, Diagnosis]) -> dict[str, list[str]]:
    """What is to be known of every diagnosis, a row each; of versions those that differ."""
    attrs = [each.results.attrs for each in found.values()]
    rows = {said: [str(a.get(name, "–")) for a in attrs] for name, said in TOLD.items()}
    rows["samples"] = [str(each.results.sizes["sample"]) for each in found.values()]
    rows["failed"] = [str(len(failed(each.results))) for each in found.values()]
    versions = [json.loads(str(a.get("versions", "{}"))) for a in attrs]
    for name in dict.fromkeys(n for each in versions for n in each):
        had = [str(each.get(name, "–")) for each in versions]
        if len(set(had)) > 1:
            rows[name] = had
    return rows
