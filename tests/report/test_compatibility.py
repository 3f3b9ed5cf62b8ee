"""The page of families, from audits made by hand: every cell can be read off the audit."""

import json

import pytest

from vlmlens.report.compatibility import page
from vlmlens.zoo.opening.unwired import UNWIRED

KINDS = ("hook_resid_pre", "attn.hook_q")
RECURRENT = "this layer keeps a running state"
FREE = "does not apply: nothing turns"


def point(name, layers=2, fires=2, tried=2, edited=2, absent=""):
    return {
        "name": name,
        "axes": "",
        "layers": layers,
        "fires": fires,
        "tried": tried,
        "edited": edited,
        "absent": absent,
    }


def law(name, difference, bound=5e-5, note=""):
    return {"name": name, "difference": difference, "bound": bound, "note": note}


def audit(model, laws, version="5.0", **others):
    """An audit as ``vlmlens check --json`` writes it; ``others`` replaces points by their names."""
    names = ["hook_embed", *(f"{p}.*.{k}" for p in ("vision.blocks", "blocks") for k in KINDS)]
    replaced = {p["name"]: p for p in others.get("points", ())}
    points = [replaced.get(name, point(name)) for name in names]
    return {
        "model": f"tiny {model}",
        "transformers": version,
        "torch": "2.0",
        "points": points,
        "invariants": laws,
    }


def held():
    return [law("the same logits", 0.0, 0.0), law("turned by the angles", 2.4e-7)]


def table(text, title):
    """Rows of the table under a title: first cell -> the others."""
    lines = text.split(f"### {title}\n\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def made(tmp_path):
    def write(*runs):
        paths = []
        for number, run in enumerate(runs):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps(run))
        return page(paths)

    return write


def test_laws_are_named_by_letters_and_told_by_how_much_they_are_missed(made):
    text = made([audit("llava", held())])
    assert "* **a** the same logits\n* **b** turned by the angles\n" in text
    found = table(text, "transformers 5.0, torch 2.0")
    assert found["family"] == ["a", "b"]
    assert found["llava"] == ["0", "2e-07"]
    assert "missed" not in text.partition("###")[2]


@pytest.mark.parametrize(
    ("difference", "bound", "cell"),
    [
        (5e-5, 5e-5, "5e-05"),
        (6e-5, 5e-5, "**6e-05 missed**"),
        (1e-9, 0.0, "**1e-09 missed**"),
        (float("inf"), 5e-5, "**inf missed**"),
        (float("nan"), 5e-5, "**nan missed**"),
    ],
)
def test_a_law_that_is_missed_is_bold(made, difference, bound, cell):
    laws = [law("the same logits", 0.0, 0.0), law("turned by the angles", difference, bound)]
    found = table(made([audit("llava", laws)]), "transformers 5.0, torch 2.0")
    assert found["llava"] == ["0", cell]


def test_what_does_not_apply_is_no_miss_and_has_a_reason(made):
    laws = [law("the same logits", 0.0, 0.0), law("turned by the angles", float("nan"), note=FREE)]
    text = made([audit("llava", held()), audit("lfm2_vl", laws)])
    found = table(text, "transformers 5.0, torch 2.0")
    assert found["lfm2_vl"] == ["0", "n/a 1"]
    assert text.endswith(f"## Reasons\n\n1. {FREE}\n")


def test_points_stand_under_their_own_kind_and_part(made):
    absent = point("blocks.*.attn.hook_q", 0, 0, 0, 0, RECURRENT)
    text = made([audit("llava", held()), audit("qwen3_5", held(), points=[absent])])
    tower, lm = (table(text, f"In the {part}") for part in ("vision tower", "language model"))
    assert tower["family"] == lm["family"] == ["resid_pre", "attn.q"]
    assert tower["llava"] == lm["llava"] == tower["qwen3_5"] == ["●", "●"]
    assert lm["qwen3_5"] == ["●", "1"]


@pytest.mark.parametrize(
    ("counts", "absent", "cell"),
    [
        ((3, 3, 2, 2), "", "●"),
        ((3, 2, 2, 2), "", "**dead**"),  # one layer's never came by
        ((3, 3, 2, 1), "", "**dead**"),  # one edit was lost
        ((3, 0, 2, 0), RECURRENT, "**dead**"),
        ((2, 2, 2, 2), RECURRENT, "◐ 1"),
        ((0, 0, 0, 0), RECURRENT, "1"),
    ],
)
def test_what_a_cell_tells(made, counts, absent, cell):
    here = point("vision.blocks.*.hook_resid_pre", *counts, absent)
    text = made([audit("llava", held(), points=[here])])
    assert table(text, "In the vision tower")["llava"] == [cell, "●"]


def test_a_reason_has_one_number_wherever_it_stands(made):
    laws = [law("the same logits", 0.0, 0.0), law("turned by the angles", float("nan"), note=FREE)]
    points = [
        point("vision.blocks.*.attn.hook_q", 0, 0, 0, 0, RECURRENT),
        point("blocks.*.hook_resid_pre", 1, 1, 1, 1, "something else"),
        point("blocks.*.attn.hook_q", 0, 0, 0, 0, RECURRENT),
    ]
    text = made([audit("qwen3_5", laws, points=points)])
    assert table(text, "In the vision tower")["qwen3_5"] == ["●", "2"]
    assert table(text, "In the language model")["qwen3_5"] == ["◐ 3", "2"]
    assert text.endswith(f"## Reasons\n\n1. {FREE}\n2. {RECURRENT}\n3. something else\n")


def test_every_version_has_its_laws_and_the_first_one_its_points(made):
    dead = point("blocks.*.attn.hook_q", fires=1)
    missed = [law("the same logits", 0.5, 0.0), law("turned by the angles", 0.0)]
    text = made([audit("llava", held())], [audit("llava", missed, version="6.0", points=[dead])])
    assert table(text, "transformers 5.0, torch 2.0")["llava"] == ["0", "2e-07"]
    assert table(text, "transformers 6.0, torch 2.0")["llava"] == ["**5e-01 missed**", "0"]
    assert "**dead**" not in text


def test_what_cannot_be_wired_is_listed_with_its_reason(made):
    text = made([audit("llava", held())])
    for name, why in UNWIRED.items():
        assert f"| {name} | {why} |" in text
