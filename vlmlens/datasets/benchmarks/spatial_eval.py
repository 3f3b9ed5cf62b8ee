"""SpatialEval: maps, mazes, grids and photographs. Wang et al. 2024, arXiv:2406.14852."""

from pathlib import Path
from string import ascii_uppercase

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import options
from vlmlens.datasets.reading import rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

LONG = (
    "{question}\nFirst, provide a concise answer in one sentence. Then, elaborate on the reasoning "
    "behind your answer in a detailed, step-by-step explanation."
)


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files of one mode: image alone, image and text, or text alone.

    A sample's category is its task (``spatialmap``, ``mazenav``, ``spatialgrid``,
    ``spatialreal``); the group ``question`` is which of the questions about one picture it is.
    """
    found = []
    for path in SPATIAL_EVAL.tables(folder, f"{split}/test-*.parquet", f"{split}/*.parquet"):
        for row in rows(path):
            task, _, instance, question = _name(row.text("id"), row.where)
            _, texts = options(row.text("text"))
            letter = row.text("oracle_option").strip().upper()
            count = max(len(texts), ascii_uppercase.find(letter) + 1)
            if len(letter) != 1 or not count:
                raise DataError(f"{row.where}: oracle_option is {letter!r}, not a letter")
            image = row.get("image")
            found.append(
                Sample(
                    row.text("text"),
                    () if image is None else (image,),
                    letter,
                    tuple(ascii_uppercase[: max(count, 4)]),
                    task,
                    row.text("id"),
                    options=texts,
                    references=(row.text("oracle_answer"),),
                    groups=(("question", question), ("instance", f"{task}-{instance}")),
                )
            )
    return found


def _name(name: str, where: str) -> list[str]:
    parts = name.split(".")
    if len(parts) != 4:
        raise DataError(f"{where}: the id {name!r} is not task.mode.instance.question")
    return parts


SPATIAL_EVAL = Benchmark(
    name="spatial-eval",
    title="SpatialEval",
    origin="the hub, MilaWang/SpatialEval (vqa/test-*.parquet, vtqa/..., tqa/...)",
    read=read,
    splits=("vqa", "vtqa", "tqa"),
    marks=("vqa/test-*.parquet", "vtqa/test-*.parquet", "tqa/test-*.parquet"),
    prompts={"bare": Prompt(), "own": Prompt(LONG)},
    grader="letter",
    hub="MilaWang/SpatialEval",
    files=("{split}/test-*.parquet",),
    metrics=("accuracy",),
)
