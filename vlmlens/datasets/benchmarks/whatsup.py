"""What'sUp: one thing on, under or beside another. Kamath et al. 2023, arXiv:2310.19785."""

import re
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.mmvp import LETTER
from vlmlens.datasets.benchmarks.source import Source
from vlmlens.datasets.benchmarks.where import where
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.datasets.reading.decoded import decoded
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample

ORIGIN = (
    "github.com/amitakamath/whatsup_vlms (its Google Drive), or the hub, ServiceNow/whatsup_all "
    "(data/*.parquet), a copy"
)
#: Our name of a split -> its file.
FILES = {
    "a": "controlled_images_dataset.json",
    "b": "controlled_clevr_dataset.json",
    "coco-one": "coco_qa_one_obj.json",
    "coco-two": "coco_qa_two_obj.json",
    "vg-one": "vg_qa_one_obj.json",
    "vg-two": "vg_qa_two_obj.json",
}
#: Our name of a split -> what the hub's copy calls it.
HUB = {
    "a": "Controlled_Images_A",
    "b": "Controlled_Images_B",
    "coco-one": "COCO_QA_one_obj",
    "coco-two": "COCO_QA_two_obj",
    "vg-one": "VG_QA_one_obj",
    "vg-two": "VG_QA_two_obj",
}
RELATIONS = ("left_of", "right_of", "in-front_of", "behind", "under", "on")
#: Relations that only order tells apart: pairs are scored together.
OPPOSITES = {
    "left_of": "left or right",
    "right_of": "left or right",
    "on": "on or under",
    "under": "on or under",
    "in-front_of": "in front or behind",
    "behind": "in front or behind",
}
NAME = re.compile(rf"(.+)_({'|'.join(RELATIONS)})_(.+)")
#: The same in a caption, whose file the hub's copy does not name.
SAID = {
    "left_of": "to the left of",
    "right_of": "to the right of",
    "in-front_of": "in[ -]front of",
    "behind": "behind",
    "under": "under",
    "on": "on",
}
CAPTION = {
    relation: re.compile(rf"(?:an? )?(.+?) {words} (?:an? )?(.+?)\.?", re.IGNORECASE)
    for relation, words in SAID.items()
}


def read(folder: Path, split: str) -> list[Sample]:
    """One of the six files; its captions shuffled, since the right one always comes first.

    The order is drawn by the sample's id, the same everywhere. The hub's copy is read where it
    is; its rows have no names, so their ids, and these orders, are others.
    """
    if shards := sorted(folder.glob(f"data/{HUB[split]}-*.parquet")):
        copied = [row for shard in shards for row in rows(shard)]
        return [_copied(row, split, number) for number, row in enumerate(copied)]
    table = WHATSUP.table(folder, FILES[split], f"data/{FILES[split]}")
    if split in ("a", "b"):
        return [_controlled(row, folder) for row in rows(table)]
    place = "val2017" if split.startswith("coco") else "vg_images"
    return [
        _found(row, folder, place, f"{split}-{number}") for number, row in enumerate(_lists(table))
    ]


def _controlled(row: Row, folder: Path) -> Sample:
    path = row.text("image_path")
    where = lookup(path, folder, ("", ".."), ORIGIN, row.where)
    stem = PurePosixPath(path).stem
    if (parts := NAME.fullmatch(stem)) is None:
        raise DataError(f"{row.where}: {stem} names no relation of {', '.join(RELATIONS)}")
    one, relation, other = parts.groups()
    captions = _four(row)
    return _asked(captions, where, relation, stem, _groups(one, other, relation), row.where)


def _copied(row: Row, split: str, number: int) -> Sample:
    """A row of the hub's copy: where two things are is told by the right caption alone."""
    image, captions = row["image_options"], row.texts("caption_options")
    name = f"{split}-{number}"
    if split not in ("a", "b"):
        return _asked(captions, image, "", name, (), row.where)
    right = _four(row)[0]
    told = [(relation, each.fullmatch(right)) for relation, each in CAPTION.items()]
    relation, parts = next(((each, m) for each, m in told if m), ("", None))
    if parts is None:
        raise DataError(f"{row.where}: {right!r:.60} names no relation of {', '.join(RELATIONS)}")
    groups = _groups(parts[1], parts[2], relation)
    return _asked(captions, image, relation, name, groups, row.where)


def _four(row: Row) -> list[str]:
    """The captions of a controlled picture: the right one, and three that are wrong."""
    captions = row.texts("caption_options")
    if len(captions) != 4:
        raise DataError(f"{row.where} has {len(captions)} captions; one of four should be right")
    return captions


def _groups(one: str, other: str, relation: str) -> tuple[tuple[str, str], ...]:
    scene = f"{one}|{other}"
    return (
        ("set", scene),
        ("pair", f"{scene}|{OPPOSITES[relation]}"),
        ("relation", relation),
    )


def _found(row: Row, folder: Path, place: str, name: str) -> Sample:
    number, *captions = row["row"]
    if not str(number).isdecimal():
        raise DataError(f"{row.where}: the image is {number!r:.60}; it should be a number")
    file = f"{int(number):012d}.jpg" if place == "val2017" else f"{number}.jpg"
    image = lookup(f"{place}/{file}", folder, ("", "data"), ORIGIN, row.where)
    return _asked(captions, image, "", name, (("image", file),), row.where)


def _asked(
    captions: object,
    image: Picture,
    category: str,
    name: str,
    groups: tuple[tuple[str, str], ...],
    where: str,
) -> Sample:
    if (
        not isinstance(captions, list)
        or not captions
        or not all(isinstance(c, str) for c in captions)
    ):
        raise DataError(f"{where}: the captions are {captions!r:.60}; they should be texts")
    order = np.random.default_rng(zlib.crc32(name.encode())).permutation(len(captions))
    choices = tuple(captions[i] for i in order)
    question = "Which caption describes the image?"
    return Sample(question, (image,), captions[0], choices, category, name, groups=groups)


def _lists(table: Path) -> list[Row]:
    import json

    try:
        found = json.loads(decoded(table))
    except (ValueError, RecursionError) as error:
        raise DataError(f"cannot read {table}: {error}") from error
    if not isinstance(found, list) or not all(isinstance(r, list) and len(r) == 3 for r in found):
        raise DataError(f"{table} is no list of an image's number, a right and a wrong caption")
    return [Row(f"{table}, row {number}", {"row": row}) for number, row in enumerate(found)]


WHATSUP = Benchmark(
    name="whatsup",
    title="What'sUp",
    origin=ORIGIN,
    read=read,
    splits=tuple(FILES),
    marks=tuple(FILES.values()) + tuple(f"data/{name}" for name in FILES.values()),
    prompts={
        "letters": Prompt("{question}\n{options}\n" + LETTER, answer="{letter}"),
        "where": Prompt(reworded=where),
        "captions": Prompt("Describe where things are in the image in one sentence."),
    },
    grader="letter",
    metrics=("accuracy", "pair_accuracy", "set_accuracy"),
    unit="set",
    by=("relation",),
    sources={
        split: Source("ServiceNow/whatsup_all", (f"data/{name}-*.parquet",))
        for split, name in HUB.items()
    },
    licence="MIT (code)",
)
