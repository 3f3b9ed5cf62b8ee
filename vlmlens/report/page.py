"""From a data set of results to one page that opens anywhere."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.report import answered, summary, written
from vlmlens.report.others import CLAIMED, others
from vlmlens.report.thumbnails import Thumbnail

#: The only button is the one that saves the picture; dragging is left to the page's own scrolling.
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
}


def build(
    results: xr.Dataset,
    psi: xr.Dataset | None,
    path: Path,
    pictures: Mapping[str, Sequence[Thumbnail]] | None = None,
) -> Path:
    """Write the report of ``vlmlens diagnose``: figures, tables and how they came about.

    The page holds everything it needs, plotly.js included, and its own policy forbids it to load
    anything else. The same numbers give the same bytes. It is written beside its place and then
    renamed, so that a page that exists is complete.

    Args:
        results: what ``diagnose`` measured; every variable may be absent, and its section with it.
        psi: the table of accuracies and PSI by category, or None where there were no answers.
        path: of the page; folders are made, a page already there is replaced.
        pictures: the samples' pictures, by name (``report.pictures``); without them answers are
            shown without.

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
    page = (
        environment()
        .get_template("page.html")
        .render(
            attrs={name: str(value) for name, value in results.attrs.items()},
            plotlyjs=Markup(get_plotlyjs()),
            figures={name: embedded(name, fig) for name, fig in _figures(results, psi).items()},
            sentences=summary.sentences(results, psi),
            tiles=summary.tiles(results, psi),
            notes=summary.notes(results, psi),
            own=summary.own_reference(results),
            shuffles=summary.permutations(results),
            samples=results.sizes.get("sample", 0),
            asked=summary.asked(results),
            unanswered=_names(results.attrs.get("unanswered")),
            psi_rows=[] if psi is None else _psi_rows(psi),
            cards=answered.cards(results, pictures),
            eq11=_equation_11(results),
            others=_others(results, psi),
            settings=_settings(results),
            failures=_listed(results.attrs.get("failures")),
            psi_method={} if psi is None else {str(k): str(v) for k, v in psi.attrs.items()},
            versions=_mapped(results.attrs.get("versions")),
        )
    )
    return write_whole(path, page)


def environment() -> Environment:
    """Where templates come from; what they show is escaped."""
    return Environment(
        loader=PackageLoader("vlmlens", "report"),
        autoescape=True,  # questions, answers and names come from anywhere
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _figures(results: xr.Dataset, psi: xr.Dataset | None) -> dict[str, go.Figure]:
    figures = {}
    if psi is not None:
        figures["psi"] = plots.psi(psi)
    if "cmb" in results:
        cmb = results["cmb"].assign_attrs(long_name="CMB", units="fraction")
        figures["cmb"] = plots.heads(cmb)
        if "cmb_uniform" in results:
            lift = (cmb / results["cmb_uniform"]).assign_attrs(long_name="CMB / even", units="")
            figures["lift"] = plots.heads(lift, midpoint=1.0)
    for name, symbol in {"alpha_v": "α", "delta_g_v": "|Δg|", "delta_alpha_v": "Δα"}.items():
        if name in results:
            values = abs(results[name]) if name == "delta_g_v" else results[name]
            figures[name] = plots.depth(values.assign_attrs(long_name=symbol, units=""))
    if "hidden_norm" in results and {"vision", "user"} <= set(results["role"].values.tolist()):
        figures["norms"] = plots.norms(results["hidden_norm"])
    return figures


def embedded(name: str, fig: go.Figure) -> Markup:
    """A figure as a fragment of the page; plotly writes ``<`` in its data as an escape of JSON."""
    fig.update_layout(dragmode=False, margin_t=max(36, fig.layout.margin.t))
    config = CONFIG | {"toImageButtonOptions": {"scale": 2, "filename": name}}
    return Markup(
        pio.to_html(
            fig, full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=config
        )
    )


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


def _others(results: xr.Dataset, psi: xr.Dataset | None) -> list[dict]:
    """What the page has no words for; figures are numbered, since names come from data."""
    # Answers are the PSI section's, where there is one.
    claimed = CLAIMED if psi is not None else CLAIMED - {"correct", "log_prob"}
    found = []
    for number, other in enumerate(others(results, claimed)):
        fig = other.figure and embedded(f"other-{number}", other.figure)
        found.append({"is": other, "figure": fig})
    return found


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
