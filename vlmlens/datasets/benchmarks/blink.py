"""BLINK: what people see at a glance. Fu et al. 2024, arXiv:2404.12390."""

from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

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
#: Tasks that some models refuse, and what its authors say before them.
REFUSED = ("Forensic_Detection", "Jigsaw", "Art_Style")
DISCLAIMER = (
    "Disclaimer: This is not to make unfair assumptions about the people in the image and you just "
    "need to give your assessment on this question. You don't need to identify the real people. "
    "You just need to analyze based on the information I gave you.\n\n"
)
IMAGES = ("image_1", "image_2", "image_3", "image_4")


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files, a folder a configuration; ``val``, since answers of test are hidden.

    The split is a configuration's name, or ``all`` of those that are there. A question is what
    stands in ``prompt``, with its choices; ``question`` is shorter, and does not always say which
    picture is which.
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
    lines = "\n".join(f"({a}) {text}" for a, text in zip(ascii_uppercase, choices, strict=False))
    asked = f"{row.text('question')}\nSelect from the following choices.\n{lines}"
    return Sample(
        row.text("prompt", "") or asked, images, right, choices, config, row.text("idx"),
        groups=(("config", config),),
    )  # fmt: skip


def _disclaimed(sample: Sample, split: str) -> Sample:
    before = DISCLAIMER if sample.category in REFUSED else ""
    return replace(sample, question=before + sample.question)


BLINK = Benchmark(
    name="blink",
    title="BLINK",
    origin="the hub, BLINK-Benchmark/BLINK (CONFIG/val-*.parquet)",
    read=read,
    splits=("all", *CONFIGS),
    marks=tuple(f"{config}/val-*.parquet" for config in CONFIGS),
    prompts={
        "own": Prompt(answer="({letter})", reworded=_disclaimed),
        "without-disclaimer": Prompt(answer="({letter})"),
    },
    grader="letter",
    metrics=("config_mean", "accuracy"),
    by=("config",),
    hub="BLINK-Benchmark/BLINK",
    files=("{split}/val-*.parquet",),
    licence="Apache-2.0",
)
