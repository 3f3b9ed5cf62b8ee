"""MMVP: pairs of images that CLIP takes for the same. Tong et al. 2024, arXiv:2401.06209."""

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.letters import chosen, options
from vlmlens.datasets.reading import lookup
from vlmlens.datasets.reading.decoded import decoded
from vlmlens.errors import DataError
from vlmlens.sample import Sample

#: Pairs of rows whose answers are swapped in the original file, and are not in later copies.
SWAPPED = ((99, 100), (279, 280))
LETTER = "Answer with the option's letter from the given choices directly."


def read(folder: Path, split: str) -> list[Sample]:
    """The published folder: ``Questions.csv`` and ``MMVP Images/1.jpg`` and so on.

    The split ``corrected`` swaps back the answers of two pairs (rows 99 and 100, 279 and 280)
    that are swapped in the original file, which ``original`` leaves as they are.
    """
    table = MMVP.table(folder, "Questions.csv")
    found: dict[int, Sample] = {}
    reader = csv.reader(StringIO(decoded(table), newline=""), strict=True)
    next(reader, None)  # the first heading has been seen as "Index" and as "lndex"
    for cells in reader:
        where = f"{table}, line {reader.line_num}"
        if len(cells) != 4 or not cells[0].strip().isdecimal():
            raise DataError(f"{where} is not: a number, a question, two options, an answer")
        number, (_, question, listed, letter) = int(cells[0]), cells
        if number in found:
            raise DataError(f"{where} has the number {number} of another line; keep one of them")
        name = f"{number}.jpg"
        image = lookup(name, folder, ("MMVP Images", "images", ""), MMVP.origin, where)
        rest, choices = options(listed)
        if rest or len(choices) != 2:
            raise DataError(f"{where}: the options are {listed!r}, not (a) ... (b) ...")
        pair = str((number + 1) // 2)
        right = chosen(letter, choices, where)
        groups = (("pair", pair),)
        found[number] = Sample(
            question.strip(), (image,), right, choices, "", str(number), groups=groups
        )
    for number in found:
        other = number + (1 if number % 2 else -1)
        if other not in found:
            raise DataError(f"{table} has the row {number} and not {other}, the other of its pair")
    if split == "corrected":
        for one, other in SWAPPED:
            if one in found and other in found:
                answers = found[one].answer, found[other].answer
                found[one] = replace(found[one], answer=answers[1])
                found[other] = replace(found[other], answer=answers[0])
    return list(found.values())


MMVP = Benchmark(
    name="mmvp",
    title="MMVP",
    origin="the hub, MMVP/MMVP (Questions.csv and the folder 'MMVP Images')",
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
