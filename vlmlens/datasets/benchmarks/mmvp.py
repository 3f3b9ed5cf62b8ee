"""MMVP: pairs of images that CLIP takes for the same. Tong et al. 2024, arXiv:2401.06209."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import chosen, options
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.datasets.reading.decoded import decoded
from vlmlens.errors import DataError
from vlmlens.sample import Picture, Sample

#: The rows whose answers were first published the wrong way round, and the right ones: whether an
#: elephant's tusks are long, whether somebody stands.
CORRECTED = {99: "b", 100: "a", 279: "b", 280: "a"}
LETTER = "Answer with the option's letter from the given choices directly."
#: What the columns of the copy in Parquet are called.
NUMBER, QUESTION, OPTIONS, RIGHT = "Index", "Question", "Options", "Correct Answer"


def read(folder: Path, split: str) -> list[Sample]:
    """The published folder, ``Questions.csv`` with ``MMVP Images``, or lmms-lab-eval's Parquet.

    Of either, the split ``original`` has the answers as they were first published, and
    ``corrected`` those of two pairs (rows 99 and 100, 279 and 280) the right way round.
    """
    shards = sorted([*folder.glob("data/train-*.parquet"), *folder.glob("train-*.parquet")])
    read_rows = _copied(shards) if shards else _published(folder)
    found: dict[int, Sample] = {}
    for number, row, image in read_rows:
        if number in found:
            raise DataError(f"{row.where} has the number {number} of another row; keep one of them")
        found[number] = _sample(number, row, image, split)
    for number, sample in found.items():
        other = found.get(number + (1 if number % 2 else -1))
        if other is None:
            raise DataError(f"{folder} has the row {number} and not the other of its pair")
        if other.answer == sample.answer:
            raise DataError(
                f"{folder}: both rows of the pair of {number} are answered {sample.answer!r}, and "
                "one picture of a pair shows what the other does not; correct one of them"
            )
    return list(found.values())


def _published(folder: Path) -> Iterator[tuple[int, Row, Picture]]:
    table = MMVP.table(folder, "Questions.csv")
    reader = csv.reader(StringIO(decoded(table), newline=""), strict=True)
    next(reader, None)  # the first heading has been seen as "Index" and as "lndex"
    for cells in reader:
        where = f"{table}, line {reader.line_num}"
        if len(cells) != 4 or not cells[0].strip().isdecimal():
            raise DataError(f"{where} is not: a number, a question, two options, an answer")
        number = int(cells[0])
        below = ("MMVP Images", "images", "")
        image = lookup(f"{number}.jpg", folder, below, MMVP.origin, where)
        names = (NUMBER, QUESTION, OPTIONS, RIGHT)
        yield number, Row(where, dict(zip(names, cells, strict=True))), image


def _copied(shards: list[Path]) -> Iterator[tuple[int, Row, Picture]]:
    for row in (row for shard in shards for row in rows(shard)):
        small = Row(row.where, {name.casefold(): cell for name, cell in row.cells.items()})
        names = (NUMBER, QUESTION, OPTIONS, RIGHT)
        number = small.text(NUMBER.casefold())
        if not number.isdecimal():
            raise DataError(f"{row.where}: {NUMBER} is {number!r:.60}, not a number")
        cells = {name: small[name.casefold()] for name in names}
        yield int(number), Row(row.where, cells), small["image"]


def _sample(number: int, row: Row, image: Picture, split: str) -> Sample:
    rest, choices = options(row.text(OPTIONS))
    if rest or len(choices) != 2:
        raise DataError(f"{row.where}: the options are {row[OPTIONS]!r}, not (a) ... (b) ...")
    letter = row.text(RIGHT)
    if number in CORRECTED:
        right = CORRECTED[number]
        letter = right if split == "corrected" else {"a": "b", "b": "a"}[right]
    return Sample(
        row.text(QUESTION).strip(),
        (image,),
        chosen(letter, choices, row.where),
        choices,
        "",
        str(number),
        groups=(("pair", str((number + 1) // 2)),),
    )


MMVP = Benchmark(
    name="mmvp",
    title="MMVP",
    origin="the hub, MMVP/MMVP (Questions.csv and the folder 'MMVP Images'), or "
    "lmms-lab-eval/MMVP (data/train-*.parquet)",
    read=read,
    splits=("original", "corrected"),
    marks=("MMVP Images/*.jpg",),
    prompts={
        "cambrian": Prompt("{question} Options:\n{options}\n" + LETTER, answer="{letter}"),
        "lmms-eval": Prompt("{question}\n{options}\n" + LETTER, answer="{letter}"),
        "original": Prompt(
            "{question} {options}",
            option="({letter}) {text}",
            between=" ",
            answer="({letter})",
            letters="abcdefgh",
        ),
    },
    grader="letter",
    metrics=("pair_accuracy", "accuracy"),
    unit="pair",
    hub="MMVP/MMVP",
    files=("Questions.csv", "MMVP Images/*.jpg"),
    licence="MIT",
)
