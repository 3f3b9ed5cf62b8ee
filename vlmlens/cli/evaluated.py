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
    """Each set's metrics, a table a model; then its differences, and PSI by category.

    The text-only control is a row of its own, and so in no column here.
    """
    metrics: Any = found.metrics
    differences: Any = found.differences
    overall = metrics[metrics["group"] == ""]
    for data, part in overall.groupby("data", sort=False):
        spec = found.settings["sets"][data]
        rules = sorted(set(part["rule"]) - {""})
        form = part["prompt_form"].iloc[0]
        caption = f"graded by {', '.join(rules) or 'nothing'}; drawn by {spec['unit']}"
        caption += f"; asked as {form}" if form else ""
        for model, own in part.groupby("model", sort=False):
            yield _metrics(f"{data}, {model}", own.to_dict("records"), caption)
        if len(differences):
            mine = differences[(differences["group"] == "") & (differences["data"] == data)]
            if len(mine):
                yield _differences(str(data), mine.to_dict("records"))
        if len(found.psi):
            psi: Any = found.psi[found.psi["data"] == data]
            for model, own in psi.groupby("model", sort=False):
                yield _psi(f"{data}, {model}", own.to_dict("records"))


def _metrics(title: str, rows: list[dict[str, Any]], caption: str) -> Table:
    columns: dict[str, list[str]] = {
        "condition": [row["condition"] for row in rows],
        "metric": [_words(row["metric"]) or "no right answers" for row in rows],
        "value [95 %]": [_value(row) for row in rows],
        "chance": [plain(row.get("chance", float("nan")), ".3f") for row in rows],
        "n": [str(row["n"]) for row in rows],
        "drawn": [str(row["units"]) for row in rows],
        "un-\nparsed": [plain(row["unparsed"], ".1%") for row in rows],
        "failed": [str(row["failed"]) for row in rows],
        "no\nanswer": [str(row["unanswered"]) for row in rows],
    }
    if columns["drawn"] == columns["n"]:
        del columns["drawn"]
    if set(columns["no\nanswer"]) == {"0"}:
        del columns["no\nanswer"]
    return _table(title, columns, 2, caption)


def _members(rows: list[dict[str, Any]]) -> list[str]:
    """What rows are of; with the group's name, where that is not the category."""
    own = ("", "category")
    return [
        row["member"] if row["group"] in own else f"{row['group']}: {row['member']}" for row in rows
    ]


def _words(name: str) -> str:
    """A metric's name in words, which a narrow line may break between."""
    return name.replace("_", " ")


def _value(row: dict[str, Any]) -> str:
    ends = f" {interval(row['low'], row['high'], '.3f')}" if "low" in row else ""
    return f"{plain(row['value'], '.3f')}{ends}"


def _differences(data: str, rows: list[dict[str, Any]]) -> Table:
    columns: dict[str, list[str]] = {
        name: [] for name in ("what", "against", "metric", "difference [95 %]", "p", "drawn")
    }
    several = len({row[name] for row in rows for name in ("model", "other_model")}) > 1
    for row in rows:
        what = f"{row['model']}, {row['condition']}" if several else row["condition"]
        models = row["model"] != row["other_model"]
        against = row["other_model"] if models else row["other_condition"]
        span = f"{plain(row['difference'], '+.3f')} {interval(row['low'], row['high'], '+.3f')}"
        cells = (
            what,
            against,
            _words(row["metric"]),
            span,
            plain(row["p"], ".2g"),
            str(row["units"]),
        )
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    return _table(f"{data}: differences, unit by unit", columns, 3)


def _psi(title: str, rows: list[dict[str, Any]]) -> Table:
    columns = {
        "shuffled by": [row["condition"] for row in rows],
        "category": _members(rows),
        "accuracy": [plain(row["accuracy"], ".3f") for row in rows],
        "shuffled": [plain(row["accuracy_permuted"], ".3f") for row in rows],
        "PSI % [95 %]": [
            f"{plain(row['psi'], '.1f')} {interval(row['psi_low'], row['psi_high'], '.1f')}"
            for row in rows
        ],
        "p": [plain(row["p_value"], ".2g") for row in rows],
        "n": [str(int(row["n"])) for row in rows],
    }
    if len(set(columns["shuffled by"])) == 1:
        del columns["shuffled by"]
    return _table(f"{title}: Position Sensitivity Index", columns, len(columns) - 5)


def _table(
    title: str, columns: dict[str, list[str]], words: int, caption: str | None = None
) -> Table:
    """The first columns hold words, which are broken where a line is narrow; numbers never are."""
    numbers = list(columns)[words:]
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
