"""COCO captions: five for each photograph. Chen et al. 2015, arXiv:1504.00325."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.reading import lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

ORIGIN = "cocodataset.org (annotations/captions_SPLIT.json and the images of that split)"


def read(folder: Path, split: str) -> list[Sample]:
    """One sample an image, in the order of the file; its captions are the references."""
    name = f"captions_{split}.json"
    whole = next(rows(COCO_CAPTIONS.table(folder, name, f"annotations/{name}")))
    said: dict[int, list[str]] = {}
    for each in whole["annotations"]:
        said.setdefault(each["image_id"], []).append(each["caption"].strip())
    found = []
    for each in whole["images"]:
        where = f"{whole.where}, image {each['id']}"
        if each["id"] not in said:
            raise DataError(f"{where} has no caption")
        image = lookup(each["file_name"], folder, (split, "images", ""), ORIGIN, where)
        captions = tuple(said[each["id"]])
        found.append(
            Sample("Describe the image.", (image,), id=str(each["id"]), references=captions)
        )
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
