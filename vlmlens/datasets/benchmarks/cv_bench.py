"""CV-Bench: counting, relation, depth, distance. Tong et al. 2024, arXiv:2406.16860."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import chosen
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.sample import Sample

ORIGIN = (
    "the hub, nyu-visionx/CV-Bench (test_2d.parquet and test_3d.parquet; or the .jsonl files, with "
    "the folder img that its build_img.py makes)"
)
OWN = "{question} Select from the following choices.\n{options}"
NOTE = (
    "Note: You only need to respond with {letters} without providing any additional "
    "information.\n\n"
)


def _bracketed(text: str) -> Prompt:
    return Prompt(text, option="({letter}) {text}", answer="({letter})")


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files, or its JSON lines with the pictures beside them."""
    found = []
    for part in ("2d", "3d") if split == "all" else (split.lower(),):
        name = f"test_{part}"
        table = CV_BENCH.table(folder, f"{name}.parquet", f"*/{name}.parquet", f"{name}.jsonl")
        found += [_sample(row, folder) for row in rows(table)]
    return found


def _sample(row: Row, folder: Path) -> Sample:
    choices = row.texts("choices")
    name = row.text("filename")
    image = row.get("image") or lookup(name, folder, ("", "img"), ORIGIN, row.where)
    return Sample(
        row.text("question"),
        (image,),
        chosen(row.text("answer"), tuple(choices), row.where),
        tuple(choices),
        row.text("task"),
        f"{row.text('type')}-{row.text('idx')}",
        groups=(
            ("type", row.text("type")),
            ("task", row.text("task")),
            ("source", row.text("source")),
            ("image", row.text("source_filename", name)),
        ),
    )


CV_BENCH = Benchmark(
    name="cv-bench",
    title="CV-Bench",
    origin=ORIGIN,
    read=read,
    splits=("all", "2D", "3D"),
    marks=("test_[23]d.parquet", "test_[23]d.jsonl"),
    prompts={
        "own": _bracketed(OWN),
        "lmms-eval": _bracketed(NOTE.format(letters="A, B, ...") + OWN),
        "paper": _bracketed(
            OWN + " \nPlease answer based on the choices given above. "
            'For example, "A", "B", "C", "D", or "E".'
        ),
    },
    grader="letter",
    by=("task", "source"),
    metrics=("source_mean", "accuracy_2d", "accuracy_3d", "accuracy"),
    hub="nyu-visionx/CV-Bench",
    files=("test_2d.parquet", "test_3d.parquet"),
    licence="Apache-2.0",
)
