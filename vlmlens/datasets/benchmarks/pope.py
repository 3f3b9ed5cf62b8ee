"""POPE: is there such a thing in the image? Li et al. 2023, arXiv:2305.10355."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.reading import lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

CATEGORIES = ("random", "popular", "adversarial")
#: Where the hub has them: all together, or in the configuration ``Full`` a file a category.
HUB = ("test-*.parquet", "data/test-*.parquet", "Full/*.parquet", "*.parquet")
COCO = "COCO's val2014 images (cocodataset.org)"


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files, or the original files of JSON lines with COCO's images beside."""
    wanted = CATEGORIES if split == "all" else (split,)
    if any(folder.rglob("*.parquet")):
        found = [
            Sample(
                row.text("question"),
                (row["image"],),
                _label(row.text("answer"), row.where),
                ("yes", "no"),
                row.text("category"),
                f"{row.text('category')}-{row.text('question_id')}",
                groups=(("image", row.text("image_source")),),
            )
            for path in POPE.tables(folder, *HUB)
            for row in rows(path)
        ]
        return [sample for sample in found if sample.category in wanted]
    return [sample for category in wanted for sample in _original(folder, category)]


def _original(folder: Path, category: str) -> list[Sample]:
    name = f"*_pope_{category}.json*"
    table = POPE.table(folder, name, f"coco/{name}", f"output/coco/{name}")
    below = ("", "val2014", "images", "images/val2014")
    return [
        Sample(
            row.text("text"),
            (lookup(row.text("image"), folder, below, COCO, row.where),),
            _label(row.text("label"), row.where),
            ("yes", "no"),
            category,
            f"{category}-{row.text('question_id')}",
            groups=(("image", row.text("image")),),
        )
        for row in rows(table)
    ]


def _label(text: str, where: str) -> str:
    if text.lower() not in ("yes", "no"):
        raise DataError(f"{where}: the label is {text!r}, not yes or no")
    return text.lower()


POPE = Benchmark(
    name="pope",
    title="POPE",
    origin="the hub, lmms-lab/POPE (data/test-*.parquet), or github.com/AoiDragon/POPE "
    "(output/coco/coco_pope_*.json)",
    read=read,
    splits=("all", *CATEGORIES),
    marks=("*_pope_*.json", "coco/*_pope_*.json", "output/coco/*_pope_*.json"),
    prompts={
        "lmms-eval": Prompt("{question}\nAnswer the question using a single word or phrase."),
        "vlmevalkit": Prompt(),
        "paper": Prompt(
            '{question} \nPlease answer either "yes" or "no". For example, "yes".',
        ),
    },
    grader="yes_no",
    metrics=("accuracy", "precision", "recall", "f1", "yes_ratio", "f1_mean"),
    hub="lmms-lab/POPE",
    files=("data/test-*.parquet",),
    licence="MIT (questions); COCO's (images)",
)
