"""GQA: compositional questions about scenes. Hudson and Manning 2019, arXiv:1902.09506."""

from pathlib import Path
from typing import Any

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt, Submission
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample

ORIGIN = (
    "the hub, lmms-lab/GQA (testdev_balanced_instructions and testdev_balanced_images), or "
    "cs.stanford.edu/people/dorarad/gqa (testdev_balanced_questions.json and images/)"
)


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's two parquet files, joined, or the original questions with images beside them."""
    below = f"{split}_instructions"
    if tables := sorted([*folder.glob(f"{below}/*.parquet"), *folder.glob(f"{below}*.parquet")]):
        kept = f"{split}_images"
        images: dict[str, Picture] = {
            row.text("id"): row["image"]
            for path in GQA.tables(folder, f"{kept}/*.parquet", f"{kept}*.parquet")
            for row in rows(path)
        }
        found = []
        for row in (row for path in tables for row in rows(path)):
            image = row.text("imageId")
            if image not in images:
                raise DataError(f"{row.where}: there is no image {image} in {kept}")
            found.append(_sample(row, images[image]))
        return found
    name = f"{split}_questions.json"
    return [
        _sample(
            row, lookup(f"{row.text('imageId')}.jpg", folder, ("images", ""), ORIGIN, row.where)
        )
        for row in rows(GQA.table(folder, name, f"questions/{name}"))
    ]


def _sample(row: Row, image: Picture) -> Sample:
    types: Any = row["types"]
    if not isinstance(types, dict) or not {"structural", "semantic"} <= set(types):
        raise DataError(f"{row.where}: types is {types!r:.60}, without structural and semantic")
    groups = (
        ("structural", str(types["structural"])),
        ("semantic", str(types["semantic"])),
        ("image", row.text("imageId")),
    )
    category = str(types["semantic"])
    return Sample(
        row.text("question"), (image,), row.text("answer"), (), category, row.text("id"),
        groups=groups,
    )  # fmt: skip


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
    metrics=("accuracy",),
    by=("structural", "semantic"),
    submission=Submission("questionId", "prediction", plain=True),
    hub="lmms-lab/GQA",
    files=("{split}_instructions/*.parquet", "{split}_images/*.parquet"),
    licence="CC BY 4.0",
)
