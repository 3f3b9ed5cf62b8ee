"""The folder of an evaluation: items, tables, and what sets' servers take."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vlmlens.annotations import checked
from vlmlens.datasets.benchmarks.benchmark import Submission
from vlmlens.errors import DataError
from vlmlens.evaluation import records
from vlmlens.evaluation.conditions import CLEAN
from vlmlens.evaluation.evaluation import Evaluation
from vlmlens.experiments.files import whole
from vlmlens.graders.exact import normal
from vlmlens.picture import at_home


@checked
def save(found: Evaluation, folder: Path | str) -> dict[str, Path]:
    """Write the items, the tables as CSV, and what sets' servers take, each whole or not at all.

    Raises:
        DataError: the folder holds other models or sets, or cannot be written into.

    Examples:
        >>> from vlmlens.evaluation import evaluate, save
        >>> found = evaluate(model, samples, conditions="clean", progress=False)
        >>> save(found, "out")["items"].name
        'items.parquet'
    """
    folder = claim(folder, list(found.settings["models"]), list(found.settings["sets"]))
    paths = {"items": records.write(found.items, found.settings, folder / records.ITEMS)}
    for name in ("metrics", "differences", "psi"):
        table = getattr(found, name)
        paths[name] = whole(
            folder / f"{name}.csv", lambda part, t=table: t.to_csv(part, index=False)
        )
    for name, spec in found.settings["sets"].items():
        if spec["submission"] and CLEAN in found.settings["conditions"]:
            for model in found.settings["models"]:
                lines = submission(found.items, name, model, Submission(**spec["submission"]))
                file = "".join(c if c.isalnum() or c in "-_." else "-" for c in f"{name}-{model}")
                path = folder / f"submission-{file}.json"
                paths[path.stem] = _text(path, json.dumps(lines))
    return paths


def _text(path: Path, text: str) -> Path:
    return whole(path, lambda part: part.write_text(text, encoding="utf-8"))


@checked
def claim(folder: Path | str, models: Sequence[str], sets: Sequence[str]) -> Path:
    """A folder for results of these models on these sets, before anything is computed.

    Raises:
        DataError: there can be no such folder, or it holds results that would be lost.

    Examples:
        >>> from vlmlens.evaluation import claim
        >>> claim("new/folder", ["shapes-base"], ["shapes-2d"]).is_dir()
        True
    """
    folder = at_home(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot keep results in {folder}: {error.strerror}") from error
    if (folder / records.ITEMS).is_file():
        _, before = records.read(folder)
        lost = [*({*before["models"]} - {*models}), *({*before["sets"]} - {*sets})]
        if lost:
            raise DataError(
                f"{folder} holds results of {', '.join(sorted(lost))}, which would be replaced; "
                "name another folder (--out), or remove that one"
            )
    return folder


def submission(
    items: pd.DataFrame, data: str, model: str, form: Submission
) -> list[dict[str, Any]]:
    """A set's submission file: every question's id and what was said; "" where nothing was.

    Args:
        items: of an evaluation.
        data: the set.
        model: whose answers to intact pictures.
        form: of the file.
    """
    mine = (items["data"] == data) & (items["model"] == model) & (items["condition"] == CLEAN)
    lines = []
    chosen: Any = items[mine]
    for row in chosen.to_dict("records"):
        said = row["answer"].strip() if isinstance(row["answer"], str) else ""
        lines.append(
            {
                form.question: int(row["sample"]) if form.numbered else row["sample"],
                form.answer: normal(said) if form.plain else said,
            }
        )
    return lines
