"""VQAv2: open questions, ten people's answers. Goyal et al. 2017, arXiv:1612.00837."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt, Submission
from vlmlens.datasets.reading import Row, keyed, lookup, only, rows
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample

ORIGIN = (
    "the hub, lmms-lab/VQAv2 (data/SPLIT-*.parquet), or visualqa.org (v2_OpenEnded_mscoco_*, "
    "v2_mscoco_*_annotations.json) with COCO's images"
)
#: Our name of a split -> what the hub's files and COCO's pictures are called by.
SPLITS = {
    "validation": ("validation", "val2014"),
    "testdev": ("testdev", "test2015"),
    "test": ("test", "test2015"),
}


def read(folder: Path, split: str) -> list[Sample]:
    """The hub's parquet files, or the original questions and annotations with COCO's images."""
    hub, coco = SPLITS[split]
    pattern = f"{hub}-*.parquet"
    if found := sorted([*folder.glob(pattern), *folder.glob(f"data/{pattern}")]):
        return [_sample(row, row["image"], row) for path in found for row in rows(path)]
    name = "test-dev2015" if split == "testdev" else coco
    asked = only(VQA_V2.table(folder, f"v2_OpenEnded_mscoco_{name}_questions.json"))
    told: dict[str, Row] = {}
    if split == "validation":
        answers = only(VQA_V2.table(folder, f"v2_mscoco_{name}_annotations.json"))
        told = keyed(answers.rows("annotations", "answer"), "question_id")
    made = []
    for row in asked.rows("questions", "question"):
        file = f"COCO_{coco}_{int(row.text('image_id')):012d}.jpg"
        image = lookup(file, folder, (coco, f"images/{coco}", "images", ""), ORIGIN, row.where)
        asked_of = row.text("question_id")
        if split == "validation" and asked_of not in told:
            raise DataError(f"{row.where}: the annotations hold no question {asked_of}")
        made.append(_sample(row, image, told.get(asked_of, Row(row.where, {}))))
    return made


def _sample(row: Row, image: Picture, told: Row) -> Sample:
    answers = told.get("answers") or []
    if not isinstance(answers, list) or not all(
        isinstance(a, dict) and isinstance(a.get("answer"), str) for a in answers
    ):
        raise DataError(f"{row.where}: answers is {answers!r:.60}; each should have an 'answer'")
    kind, first = told.text("answer_type", ""), told.text("question_type", "")
    return Sample(
        row.text("question"),
        (image,),
        told.text("multiple_choice_answer", "") or None,
        (),
        kind,
        row.text("question_id"),
        references=tuple(a["answer"] for a in answers),
        groups=(("question_type", first), ("image", row.text("image_id"))),
    )


VQA_V2 = Benchmark(
    name="vqa-v2",
    title="VQAv2",
    origin=ORIGIN,
    read=read,
    splits=tuple(SPLITS),
    marks=("v2_OpenEnded_mscoco_*_questions.json",),
    prompts={
        "llava": Prompt("{question}\nAnswer the question using a single word or phrase."),
        "bare": Prompt(),
    },
    grader="vqa",
    metrics=("soft_accuracy",),
    by=("category",),  # yes or no, number, other
    submission=Submission("question_id", "answer", numbered=True),
    hub="lmms-lab/VQAv2",
    files=("data/{split}-*.parquet",),
    licence="CC BY 4.0",
)
