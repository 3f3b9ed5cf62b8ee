"""BLINK: what people see at a glance. Fu et al. 2024, arXiv:2404.12390."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import chosen
from vlmlens.datasets.reading import Row, rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

CONFIGS = (
    "Spatial_Relation",
    "Relative_Depth",
    "Object_Localization",
    "Counting",
    "Multi-view_Reasoning",
    "Visual_Correspondence",
    "Semantic_Correspondence",
    "Functional_Correspondence",
    "Visual_Similarity",
    "Relative_Reflectance",
    "Jigsaw",
    "IQ_Test",
    "Art_Style",
    "Forensic_Detection",
)
IMAGES = ("image_1", "image_2", "image_3", "image_4")


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files, a folder a configuration; ``val``, since answers of test are hidden.

    The split is a configuration's name, or ``all`` of those that are there.
    """
    wanted = CONFIGS if split == "all" else (split,)
    found = []
    for config in wanted:
        pattern = f"{config}/val-*.parquet"
        if split == "all" and not any(folder.glob(pattern)):
            continue
        found += [
            _sample(row, config) for path in BLINK.tables(folder, pattern) for row in rows(path)
        ]
    if not found:
        BLINK.tables(folder, *(f"{config}/val-*.parquet" for config in wanted))
    return found


def _sample(row: Row, config: str) -> Sample:
    images = tuple(row[name] for name in IMAGES if row.get(name) is not None)
    if not images:
        raise DataError(f"{row.where} holds no image")
    choices = tuple(row.texts("choices"))
    answer = row.text("answer")
    right = None if answer == "hidden" else chosen(answer, choices, row.where)
    return Sample(
        row.text("question"), images, right, choices, config, row.text("idx"),
        groups=(("config", config),),
    )  # fmt: skip


BLINK = Benchmark(
    name="blink",
    title="BLINK",
    origin="the hub, BLINK-Benchmark/BLINK (CONFIG/val-*.parquet)",
    read=read,
    splits=("all", *CONFIGS),
    marks=tuple(f"{config}/val-*.parquet" for config in CONFIGS),
    prompts={
        "own": Prompt(
            "{question}\nSelect from the following choices.\n{options}",
            option="({letter}) {text}",
            answer="({letter})",
        ),
    },
    grader="letter",
    metrics=("config_mean", "accuracy"),
    by=("config",),
    hub="BLINK-Benchmark/BLINK",
    files=("{split}/val-*.parquet",),
    licence="Apache-2.0",
)
