"""What ``vlmlens evaluate`` found, as tables of a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from vlmlens.cli.tables import interval, plain

if TYPE_CHECKING:
    from vlmlens.evaluation import Evaluation


def tables(found: "Evaluation") -> Iterator[Table]:
    """Each set's metrics; then differences, and PSI by category, where there are any."""
    metrics: Any = found.metrics
    differences: Any = found.differences
    overall = metrics[metrics["group"] == ""]
    for data, part in overall.groupby("data", sort=False):
        spec = found.settings["sets"][data]
        rows = part.to_dict("records")
        rules = sorted({r["rule"] for r in rows if r["rule"]})
        caption = f"graded by {', '.join(rules) or 'nothing'}; drawn by {spec['unit']}"
        caption += f"; asked as {rows[0]['prompt_form']}" if rows[0]["prompt_form"] else ""
        yield _metrics(str(data), rows, caption)
    if len(differences):
        yield _differences(differences[differences["group"] == ""].to_dict("records"))
    if len(found.psi):
        yield _psi(found.psi.to_dict("records"))


def _metrics(data: str, rows: list[dict[str, Any]], caption: str) -> Table:
    columns: dict[str, list[str]] = {
        "model": [row["model"] for row in rows],
        "condition": [row["condition"] for row in rows],
        "metric": [row["metric"] or "no right answers" for row in rows],
        "value [95 %]": [_value(row) for row in rows],
        "chance": [plain(row.get("chance", float("nan")), ".3f") for row in rows],
        "text\nonly": [plain(row.get("blind", float("nan")), ".3f") for row in rows],
        "n": [str(row["n"]) for row in rows],
        "drawn": [str(row["units"]) for row in rows],
        "un-\nparsed": [plain(row["unparsed"], ".1%") for row in rows],
        "failed": [str(row["failed"]) for row in rows],
    }
    if columns["drawn"] == columns["n"]:
        del columns["drawn"]
    return _table(data, columns, 3, caption)


def _value(row: dict[str, Any]) -> str:
    ends = f" {interval(row['low'], row['high'], '.3f')}" if "low" in row else ""
    return f"{plain(row['value'], '.3f')}{ends}"


def _differences(rows: list[dict[str, Any]]) -> Table:
    columns: dict[str, list[str]] = {
        name: [] for name in ("set", "what", "against", "metric", "difference [95 %]", "p", "drawn")
    }
    for row in rows:
        models = row["model"] != row["other_model"]
        what = f"{row['model']}, {row['condition']}"
        other = row["other_condition"]
        against = f"{row['other_model']}, {other}" if models else other
        span = f"{plain(row['difference'], '+.3f')} {interval(row['low'], row['high'], '+.3f')}"
        cells = (row["data"], what, against, row["metric"], span, plain(row["p"], ".2g"))
        for column, cell in zip(columns.values(), (*cells, str(row["units"])), strict=True):
            column.append(cell)
    return _table("differences, unit by unit", columns, 4)


def _psi(rows: list[dict[str, Any]]) -> Table:
    columns = {
        "set": [row["data"] for row in rows],
        "model": [row["model"] for row in rows],
        "category": [row["member"] for row in rows],
        "accuracy": [plain(row["accuracy"], ".3f") for row in rows],
        "shuffled": [plain(row["accuracy_permuted"], ".3f") for row in rows],
        "PSI % [95 %]": [
            f"{plain(row['psi'], '.1f')} {interval(row['psi_low'], row['psi_high'], '.1f')}"
            for row in rows
        ],
        "p": [plain(row["p_value"], ".2g") for row in rows],
        "n": [str(int(row["n"])) for row in rows],
    }
    return _table("Position Sensitivity Index", columns, 3)


def _table(
    title: str, columns: dict[str, list[str]], words: int, caption: str | None = None
) -> Table:
    """The first columns hold words, which are broken where a line is narrow; numbers never are.

    The name of the one set, or of the one model, goes into the title.
    """
    numbers = list(columns)[words:]
    for name in ("model", "set"):
        if name in columns and len(once := set(columns[name])) == 1:
            title = f"{once.pop()}: {title}" if name == "set" else f"{title}, {once.pop()}"
            columns = {other: cells for other, cells in columns.items() if other != name}
    table = Table(
        title=escape(title),
        caption=escape(caption) if caption else None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in columns:
        number = name in numbers
        table.add_column(
            escape(name),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
        )
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(escape, cells))
    return table
