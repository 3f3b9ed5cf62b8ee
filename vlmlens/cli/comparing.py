"""``vlmlens compare``: what diagnoses of several models say, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from vlmlens.cli.tables import plain
from vlmlens.cli.terminal import Out, out

if TYPE_CHECKING:
    from pandas import DataFrame
Folders = Annotated[
    list[str],
    typer.Argument(metavar="FOLDER...", help="Folders that `vlmlens diagnose --out` wrote."),
]


def compare(folders: Folders, folder: Out = Path("results/compare")) -> None:
    """Diagnoses of several models side by side: every headline measure, and how it differs.

    Each is compared with the first, with intervals and p corrected over all measures. Where the
    samples are the same, differences are paired. Settings that differ are refused.
    No model is opened.
    """
    from vlmlens import report

    found = report.diagnoses(folders)
    table = report.headlines(found)
    page = report.side_by_side(found, folder / "compare.html", table)
    # Names of any length stand in lines of their own; tables have numbers for them.
    for number, name in enumerate(found, start=1):
        out.print(f"#{number}  {name}", soft_wrap=True, markup=False, highlight=False)
    for number, name in enumerate(list(found)[1:], start=2):
        out.print(_differences(table, name, f"#{number}"))
    out.print(f"table: {page.with_suffix('.csv')}", soft_wrap=True, markup=False)
    out.print(f"report: {page}", soft_wrap=True, markup=False)


def _differences(table: "DataFrame", name: str, head: str) -> Table:
    """One model's measures beside the first's, under a short name."""
    from vlmlens.report.several import estimate

    every: list[dict[Any, Any]] = table.to_dict("records")
    mine = [row for row in every if row["model"] == name]
    first = mine[0]["other_model"]
    values = {row["measure"]: estimate(row, "value") for row in every if row["model"] == first}
    paired = all(row["paired"] for row in mine)
    shown = Table(
        title=f"{head} less #1, {'paired' if paired else 'other samples'}",
        caption="p: permutation test, corrected over all differences (Benjamini-Hochberg).",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    shown.add_column("measure", no_wrap=True)
    for each in ("#1", head, f"{head} − #1 \\[95 %]"):
        shown.add_column(each, justify="right", no_wrap=True)
    shown.add_column("p", justify="right", no_wrap=True)
    for row in mine:
        shown.add_row(
            escape(f"{row['measure']} {row['units']}".strip()),
            values[row["measure"]].number,
            estimate(row, "value").number,
            escape(str(estimate(row, "difference"))),
            plain(row["p_corrected"], ".2g"),
        )
    return shown
