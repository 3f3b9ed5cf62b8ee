"""VSR: is a statement about a spatial relation true? Liu et al. 2023, arXiv:2205.00363."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.reading import lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

ORIGIN = (
    "the hub, cambridgeltl/vsr_random or cambridgeltl/vsr_zeroshot (train.jsonl, dev.jsonl, "
    "test.jsonl), with COCO's train2017 and val2017 images"
)


def read(folder: Path, split: str) -> list[Sample]:
    """A file of JSON lines, with COCO's images beside it."""
    below = ("", "images", "train2017", "val2017", "images/train2017", "images/val2017")
    found = []
    for number, row in enumerate(rows(VSR.table(folder, f"{split}.jsonl", f"*/{split}.jsonl"))):
        if row["label"] not in (0, 1):
            raise DataError(f"{row.where}: the label is {row['label']!r}, not 0 or 1")
        image = row.text("image")
        found.append(
            Sample(
                row.text("caption"),
                (lookup(image, folder, below, ORIGIN, row.where),),
                ("false", "true")[int(row["label"])],
                ("true", "false"),
                row.text("relation"),
                f"{split}-{number}",
                groups=(("relation", row.text("relation")), ("image", image)),
            )
        )
    return found


VSR = Benchmark(
    name="vsr",
    title="VSR",
    origin=ORIGIN,
    read=read,
    splits=("test", "dev", "train"),
    marks=(),  # test.jsonl may be anybody's
    prompts={
        "statement": Prompt(
            'Based on the image, is this statement true or false? "{question}" Answer:'
        ),
        "yes-no": Prompt(
            'Is this statement about the image true? "{question}" Answer yes or no.',
            says=(("true", "yes"), ("false", "no")),
        ),
    },
    grader="yes_no",
    metrics=("accuracy",),
    licence="CC BY 4.0",
)
