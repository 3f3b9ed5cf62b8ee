"""The page of families: what each offers, how far each invariant is missed; from audits on file.

vlmlens check --tiny all --json audits.json
python -m vlmlens.report.compatibility audits.json > docs/compatibility.md
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmlens.zoo.opening.unwired import UNWIRED

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HEAD = """\
# Compatibility

Measured, not promised: every figure on this page comes from `vlmlens check --tiny all`, which
builds a tiny random model of each family from its configuration and audits it. `make
compatibility` writes the page anew. On a checkpoint of your own, `vlmlens check MODEL` does the
same.

"""
LAWS = """\
## How far the invariants are missed

The largest difference between two ways of computing one thing, relative to the largest entry, in
float32 on the CPU. 0 is bit for bit. `n/a` does not apply, and what failed could not be run at
all: the number is a reason below.

"""
POINTS = """\
## What a block offers

Kinds of points in the vision tower and in the language model; `●` is there in every layer, is
reached by a pass, and an edit of it moves the logits; `◐` is there in some layers; a number
is a reason below.

"""
NOT_WIRED = """\
## What cannot be wired

Other families of transformers, and why they are refused. What is in neither table is recognised
by the names of its parts where that can be: `vlmlens check MODEL` says how well.

"""


def page(files: Sequence[Path]) -> str:
    """The page, from what ``vlmlens check --json`` wrote under one or more versions.

    Args:
        files: one a version of transformers; points are those of the first.
    """
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    notes: list[str] = []
    text = HEAD + LAWS
    measured = next((audit for run in runs for audit in run if audit["invariants"]), runs[0][0])
    invariants = [each["name"] for each in measured["invariants"]]
    text += (
        "".join(f"* **{at}** {name}\n" for at, name in zip(LETTERS, invariants, strict=False))
        + "\n"
    )
    for run in runs:
        first = run[0]
        text += f"### transformers {first['transformers']}, torch {first['torch']}\n\n"
        text += _missed(run, len(invariants), notes) + "\n"
    text += POINTS
    for part in ("vision.blocks", "blocks"):
        title = "In the vision tower" if part == "vision.blocks" else "In the language model"
        text += f"### {title}\n\n" + _points(runs[0], part, notes) + "\n"
    text += NOT_WIRED + "| family | why |\n|---|---|\n"
    text += "".join(f"| {name} | {why} |\n" for name, why in sorted(UNWIRED.items())) + "\n"
    text += "## Reasons\n\n"
    return text + "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 1))


def _missed(run: list[dict[str, Any]], number: int, notes: list[str]) -> str:
    names = LETTERS[:number]
    text = "| family | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|\n"
    for audit in run:
        cells = []
        if _failed(audit):
            cells = [f"**failed** {_note(audit['error'], notes)}"] * number
        for one in audit["invariants"]:
            if one["note"]:
                word = "**no**" if one["difference"] == math.inf else "n/a"
                cells.append(f"{word} {_note(one['note'], notes)}")
            else:
                worst = "0" if one["difference"] == 0 else f"{one['difference']:.0e}"
                missed = math.isnan(one["difference"]) or one["difference"] > one["bound"]
                cells.append(f"**{worst} missed**" if missed else worst)
        text += f"| {_name(audit)} | " + " | ".join(cells) + " |\n"
    return text


def _points(run: list[dict[str, Any]], part: str, notes: list[str]) -> str:
    run = [audit for audit in run if not _failed(audit)]
    every = run[0]["points"] if run else []
    kinds = [p["name"] for p in every if p["name"].startswith(f"{part}.*.")]
    heads = [kind.removeprefix(f"{part}.*.").replace("hook_", "") for kind in kinds]
    text = "| family | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|\n"
    for audit in run:
        points = {p["name"]: p for p in audit["points"]}
        cells = [_cell(points[kind], notes) for kind in kinds]
        text += f"| {_name(audit)} | " + " | ".join(cells) + " |\n"
    return text


def _cell(point: dict[str, Any], notes: list[str]) -> str:
    if not point["layers"]:
        return _note(point["absent"], notes)
    if point["fires"] < point["layers"] or point["edited"] < point["tried"]:
        return "**dead**"
    return f"◐ {_note(point['absent'], notes)}" if point["absent"] else "●"


def _note(text: str, notes: list[str]) -> str:
    if text not in notes:
        notes.append(text)
    return str(notes.index(text) + 1)


def _failed(audit: dict[str, Any]) -> bool:
    return bool(audit.get("error"))


def _name(audit: dict[str, Any]) -> str:
    return audit["model"].removeprefix("tiny ")


if __name__ == "__main__":
    print(page([Path(name) for name in sys.argv[1:]]), end="")
