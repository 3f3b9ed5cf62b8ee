"""A diagnosis draws as an evaluation does: by the set's own pairs and sets, else by picture."""

import json
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import by_turns
from published_files import lines, put
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens import cli
from vlmlens.graders import GRADERS, Graded, Rule

PAIRS = 9


def mmvp(folder):
    put(folder, *(f"MMVP Images/{n}.jpg" for n in range(1, 2 * PAIRS + 1)))
    rows = [f"{n},Is it {n % 3}?,(a) Open (b) Closed,({'ab'[n % 2]})" for n in range(1, 19)]
    (folder / "Questions.csv").write_text(
        "Index,Question,Options,Correct Answer\n" + "\n".join(rows)
    )


def whatsup(folder):
    cells = []
    for thing in ("mug", "cap", "book", "bowl", "dog"):
        for relation in ("left_of", "right_of", "on", "under"):
            path = f"data/controlled_images/{thing}_{relation}_armchair.jpeg"
            said = f"A {thing} {relation.replace('_', ' ')} an armchair"
            wrong = [f"{said} {n}" for n in range(3)]
            cells.append({"image_path": path, "caption_options": [said, *wrong]})
    put(folder, *(cell["image_path"] for cell in cells))
    (folder / "controlled_images_dataset.json").write_text(json.dumps(cells))


def pope(folder):
    names = [f"COCO_val2014_{n:012d}.jpg" for n in range(4)]
    put(folder, *(f"val2014/{name}" for name in names))
    rows = [
        {"question_id": n, "image": names[n % 4], "text": f"Is there a {n}?", "label": said}
        for n, said in enumerate(["yes", "no"] * 6)
    ]
    lines(folder / "coco_pope_random.json", *rows)


#: What writes a set, what is asked for, and what is drawn: of which kind, and how many.
SETS = {
    "mmvp": (mmvp, "mmvp", "pair", 9),
    "whatsup": (whatsup, "whatsup:a", "set", 5),
    "pope": (pope, "pope:random", "picture", 4),
}


def run(*words):
    done = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", by_turns(SETS, [*SETS][:1]))
def test_both_commands_draw_by_the_unit_of_the_set(name, tmp_path, monkeypatch):
    """Every interval, test and category of the two tables is the same, and so are the words."""
    write, data, unit, count = SETS[name]
    write(tmp_path / "set")
    rule = vl.datasets.rule_of_set(data)

    def odd(said, sample):  # right and wrong come up, together more often than not
        return Graded(float(crc32(repr((said, sample.groups)).encode()) % 3 > 0), said)

    monkeypatch.setitem(GRADERS, rule.name, Rule(rule.name, 99, odd))
    words = ["--data", f"{data}@{tmp_path / 'set'}", "--permutations", 2, "--max-new-tokens", 3]
    said = run("diagnose", "shapes-base", *words, "--out", tmp_path / "one")
    run("evaluate", "shapes-base", *words, "--conditions", "clean,permuted", "--out",
        tmp_path / "other")  # fmt: skip
    one = xr.load_dataset(tmp_path / "one" / "psi.nc")
    other = pd.read_csv(tmp_path / "other" / "psi.csv").set_index("member")
    assert (one.attrs["unit"], one.attrs["n_units"]) == (unit, count)
    assert f"{count} {unit}s" in said and f"over {unit}s" in one.attrs["interval"]
    for category in other.index:
        for column in ("units", "accuracy_low", "accuracy_high", "psi", "psi_low", "psi_high",
                       "p_value"):  # fmt: skip
            here = float(one[column].sel(category=category))
            np.testing.assert_allclose(here, other.loc[category, column], err_msg=column)
    metrics = pd.read_csv(tmp_path / "other" / "metrics.csv", keep_default_na=False)
    assert set(metrics["unit"]) == {unit}
    assert set(metrics[metrics["group"] == ""]["units"]) == {count}
    page = (tmp_path / "one" / "report.html").read_text()
    joined = "about" if unit == "picture" else "in"
    assert f"questions {joined} {count} {unit}s" in page
    assert f"<th>{unit}s</th>" in page


@pytest.mark.slow
def test_other_tables_of_a_diagnosis_draw_so_as_well(tmp_path):
    """Means of maps over eighteen samples of nine pairs are means of nine."""
    mmvp(tmp_path)
    samples = vl.datasets.load(f"mmvp@{tmp_path}")
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        found = vl.experiments.diagnose(
            model, samples, permutations=1, max_new_tokens=1, progress=False
        )
    table = vl.experiments.summarise(found.results)
    assert (table["cmb"].attrs["unit"], table["cmb"].attrs["n_units"]) == ("pair", str(PAIRS))
    assert (table["cmb_n"] == PAIRS).all()
