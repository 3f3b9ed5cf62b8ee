"""RealWorldQA: photographs, many from vehicles. xAI 2024."""

from pathlib import Path
from string import ascii_uppercase

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import options
from vlmlens.datasets.reading import rows
from vlmlens.sample import Sample


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files. Questions hold their options and how to answer."""
    found = []
    for path in REAL_WORLD_QA.tables(folder, "test-*.parquet", "data/test-*.parquet"):
        for row in rows(path):
            text, answer = row.text("question"), row.text("answer").strip()
            _, texts = options(text)
            letters = tuple(ascii_uppercase[: len(texts)])
            lettered = answer in letters
            found.append(
                Sample(
                    text,
                    (row["image"],),
                    answer,
                    letters if lettered else (),
                    "letter" if lettered else "free",
                    str(len(found)),
                    options=texts if lettered else (),
                )
            )
    return found


REAL_WORLD_QA = Benchmark(
    name="real-world-qa",
    title="RealWorldQA",
    origin="the hub, lmms-lab/RealWorldQA (data/test-*.parquet)",
    read=read,
    splits=("test",),
    marks=(),  # its files are called as everybody's are
    prompts={"bare": Prompt()},
    grader="letter",
    metrics=("accuracy",),
    hub="lmms-lab/RealWorldQA",
    files=("data/test-*.parquet",),
    licence="CC BY-ND 4.0",
)
