"""2DS: where coloured shapes are. Published as user074/2DSyntheticDataset."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.reading import rows
from vlmlens.datasets.shapes.parquet import IMAGE, questions
from vlmlens.errors import DataError
from vlmlens.sample import Sample


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files: a row is a picture with several questions."""
    found: list[Sample] = []
    for path in TWO_DS.tables(folder, f"data/{split}-*.parquet", f"{split}-*.parquet"):
        for row in rows(path):
            groups = (
                ("test_category", row.text("test_category", "")),
                ("image", row.text("entry_id")),
            )
            found += questions(row, row.text("entry_id"), (row[IMAGE],), groups)
    names = [sample.id for sample in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{folder} has the entry_id of {twice!r} twice; ids must differ")
    return found


TWO_DS = Benchmark(
    name="2ds",
    title="2DS",
    origin="the hub, user074/2DSyntheticDataset (data/train-*.parquet)",
    read=read,
    splits=("train",),
    marks=(),  # its files are called as everybody's are
    prompts={"bare": Prompt()},
    grader="contains",  # its authors ask another model: vlmlens.graders.judge
    hub="user074/2DSyntheticDataset",
    files=("data/{split}-*.parquet",),
    metrics=("accuracy",),
    by=("category", "test_category"),
)
