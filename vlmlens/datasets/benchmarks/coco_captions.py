"""COCO captions: five for each photograph. Chen et al. 2015, arXiv:1504.00325."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.reading import lookup, only
from vlmlens.errors import DataError
from vlmlens.sample import Sample

ORIGIN = "cocodataset.org (annotations/captions_SPLIT.json and the images of that split)"


def read(folder: Path, split: str) -> list[Sample]:
    """One sample an image, in the order of the file; its captions are the references."""
    name = f"captions_{split}.json"
    whole = only(COCO_CAPTIONS.table(folder, name, f"annotations/{name}"))
    said: dict[str, list[str]] = {}
    for each in whole.rows("annotations", "caption"):
        said.setdefault(each.text("image_id"), []).append(each.text("caption").strip())
    found = []
    for each in whole.rows("images", "image"):
        name = each.text("id")
        if name not in said:
            raise DataError(f"{each.where} has no caption")
        image = lookup(each.text("file_name"), folder, (split, "images", ""), ORIGIN, each.where)
        captions = tuple(said[name])
        found.append(Sample("Describe the image.", (image,), id=name, references=captions))
    return found


COCO_CAPTIONS = Benchmark(
    name="coco-captions",
    title="COCO captions",
    origin=ORIGIN,
    read=read,
    splits=("val2017", "val2014", "train2017", "train2014"),
    marks=("captions_*20*.json", "annotations/captions_*20*.json"),
    prompts={"bare": Prompt()},
    grader="none",
    metrics=(),
    licence="CC BY 4.0 (captions)",
)
