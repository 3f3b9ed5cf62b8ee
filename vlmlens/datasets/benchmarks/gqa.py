"""GQA: compositional questions about scenes. Hudson and Manning 2019, arXiv:1902.09506."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt, Submission
from vlmlens.datasets.reading import Row, keyed, lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample

ORIGIN = (
    "the hub, lmms-lab/GQA (testdev_balanced_instructions and testdev_balanced_images), or "
    "cs.stanford.edu/people/dorarad/gqa (testdev_balanced_questions.json and images/)"
)


#: What its script compares an answer with where any thing in common would do.
COMMON = ("color", "material", "shape")


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's two parquet files, joined, or the original questions with images beside them.

    Where ``TIER_choices.json`` of the set's own evaluation lies in the folder or in ``eval``, the
    answers that are valid and plausible are groups of a question, as lists in JSON. So are, in the
    splits that hold all questions, those that follow from it.
    """
    choices = _choices(folder, split)
    below = f"{split}_instructions"
    if tables := sorted([*folder.glob(f"{below}/*.parquet"), *folder.glob(f"{below}*.parquet")]):
        kept = f"{split}_images"
        paths = GQA.tables(folder, f"{kept}/*.parquet", f"{kept}*.parquet")
        images = keyed((row for path in paths for row in rows(path)), "id")
        found = []
        for row in (row for path in tables for row in rows(path)):
            image = row.text("imageId")
            if image not in images:
                raise DataError(f"{row.where}: there is no image {image} in {kept}")
            found.append(_sample(row, images[image]["image"], split, choices))
        return found
    name = f"{split}_questions.json"
    return [
        _sample(
            row,
            lookup(f"{row.text('imageId')}.jpg", folder, ("images", ""), ORIGIN, row.where),
            split,
            choices,
        )
        for row in rows(GQA.table(folder, name, f"questions/{name}"))
    ]


def _choices(folder: Path, split: str) -> Mapping[str, Row]:
    """By a question's id, the answers that are valid and plausible; empty without such a file."""
    name = f"{split.partition('_')[0]}_choices.json"
    there = next((p for p in (folder / name, folder / "eval" / name) if p.is_file()), None)
    return {} if there is None else keyed(rows(there), "id")


def _sample(row: Row, image: Picture, split: str, choices: Mapping[str, Row]) -> Sample:
    types: Any = row["types"]
    if not isinstance(types, dict) or not {"structural", "semantic"} <= set(types):
        raise DataError(f"{row.where}: types is {types!r:.60}, without structural and semantic")
    name, category = row.text("id"), str(types["semantic"])
    groups = [
        ("structural", str(types["structural"])),
        ("semantic", category),
        ("image", row.text("imageId")),
    ]
    if split.endswith("_all"):
        groups += [("balanced", "yes" if _balanced(row) else "no")]
        groups += [("entailed", json.dumps([each for each in _names(row) if each != name]))]
    if choices:
        if name not in choices:
            raise DataError(f"{row.where}: the choices hold no question {name}; take them out")
        for kind in ("valid", "plausible"):
            among = choices[name].texts(kind)
            if "Common" in str(types.get("detailed")):
                among = list(COMMON)
            groups.append((kind, json.dumps(among)))
    return Sample(
        row.text("question"), (image,), row.text("answer"), (), category, name,
        groups=tuple(groups),
    )  # fmt: skip


def _balanced(row: Row) -> bool:
    if not isinstance(told := row["isBalanced"], bool):
        raise DataError(f"{row.where}: isBalanced is {told!r:.60}; it should be true or false")
    return told


def _names(row: Row) -> list[str]:
    """The ids of questions that follow; the hub writes the list as a text."""
    told = row["entailed"]
    if isinstance(told, str):
        try:
            told = ast.literal_eval(told)
        except (ValueError, SyntaxError):
            told = None
    return Row(row.where, {"entailed": told}).texts("entailed")


GQA = Benchmark(
    name="gqa",
    title="GQA",
    origin=ORIGIN,
    read=read,
    splits=("testdev_balanced", "val_balanced", "testdev_all", "val_all"),
    marks=("*_balanced_questions.json", "testdev_balanced_instructions*"),
    prompts={
        "llava": Prompt("{question}\nAnswer the question using a single word or phrase."),
        "bare": Prompt(),
    },
    grader="exact",
    metrics=("balanced_accuracy", "accuracy", "consistency", "validity", "plausibility"),
    by=("structural", "semantic", "balanced"),
    submission=Submission("questionId", "prediction", plain=True),
    hub="lmms-lab/GQA",
    files=("{split}_instructions/*.parquet", "{split}_images/*.parquet"),
    licence="CC BY 4.0",
)
