"""COCO captions: five for each photograph. Chen et al. 2015, arXiv:1504.00325."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.source import Source
from vlmlens.datasets.reading import Row, keyed, lookup, only, rows
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample

ORIGIN = (
    "the hub, lmms-lab/COCO-Caption2017 or lmms-lab/COCO-Caption (data/val-*.parquet, in a folder "
    "val2017 or val2014), or cocodataset.org (annotations/captions_SPLIT.json and the images of "
    "that split)"
)


#: Splits that the hub has, with their captions: one a repository, of files that are called alike.
HUB = {"val2017": "lmms-lab/COCO-Caption2017", "val2014": "lmms-lab/COCO-Caption"}


def read(folder: Path, split: str) -> list[Sample]:
    """One sample an image, in the order of the file; its captions are the references.

    The original annotations with their images, or the hub's parquet files.
    """
    shards = sorted(folder.glob(f"{split}/data/val-*.parquet")) if split in HUB else []
    if shards:
        return [_of_hub(row, split) for shard in shards for row in rows(shard)]
    name = f"captions_{split}.json"
    whole = only(COCO_CAPTIONS.table(folder, name, f"annotations/{name}"))
    said: dict[str, list[str]] = {}
    for each in whole.rows("annotations", "caption"):
        said.setdefault(each.text("image_id"), []).append(each.text("caption").strip())
    images = keyed(whole.rows("images", "image"), "id")
    if unknown := [name for name in said if name not in images]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise DataError(
            f"{whole.where} has captions of {', '.join(unknown[:5])}{more}, which are none of its "
            "images; is it cut short, or of two splits?"
        )
    found = []
    for name, each in images.items():
        if name not in said:
            raise DataError(f"{each.where} has no caption")
        image = lookup(each.text("file_name"), folder, (split, "images", ""), ORIGIN, each.where)
        found.append(_sample(image, name, said[name]))
    return found


def _of_hub(row: Row, split: str) -> Sample:
    """The file's name is the ``question_id`` there; ``id`` and ``file_name`` tell nothing."""
    file, captions = row.text("question_id"), row.texts("answer")
    number = Path(file).stem.rpartition("_")[2]
    if not number.isdecimal() or ("val2014" in file) != (split == "val2014"):
        raise DataError(f"{row.where}: question_id is {file!r:.60}; it should name one of {split}")
    if not captions:
        raise DataError(f"{row.where} has no caption")
    return _sample(row["image"], str(int(number)), [each.strip() for each in captions])


def _sample(image: Picture, name: str, captions: list[str]) -> Sample:
    return Sample("Describe the image.", (image,), id=name, references=tuple(captions))


COCO_CAPTIONS = Benchmark(
    name="coco-captions",
    title="COCO captions",
    origin=ORIGIN,
    read=read,
    splits=("val2017", "val2014", "train2017", "train2014"),
    marks=("captions_*20*.json", "annotations/captions_*20*.json"),
    prompts={
        "bare": Prompt(),
        "lmms-eval": Prompt("Provide a one-sentence caption for the provided image."),
    },
    grader="none",
    metrics=(),
    sources={split: Source(repo, ("data/val-*.parquet",), split) for split, repo in HUB.items()},
    licence="CC BY 4.0 (captions)",
)
