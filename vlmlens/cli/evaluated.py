"""What ``vlmlens evaluate`` found, as tables of a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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
    heads = ("model", "condition", "metric", "value \\[95 %]", "chance", "text only", "n", "drawn")
    table = _table(escape(data), (*heads, "unparsed", "failed"), 3, escape(caption))
    for row in rows:
        value = f"{plain(row['value'], '.3f')}"
        if "low" in row:
            value += f" {interval(row['low'], row['high'], '.3f')}"
        table.add_row(
            escape(row["model"]),
            row["condition"],
            row["metric"] or "no right answers",
            escape(value),
            *(plain(row.get(name, float("nan")), ".3f") for name in ("chance", "blind")),
            *(str(row["n"]), str(row["units"]), plain(row["unparsed"], ".1%"), str(row["failed"])),
        )
    return table


def _differences(rows: list[dict[str, Any]]) -> Table:
    heads = ("set", "what", "against", "metric", "difference \\[95 %]", "p", "drawn")
    table = _table("differences, unit by unit", heads, 4)
    for row in rows:
        models = row["model"] != row["other_model"]
        told = (row["model"], row["other_model"]) if models else (row["model"], "")
        what = f"{told[0]}, {row['condition']}"
        against = f"{told[1]}, {row['other_condition']}" if models else row["other_condition"]
        span = f"{plain(row['difference'], '+.3f')} {interval(row['low'], row['high'], '+.3f')}"
        cells = (row["data"], what, against, row["metric"], span, plain(row["p"], ".2g"))
        table.add_row(*map(escape, cells), str(row["units"]))
    return table


def _psi(rows: list[dict[str, Any]]) -> Table:
    heads = ("set", "model", "category", "accuracy", "shuffled", "PSI % \\[95 %]", "p", "n")
    table = _table("Position Sensitivity Index", heads, 3)
    for row in rows:
        index = f"{plain(row['psi'], '.1f')} {interval(row['psi_low'], row['psi_high'], '.1f')}"
        table.add_row(
            *map(escape, (row["data"], row["model"], row["member"])),
            *(plain(row[name], ".3f") for name in ("accuracy", "accuracy_permuted")),
            *(escape(index), plain(row["p_value"], ".2g"), str(int(row["n"]))),
        )
    return table


def _table(title: str, heads: tuple[str, ...], words: int, caption: str | None = None) -> Table:
    table = Table(title=title, caption=caption)
    for number, name in enumerate(heads):
        table.add_column(name, justify="left" if number < words else "right")
    return table
