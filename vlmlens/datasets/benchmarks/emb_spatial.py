"""EmbSpatial-Bench: relations seen from where one stands. Du et al. 2024, arXiv:2406.05756."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.cv_bench import NOTE
from vlmlens.datasets.reading import Base64, Row, rows
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files, or the original JSON file with its pictures in base64."""
    tables = EMB_SPATIAL.tables(
        folder, "test-*.parquet", "data/test-*.parquet", "embspatial_bench.json", "*.json"
    )
    return [_sample(row) for table in tables for row in rows(table)]


def _sample(row: Row) -> Sample:
    choices, answer = tuple(row.texts("answer_options")), row["answer"]
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise DataError(f"{row.where}: the answer {answer!r} is no place among {choices}")
    return Sample(
        row.text("question"),
        (_image(row),),
        choices[answer],
        choices,
        row.text("relation"),
        row.text("question_id"),
        groups=(("relation", row.text("relation")), ("source", row.text("data_source"))),
    )


def _image(row: Row) -> Picture:
    image = row["image"]
    return Base64(image, row.where) if isinstance(image, str) else image


EMB_SPATIAL = Benchmark(
    name="emb-spatial",
    title="EmbSpatial-Bench",
    origin="the hub, FlagEval/EmbSpatial-Bench or Phineas476/EmbSpatial-Bench",
    read=read,
    splits=("test",),
    marks=("embspatial_bench.json",),
    prompts={
        "letters": Prompt(
            NOTE.format(letters="A, B, C, D") + "{question}\n{options}",
            option="{letter}) {text}",
            answer="{letter}",
        ),
    },
    grader="letter",
    metrics=("accuracy",),
    by=("source", "relation"),
    hub="FlagEval/EmbSpatial-Bench",
    files=("data/test-*.parquet",),
    licence="CC BY 4.0",
)
