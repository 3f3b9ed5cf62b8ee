"""From a data set of results to one page that opens anywhere."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go
import xarray as xr
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from vlmlens import plots
from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.report import answered, attended, sections, summary, written
from vlmlens.report.embedding import embedded, environment
from vlmlens.report.others import CLAIMED, Other, corrected, differ, others
from vlmlens.report.sections import by_section
from vlmlens.report.thumbnails import Thumbnail

#: Curves of the section on rotation, and the sign of each.
ROTATION = {"alpha_v": "α", "delta_g_v": "|Δg|", "delta_alpha_v": "Δα"}
#: What figures show, for those who do not see them.
LABELS = {
    "psi": "Accuracy with vision tokens in order and shuffled, and PSI, by category",
    "cmb": "Map of cross-modality balance by layer and head",
    "lift": "Map of cross-modality balance over that of even attention, by layer and head",
    "alpha_v": "Share of attention on the image by layer",
    "delta_g_v": "Change of the image's attention scores by layer",
    "delta_alpha_v": "Change of the share of attention on the image by layer",
    "norms": "Norms of hidden states by layer and role, and the ratio of vision to user",
}
#: What corrections of tests hold.
CORRECTIONS = {
    "max": "p corrected over all cells of its map by the largest of them (max statistic)",
    "fdr": "p corrected over all cells of its map, false discovery rate (Benjamini-Hochberg)",
    "none": "p as it is, not corrected for the number of cells",
}


@checked
def build(
    results: xr.Dataset,
    psi: xr.Dataset | None,
    path: Path,
    pictures: Mapping[str, Sequence[Thumbnail]] | None = None,
    *,
    tables: Mapping[str, xr.Dataset] | None = None,
    files: Sequence[Path] = (),
) -> Path:
    """Write the report of ``vlmlens diagnose``: figures, tables and how they came about.

    The page holds everything it needs, plotly.js included, and its own policy forbids it to load
    anything else. The same numbers give the same bytes. It is written beside its place and then
    renamed, so that a page that exists is complete. Its figures are drawn when one comes near.

    Args:
        results: what ``diagnose`` measured; every variable may be absent, and its section with it.
        psi: the table of accuracies and PSI by category, or None where there were no answers.
        path: of the page; folders are made, a page already there is replaced.
        pictures: the samples' pictures, by name (``report.pictures``); without them answers are
            shown without.
        tables: those of a diagnosis (``Diagnosis.tables``): with ``summary``, maps carry the dots
            of corrected tests; with ``attended``, the page shows where the model looked.
        files: the numbers as other programs read them (``report.write_tables``), to link.

    Returns:
        The path.

    Raises:
        InputError: the path is a folder.

    Examples:
        >>> from pathlib import Path
        >>> run = model.run(model.inputs(samples), save=vl.probes.cmb.NEEDS)
        >>> results = vl.probes.cross_modality_balance(run).to_dataset()
        >>> vl.report.build(results, None, Path("report.html")).name
        'report.html'
    """
    if path.is_dir():
        raise InputError(f"the report is one file, but {path} is a folder: add a name ending .html")
    tables = tables or {}
    figures, tests = _figures(results, psi, tables.get("summary")), tables.get("summary")
    chapters = by_section(_others(results, psi, tests))
    cards = answered.cards(results, pictures)
    looked = attended.looked(tables.get("attended"), results, pictures)
    there = {name: name in figures for name in ("cmb", "norms")}
    there |= {"psi": psi is not None, "samples": bool(cards), "attended": bool(looked)}
    there |= {"rope": any(name in figures for name in ROTATION), "provenance": True}
    page = (
        environment()
        .get_template("page.html")
        .render(
            attrs={name: str(value) for name, value in results.attrs.items()},
            plotlyjs=Markup(get_plotlyjs()),
            figures={name: embedded(name, fig, LABELS[name]) for name, fig in figures.items()},
            sections=sections.there(there, chapters),
            chapters={key: _drawn(key, found) for key, found in chapters.items()},
            sentences=summary.sentences(results, psi),
            tiles=summary.tiles(results, psi),
            notes=summary.notes(results, psi),
            own=summary.own_reference(results),
            shuffles=summary.permutations(results),
            samples=results.sizes.get("sample", 0),
            asked=summary.asked(results),
            unanswered=_names(results.attrs.get("unanswered")),
            psi_rows=[] if psi is None else _psi_rows(psi),
            cards=cards,
            looked=looked,
            eq11=_equation_11(results),
            cmb_differ=differ(corrected(tests, "cmb")),
            correction=_correction(tests),
            settings=_settings(results),
            failures=_listed(results.attrs.get("failures")),
            psi_method={} if psi is None else {str(k): str(v) for k, v in psi.attrs.items()},
            versions=_mapped(results.attrs.get("versions")),
            files=_beside(path, files),
        )
    )
    return write_whole(path, page)


def _figures(
    results: xr.Dataset, psi: xr.Dataset | None, tests: xr.Dataset | None
) -> dict[str, go.Figure]:
    figures = {}
    if psi is not None:
        figures["psi"] = plots.psi(psi)
    if "cmb" in results:
        cmb = results["cmb"].assign_attrs(long_name="CMB", units="fraction")
        test = corrected(tests, "cmb")
        figures["cmb"] = plots.heads(cmb if test is None else test, midpoint=0.5)
        if "cmb_uniform" in results:
            lift = (cmb / results["cmb_uniform"]).assign_attrs(long_name="CMB / even", units="")
            figures["lift"] = plots.heads(lift, midpoint=1.0)
    for name, symbol in ROTATION.items():
        if name in results:
            values = abs(results[name]) if name == "delta_g_v" else results[name]
            figures[name] = plots.depth(values.assign_attrs(long_name=symbol, units=""))
    if "hidden_norm" in results and {"vision", "user"} <= set(results["role"].values.tolist()):
        figures["norms"] = plots.norms(results["hidden_norm"])
    return figures


def _correction(tests: xr.Dataset | None) -> str:
    """How tests were corrected, in words; nothing without any."""
    if tests is None:
        return ""
    return CORRECTIONS.get(str(tests.attrs.get("correction")), "")


def _beside(path: Path, files: Sequence[Path]) -> list[dict[str, str]]:
    """Links to files, as one writes them from where the page is."""
    home = path.parent.resolve()
    names = [os.path.relpath(file.resolve(), home).replace(os.sep, "/") for file in files]
    return [{"name": Path(name).name, "address": quote(name)} for name in names]


def _psi_rows(table: xr.Dataset) -> list[dict]:
    columns = (
        "accuracy",
        "accuracy_permuted",
        "psi",
        "psi_corrected",
        "drop_log_prob",
        "chance",
        "p_value",
        "n",
        "units",
    )
    rows = []
    for index, category in enumerate(table["category"].values):
        cells: dict[str, Any] = {
            name: written.in_category(table, name, index) if name in table else None
            for name in columns[:6]
        }
        for name in columns[6:]:
            cells[name] = float(table[name][index]) if name in table else None
        rows.append({"category": str(category), **cells})
    return rows


def _others(results: xr.Dataset, psi: xr.Dataset | None, tests: xr.Dataset | None) -> list[Other]:
    """What the page has no words for."""
    # Answers are the PSI section's, where there is one.
    claimed = CLAIMED if psi is not None else CLAIMED - {"correct", "log_prob"}
    return others(results, claimed, tests)


def _drawn(key: str, found: Sequence[Other]) -> list[dict]:
    """Measurements with their figures, which are numbered, since names come from data."""
    return [
        {
            "is": other,
            "figure": other.figure and embedded(f"{key}-{number}", other.figure, other.title),
        }
        for number, other in enumerate(found)
    ]


def _settings(results: xr.Dataset) -> dict[str, str]:
    """Attributes that the page tells nowhere else."""
    told = {"model", "data", "seed", "attention", "reference", "created", "failures", "versions"}
    told |= {"unanswered", "answered"}
    return {
        str(name): str(value)
        for name, value in results.attrs.items()
        if name not in told | {"command"}
    }


def _equation_11(results: xr.Dataset) -> dict | None:
    """By how much the paper's first-order formula is off, and the exact form, which is a check."""
    if not {"eq11_residual", "delta_alpha_v"} <= set(results):
        return None
    exact = results.get("identity_residual")
    return {
        "residual": written.over_samples(abs(results["eq11_residual"])),
        "change": written.over_samples(abs(results["delta_alpha_v"])),
        "rounding": None if exact is None else f"{float(abs(exact).max()):.0e}",
    }


def _listed(text: object) -> list[dict]:
    """The failures as ``{id, error}``; text that is no JSON list is shown as one failure."""
    if not text:
        return []
    try:
        found = json.loads(str(text))
        return [{"id": str(each["id"]), "error": str(each["error"])} for each in found]
    except (ValueError, TypeError, KeyError):
        return [{"id": "?", "error": str(text)}]


def _names(text: object) -> list[str]:
    """Samples' names from their JSON; other text is shown as one."""
    if not text:
        return []
    try:
        return [str(name) for name in json.loads(str(text))]
    except (ValueError, TypeError):
        return [str(text)]


def _mapped(text: object) -> dict[str, str]:
    """The versions by name; text that is no JSON object is shown whole."""
    if not text:
        return {}
    try:
        return {str(name): str(version) for name, version in json.loads(str(text)).items()}
    except (ValueError, AttributeError):
        return {"versions": str(text)}


def write_whole(path: Path, page: str) -> Path:
    """Write a page beside its place, and put it there at once when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        # a file name may hold bytes that are no UTF-8, and answers anything
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(page)
        Path(beside).chmod(0o644)  # mkstemp gives 0600, which a web server could not read
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path
