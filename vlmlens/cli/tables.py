"""What ``vlmlens diagnose`` found, as tables of a terminal."""

import json
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from xarray import DataArray

    from vlmlens.experiments import Diagnosis


def interval(low: float, high: float, digits: str) -> str:
    """An interval; a dash where there is none, as for a single sample."""
    return "—" if low != low or high != high else f"[{low:{digits}}, {high:{digits}}]"


def plain(value: float, digits: str) -> str:
    """A number; a dash for none."""
    return "—" if value != value else f"{value:{digits}}"


def psi_table(found: "Diagnosis") -> Table:
    """Accuracy, intact and shuffled, and PSI of every category."""
    own = found.results.attrs["reference"] == "own"
    table = Table(
        title=f"{escape(found.results.attrs['model'])}: what shuffling the vision tokens does",
        caption=escape(" ".join(_notes(found))) or None,
    )
    table.add_column("category", no_wrap=True)
    psi = found.psi
    shared = bool((psi["units"] < psi["n"]).any())
    heads = ["n", *([f"{psi.attrs['unit']}s"] if shared else [])]
    if own:  # accuracy would be 1 by construction, and no exchange of the two is possible
        heads += ["answers kept", "changed % \\[95 %]"]
    else:
        heads += ["accuracy", "shuffled", "PSI % \\[95 %]", "p"]
    for name in heads:
        table.add_column(name, justify="right", no_wrap="[" in name)
    for category in psi["category"].values:
        row = psi.sel(category=category)
        low, high = float(row["psi_low"]), float(row["psi_high"])
        # Escaped, or rich takes "[nan, nan]" for a style.
        index = escape(f"{plain(float(row['psi']), '.1f')} {interval(low, high, '.1f')}")
        intact, shuffled = (f"{float(row[n]):.3f}" for n in ("accuracy", "accuracy_permuted"))
        cells = [str(int(row[name])) for name in ("n", *(["units"] if shared else []))]
        cells += [shuffled, index] if own else [intact, shuffled, index]
        table.add_row(
            escape(str(category)), *cells, *([] if own else [plain(float(row["p_value"]), ".2g")])
        )
    return table


def _notes(found: "Diagnosis") -> list[str]:
    """What is to be known of the table: what answers are held against, and who is left out."""
    from vlmlens.report.summary import about

    notes = []
    asked, seen = (int(found.psi[name][0]) for name in ("n", "units"))
    if seen < asked:
        shared = about(asked, found.psi.attrs["unit"], seen)
        notes.append(f"{shared}: what shares one is one draw.")
    if found.results.attrs["reference"] == "own":
        why = "as asked" if found.results.attrs["answered"] else "no answers in the data"
        notes.append(f"{why}: measured against the model's own answers on intact images.")
    if "rule" in found.results.attrs:
        rule = found.results.attrs["rule"]
        notes.append(f"answers graded by {rule}, a fixed rule and its version.")
    left = json.loads(found.results.attrs.get("unanswered", "[]"))
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        notes.append(
            f"{len(left)} of {found.results.sizes['sample']} questions have no right answer and "
            f"are left out of accuracy and PSI: {', '.join(left[:5])}{more}."
        )
    if split := _split(found):
        notes.append(
            f"{split}: one of interval and p shows an effect, the other does not. The interval is "
            "of the ratio PSI, p of the two accuracies changing places: such a row is undecided."
        )
    if "note" in found.psi.attrs:
        notes.append(f"Beware: {found.psi.attrs['note']}.")
    return notes


def _split(found: "Diagnosis") -> str:
    """Categories whose interval of PSI and p disagree about 0."""
    if "p_value" not in found.psi or found.results.attrs["reference"] == "own":
        return ""
    names = []
    for category in found.psi["category"].values:
        row = found.psi.sel(category=category)
        low, high, p = (float(row[name]) for name in ("psi_low", "psi_high", "p_value"))
        if low == low and p == p and (low <= 0 <= high) != (p >= 0.05):
            names.append(str(category))
    return ", ".join(names)


def inside_table(found: "Diagnosis") -> Table:
    """CMB, RoPE sensitivity and norms, each averaged over all samples, layers and heads."""
    from vlmlens.report.headline import inside

    table = Table(title="inside, averaged over samples, layers and heads", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in inside(found.results).values():
        table.add_row(name, f"{plain(float(value.mean()), '.4g')}{gaps(value)}")
    return table


def gaps(values: "DataArray") -> str:
    """Says over which layers a mean is, where some of them have no value at all."""
    if "layer" not in values.dims:
        return ""
    known = values.notnull().any([d for d in values.dims if d != "layer"])
    if bool(known.all()):
        return ""
    missing = ", ".join(str(layer) for layer in values["layer"].values[~known.values])
    return f" (none of layer {missing}: {int(known.sum())} of {known.size} layers)"


def averages_table(found: "Diagnosis") -> Table:
    """Every variable's mean over all that is not a sample, and how many of its cells stand out."""
    import numpy as np

    from vlmlens.probes.statistics import mean_map

    summary = found.tables["summary"]
    table = Table(title="every measurement, averaged over its cells")
    notes: dict[str, list[str]] = {}
    for name in ("variable", "mean \\[95 %]", "cells that differ from the null"):
        table.add_column(name, justify="left" if name == "variable" else "right")
    for name in map(str, found.results):
        if f"{name}_low" not in summary:
            continue
        values = found.results[name].astype(float)
        hits = ""
        if f"{name}_significant" in summary:
            cells = summary[f"{name}_significant"]
            hits = f"{int(cells.sum())} of {cells.size} (null {cells.attrs['null']})"
        parts = [d for d in ("role", "to", "part", "quantile") if d in values.dims]
        for label, part in values.groupby(parts[0]) if parts else (("", values),):
            infinite = int(np.isinf(part).sum())
            part = part.where(np.isfinite(part))
            cell = mean_map(part.mean([d for d in part.dims if d != "sample"]))
            mean, low, high = (float(cell[key]) for key in ("mean", "low", "high"))
            for said in filter(None, (row.attrs.get("note") for row in (summary[name], cell))):
                notes.setdefault(said, []).append(f"{name} {label}".strip())
            if mean == mean:  # a role that nobody plays has no mean
                table.add_row(
                    f"{name} {label}".strip()
                    + f" ({infinite} infinite, left out)" * bool(infinite),
                    escape(f"{mean:.4g} {interval(low, high, '.3g')}"),
                    hits,
                )
    tests = f"Tests: {summary.attrs['correction']} correction over the cells of each variable."
    said = [f"Beware, {', '.join(dict.fromkeys(who))}: {note}." for note, who in notes.items()]
    table.caption = escape(" ".join([tests, *said]))
    return table
