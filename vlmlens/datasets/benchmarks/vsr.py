"""VSR: is a statement about a spatial relation true? Liu et al. 2023, arXiv:2205.00363."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.source import Source, links
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

ORIGIN = (
    "the hub, cambridgeltl/vsr_zeroshot and cambridgeltl/vsr_random (train.jsonl, dev.jsonl, "
    "test.jsonl), with COCO's train2017 and val2017 images"
)
#: The authors' seven kinds of relations (analysis_scripts/rel_meta_category_dict.txt).
RELATIONS = {
    "Adjacency": "adjacent to, alongside, at the side of, at the right side of, at the left side "
    "of, attached to, at the back of, ahead of, against, at the edge of",
    "Directional": "off, past, toward, down, deep down, up, away from, along, around, from, into, "
    "to, across, across from, through, down from",
    "Orientation": "facing, facing away from, parallel to, perpendicular to",
    "Projective": "on top of, beneath, beside, behind, left of, right of, under, in front of, "
    "below, above, over, in the middle of",
    "Proximity": "by, close to, near, far from, far away from",
    "Topological": "connected to, detached from, has as a part, part of, contains, within, at, on, "
    "in, with, surrounding, among, consists of, out of, between, inside, outside, touching",
    "Unallocated": "beyond, next to, opposite to, after, among, enclosed by",
}
#: Of a relation that stands twice the later one counts, as in the authors' script.
META = {each: meta for meta, listed in RELATIONS.items() for each in listed.split(", ")}
#: What only the lines of a family have.
MARKS = {"zeroshot": "subj", "random": "reference_frame"}


def read(folder: Path, split: str) -> list[Sample]:
    """A file of JSON lines, with COCO's images beside it.

    A sample's category is the kind of its relation; a relation of no kind has none.
    """
    family, part = split.split("-")
    file = f"{part}.jsonl"
    table = VSR.table(folder, f"{family}/{file}", f"vsr_{family}/{file}", file)
    places = [f"{at}{images}" for at in (f"{family}/", "") for images in ("train2017", "val2017")]
    below = (*places, "images", "", "images/train2017", "images/val2017")
    return [
        _sample(row, folder, below, f"{split}-{number}", family)
        for number, row in enumerate(rows(table))
    ]


def _sample(row: Row, folder: Path, below: tuple[str, ...], name: str, family: str) -> Sample:
    for other, mark in MARKS.items():
        if other != family and mark in row.cells:
            raise DataError(
                f"{row.where} is of the {other} split, having {mark}, and the {family} one was "
                f"asked for; keep its files in {folder / family}"
            )
    label = row["label"]
    if label not in (0, 1) or isinstance(label, bool):
        raise DataError(f"{row.where}: the label is {label!r:.60}, not 0 or 1")
    image, relation = row.text("image"), row.text("relation")
    return Sample(
        row.text("caption"),
        (lookup(image, folder, below, ORIGIN, row.where),),
        ("false", "true")[int(label)],
        ("true", "false"),
        META.get(relation, ""),
        name,
        groups=(("relation", relation), ("image", image)),
    )


def _source(family: str, part: str) -> Source:
    file = f"{part}.jsonl"
    pictures = links(file, "image_link", "image")
    return Source(f"cambridgeltl/vsr_{family}", (file,), family, pictures)


VSR = Benchmark(
    name="vsr",
    title="VSR",
    origin=ORIGIN,
    read=read,
    splits=tuple(f"{family}-{part}" for family in MARKS for part in ("test", "dev", "train")),
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
    by=("category", "relation"),
    sources={
        f"{family}-{part}": _source(family, part)
        for family in MARKS
        for part in ("test", "dev", "train")
    },
    licence="CC BY 4.0",
)
