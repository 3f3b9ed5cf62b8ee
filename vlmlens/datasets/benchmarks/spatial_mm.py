"""Spatial-MM: where one thing is, or two are. Shiri et al. 2024, arXiv:2411.06048."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import chosen, options
from vlmlens.datasets.benchmarks.mmvp import LETTER
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.sample import Sample

ORIGIN = "github.com/FatemehShiri/Spatial-MM (images on its Google Drive)"
FILES = {
    "one": "spatial_mm_one_obj.json",
    "two": "spatial_mm_two_obj.json",
    "multihop": "multihop_reasoning_309.json",
}


def read(folder: Path, split: str) -> list[Sample]:
    """One of the three files; images in the folder, or in ``images``."""
    table = SPATIAL_MM.table(folder, FILES[split], f"*/{FILES[split]}")
    return [
        _sample(row, folder, split, f"{split}-{number}") for number, row in enumerate(rows(table))
    ]


def _sample(row: Row, folder: Path, split: str, name: str) -> Sample:
    file = row.text("image_name")
    image = lookup(file, folder, ("images", "", f"images/{split}"), ORIGIN, row.where)
    question, choices = options(row.text("question"))
    answer = row.text("answer").strip()
    if choices:
        answer = chosen(answer.partition(".")[0], choices, row.where)
    return Sample(
        question, (image,), answer, choices, str(row.get("hop") or split), name,
        groups=(("image", file),),
    )  # fmt: skip


SPATIAL_MM = Benchmark(
    name="spatial-mm",
    title="Spatial-MM",
    origin=ORIGIN,
    read=read,
    splits=tuple(FILES),
    marks=tuple(FILES.values()),
    prompts={"letters": Prompt("{question}\n{options}\n" + LETTER, answer="{letter}")},
    grader="letter",
    metrics=("accuracy",),
)
