"""Every published set is asked, graded and tabulated by one command, and graded again."""

import json
import re
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from children import python
from PIL import Image
from published_files import PUBLISHED
from typer.testing import CliRunner

from vlmlens import cli
from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.evaluation import records, regrade
from vlmlens.graders import GRADERS

MANY = "clean,permuted,text-only,noise"


def run(*words):
    done = CliRunner().invoke(cli.app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


def parts():
    """Sets that one command can ask: none is there twice, and all have pictures or none has."""
    found = {}
    for name, (key, split, *_) in PUBLISHED.items():
        turn = sum(PUBLISHED[other][:2] == (key, split) for other in found)
        found[name] = "text" if split == "tqa" else f"turn {turn}"
    return found


PARTS = parts()
#: How many pictures, pairs or sets there are, where these are fewer than questions.
UNITS = {
    "pope, hub": 1,
    "pope, hub, Full": 1,
    "pope, original": 1,
    "mmvp": 2,
    "mmvp, copy": 2,
    "gqa, original": 1,
    "whatsup, a": 1,
}
UNITS |= {"cv-bench, hub": 1, "2ds": 3, "vsr, random": 1}
UNITS |= {"gqa, all": 1, "gqa, hub, all": 1, "whatsup, copy": 1, "spatial-bench, existence": 1}
UNITS |= {"spatial-bench, reach": 1, "spatial-bench": 4}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Every published set, asked by a command each for those that go together."""
    found = {}
    for part in sorted(set(PARTS.values())):
        folder = tmp_path_factory.mktemp("asked")
        words = ["--conditions", "clean" if part == "text" else "clean,permuted"]
        words += ["--permutations", 1, "--max-new-tokens", 2, "--out", folder / "out"]
        for number, name in enumerate(each for each in PARTS if PARTS[each] == part):
            key, split, _, write = PUBLISHED[name]
            write(folder / str(number))
            words += ["--data", f"{key}:{split}@{folder / str(number)}"]
        code, said = run("evaluate", "shapes-base", *words)
        assert code == 0, said
        metrics = pd.read_csv(folder / "out" / "metrics.csv", keep_default_na=False)
        found[part] = (folder / "out", *records.read(folder / "out"), metrics)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_set_is_asked_graded_and_tabulated_by_one_command(name, asked):
    key, split, count, _ = PUBLISHED[name]
    data, bench = f"{key}:{split}", BENCHMARKS[key]
    out, items, settings, metrics = asked[PARTS[name]]
    items, metrics = items[items["data"] == data], metrics[metrics["data"] == data]
    assert len(items) == count * len(settings["conditions"])
    assert items["error"].isna().all()
    assert set(items["prompt_form"]) == {f"{key}/{next(iter(bench.prompts))}"}
    answered = items["gold"].notna() & (bench.grader != "none")
    assert (items["score"].notna() == answered).all()
    assert set(items["rule"]) == ({GRADERS[bench.grader].label} if bench.grader != "none" else {""})
    whole = metrics[(metrics["group"] == "") & (metrics["condition"] == "clean")]
    expected = settings["sets"][data]["metrics"] if answered.all() else []
    assert not expected or set(whole["units"]) == {UNITS.get(name, count)}
    assert whole["metric"].tolist() == (expected or [""])
    assert (whole["unanswered"].astype(int) == (0 if answered.all() else count)).all()
    assert data in (out / "report.html").read_text()
    files = list(out.glob(f"submission-{key}-{split}-*.json"))
    assert len(files) == (bench.submission is not None)
    if files:
        lines = json.loads(files[0].read_text())
        form: Any = bench.submission
        asked_of = {line[form.question] for line in lines}
        named = set(items["sample"].map(int if form.numbered else str))
        assert len(lines) == count and asked_of == named
        clean = items[items["condition"] == "clean"]
        said = clean["answer"].str.strip().tolist()
        assert [line[form.answer] for line in lines] == [
            one.lower().rstrip(".").strip() if form.plain else one for one in said
        ]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Two models on twelve questions about four drawn scenes, written by the command."""
    folder = tmp_path_factory.mktemp("evaluated")
    words = [
        "--data",
        "shapes-2d",
        "--samples",
        24,
        "--conditions",
        "clean,permuted,text-only,noise",
    ]
    words += ["--permutations", 2, "--seed", 3, "--out", folder]
    code, said = run("evaluate", "shapes-base", "shapes-both", *words)
    assert code == 0, said
    return folder, said


def test_models_stand_side_by_side(evaluated):
    folder, said = evaluated
    metrics: Any = pd.read_csv(folder / "metrics.csv")
    whole = metrics[metrics["group"].isna()].set_index(["model", "condition"])
    assert len(whole) == 8 and (whole["n"] == 24).all() and (whole["units"] == 24).all()
    for model in ("shapes-base", "shapes-both"):
        assert whole.loc[(model, "clean"), "value"] > 0.7 > whole.loc[(model, "text-only"), "value"]
        blind = whole.loc[(model, "text-only"), "value"]
        assert (whole.loc[model, "blind"] == blind).all()
    assert (whole["low"] < whole["value"]).all() and (whole["value"] < whole["high"]).all()
    assert ((whole["chance"] > 0.1) & (whole["chance"] < 0.5)).all()
    against: Any = pd.read_csv(folder / "differences.csv")
    row = against[against["group"].isna() & (against["condition"] == "permuted")]
    models = row[row["model"] != row["other_model"]].iloc[0]
    gap = (
        whole["value"].loc["shapes-both", "permuted"]
        - whole["value"].loc["shapes-base", "permuted"]
    )
    assert models["difference"] == pytest.approx(gap)
    assert models["low"] <= gap <= models["high"] and 0 < models["p"] <= 1
    psi: Any = pd.read_csv(folder / "psi.csv")
    assert set(psi["member"]) >= {"overall", "color_abs"}
    both = psi[(psi["member"] == "overall") & (psi["model"] == "shapes-both")].iloc[0]
    a, b = (whole["value"].loc["shapes-both", c] for c in ("clean", "permuted"))
    assert both["psi"] == pytest.approx(100 * (a - b) / a)
    assert "Position Sensitivity Index" in said and "differences" in said


@pytest.mark.slow
def test_items_hold_all_that_grading_takes(evaluated):
    folder, _ = evaluated
    items, settings = records.read(folder)
    assert len(items) == 2 * 24 * (1 + 2 + 1 + 1)
    again = regrade(folder)
    both: list[Any] = [each[["parsed", "score"]] for each in (again.items, items)]
    pd.testing.assert_frame_equal(*both)
    before = pd.read_csv(folder / "metrics.csv")
    np.testing.assert_allclose(again.metrics["value"], before["value"])
    assert settings["command"].startswith("vlmlens ")


@pytest.mark.slow
def test_answers_are_graded_again_without_a_model(evaluated, tmp_path):
    """No torch pass is made, and what the page shows is drawn anew from the data."""
    folder, _ = evaluated
    code, said = run("grade", folder, "--grader", "exact", "--out", tmp_path / "exact")
    assert code == 0 and "exact/1" in said
    items, _ = records.read(tmp_path / "exact")
    assert set(items["rule"]) == {"exact/1"}
    code, said = run("grade", folder, "--grader", "leter")
    assert code == 2 and "did you mean letter" in said
    code, said = run("grade", folder, "--score", "likelihood:per-byte")
    assert code == 2 and "was answered in words" in said
    code, said = run("grade", tmp_path)
    assert code == 2 and "vlmlens evaluate --out" in said


JUDGES = """
def short(said, sample):
    return len(said) < 4

def odd(said, sample):
    return "x"

def seven(said, sample):
    from vlmlens.graders import Graded
    return Graded(7.0, said)

word = "no function"
"""


@pytest.mark.slow
def test_a_judge_of_ones_own(evaluated, tmp_path, monkeypatch):
    folder, _ = evaluated
    (tmp_path / "my_judge.py").write_text(JUDGES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_judge", raising=False)
    code, said = run("grade", folder, "--grader", "my_judge:short", "--out", "judged")
    assert code == 0, said
    items, _ = records.read(tmp_path / "judged")
    assert (items["score"] == (items["answer"].str.len() < 4)).all()
    assert set(items["rule"]) == {"my_judge:short/1"}
    code, said = run("grade", folder, "--grader", "my_judge:odd", "--out", "odd")
    assert code == 2 and "it should be from 0 to 1" in said
    assert not (tmp_path / "odd").exists()
    for name, told in {
        "my_judge:seven": "whose score is from 0 to 1",
        "my_judge:none": "has no attribute 'none'",
        "my_judge:word": "word of my_judge is no function",
        "no_judge:x:": "--grader no_judge:x:: No module named",
        ":odd": "no name ':odd'",
    }.items():
        code, said = run("grade", folder, "--grader", name, "--out", "odd")
        assert code == 2 and told in said, said
        assert not (tmp_path / "odd").exists()


def test_the_page_shows_pictures_of_items_that_flipped(evaluated):
    folder, _ = evaluated
    page = (folder / "report.html").read_text()
    assert "against permuted" in page and "answers changed from right to wrong" in page
    assert page.count("data:image/png;base64,") >= 2
    assert re.search(r"<img[^>]+alt=\"picture of ", page)
    assert "default-src 'none'" in page  # and so nothing is loaded from elsewhere
    for kind in ("conditions", "differences", "psi"):
        assert f'id="figure-{kind}-0"' in page


def test_another_run_does_not_replace_other_models(evaluated):
    folder, _ = evaluated
    code, said = run(
        "evaluate", "shapes-base", "--data", "shapes-2d", "--samples", 6, "--out", folder
    )
    assert code == 2 and "holds results of shapes-both, which would be replaced" in said


@pytest.mark.slow
def test_a_second_run_asks_nothing_again(tmp_path, monkeypatch):
    words = ["evaluate", "shapes-base", "--data", "shapes-2d", "--samples", 6, "--out", tmp_path]
    words += ["--conditions", "clean,permuted", "--permutations", 1]
    assert run(*words)[0] == 0
    before = (tmp_path / "metrics.csv").read_text()

    def refuse(*args, **kwargs):
        raise AssertionError("the model was run again")

    monkeypatch.setattr("vlmlens.model.HookedVLM.generate", refuse)
    assert run(*words)[0] == 0
    assert (tmp_path / "metrics.csv").read_text() == before


@pytest.mark.slow
def test_likelihoods_are_kept_and_weighed_again(tmp_path):
    words = ["evaluate", "shapes-base", "--data", "shapes-2d", "--samples", 6, "--out", tmp_path]
    words += ["--conditions", "clean", "--score", "likelihood:calibrated"]
    code, said = run(*words)
    assert code == 0, said
    items, _ = records.read(tmp_path)
    assert set(items["rule"]) == {"likelihood:calibrated"}
    for row in items.to_dict("records"):
        weights = np.array(row["choice_log_prob"]) - np.array(row["choice_blind"])
        assert row["answer"] == row["choices"][weights.argmax()]
        assert row["score"] == (row["answer"] == row["gold"])
    again = regrade(tmp_path, score="likelihood:per-byte").items
    for row in again.to_dict("records"):
        size = np.array([len(choice) for choice in row["choices"]])
        assert row["answer"] == row["choices"][(np.array(row["choice_log_prob"]) / size).argmax()]
    assert set(again["scoring"]) == {"likelihood:per-byte"}
    code, said = run(*words[:-3], "clean,text-only", *words[-2:])
    assert code == 2 and "of which nothing is left under text-only" in said


@pytest.mark.slow
def test_what_cannot_be_asked_is_refused_before_a_model_is_opened(tmp_path):
    for more, told in (
        (["--conditions", "clean,permutated"], "no condition 'permutated'"),
        (["--conditions", "pool"], "a number is wanted, such as pool:8"),
        (["--max-failed", "inf"], "a share below 1"),
        (["--score", "likelihood:per-word"], "likelihood:per-token"),
        (["--grader", "leter"], "did you mean letter"),
        (["--prompt", "paper"], "a way to ask a published set"),
        (["--samples", 0], "ask for at least one"),
        (["--prompt", "pope/paper"], "--prompt pope/paper: pope is not asked"),
        (["--grader", "vqa"], "compares with the answers of several people"),
        (["--grader", "yes_no"], "knows yes and no, and"),
        (
            ["--conditions", "clean,permuted,permuted:1.0"],
            "for twice: permuted, permuted:1.0",
        ),
    ):
        words = ["evaluate", "no/such-model", "--data", "shapes-2d", "--out", tmp_path / "out"]
        code, said = run(*words, *more)
        assert code == 2 and told in said, said


@pytest.mark.parametrize("wrong", ["shapes-bsae", "./nowhere", "a b/c"])
def test_a_model_that_is_not_there_is_told_before_the_first_is_opened(tmp_path, wrong):
    out = tmp_path / "out"
    words = ["--data", "shapes-2d", "--samples", 6, "--conditions", "clean", "--out", out]
    code, said = run("evaluate", "shapes-base", wrong, *words)
    assert code == 2 and "no model" in said and "Loading weights" not in said, said
    assert not out.exists()


def folder_of(tmp_path, count, broken=()):
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = ["image,question,answer,choices"]
    for n in range(count):
        Image.new("RGB", (32, 32), ("red", "blue")[n % 2]).save(folder / f"{n}.png")
        if n in broken:
            (folder / f"{n}.png").write_bytes(b"\x89PNG no more")
        lines.append(f"{n}.png,What color is it?,{('red', 'blue')[n % 2]},red|blue")
    (folder / "questions.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_items_that_fail_are_recorded_and_in_no_metric(tmp_path):
    folder = folder_of(tmp_path, 24, broken=(5,))
    out = tmp_path / "out"
    words = [
        "evaluate",
        "shapes-base",
        "--data",
        folder,
        "--conditions",
        "clean,permuted,other-picture",
    ]
    code, said = run(*words, "--permutations", 1, "--out", out)
    assert code == 1 and "items failed, and are in no metric" in said and "5.png" in said
    items, _ = records.read(out)
    failed: Any = items[items["error"].notna()]
    assert len(items) == 24 * 3 and len(failed) == 3
    assert failed["score"].isna().all() and failed["answer"].isna().all()
    metrics: Any = pd.read_csv(out / "metrics.csv")
    assert (metrics["n"] == 23).all() and (metrics["failed"] == 1).all()
    assert "5.png" in (out / "report.html").read_text()


def test_too_many_that_fail_stop_it_before_a_model_is_opened(tmp_path):
    folder = folder_of(tmp_path, 24, broken=(5, 6, 7))
    code, said = run("evaluate", "no/such-model", "--data", folder, "--out", tmp_path / "out")
    assert code == 2 and "images cannot be read" in said
    assert not (tmp_path / "out").exists()
    words = ["evaluate", "shapes-base", "--data", folder, "--out", tmp_path / "out"]
    assert run(*words, "--max-failed", 3, "--conditions", "clean")[0] == 1


def test_the_help_is_quick_and_loads_no_torch():
    code = "import sys; from vlmlens.cli import app; print('torch' in sys.modules)"
    done = python(code)
    assert done.stdout.strip() == "False"


GOOD = "image,question,answer,choices\na.png,What?,red,red|blue\n"
#: What may be wrong with a table, and what is said of it.
BAD = {
    "no such column": ("image,frage,answer\na.png,What?,red\n", "question"),
    "a short row": (GOOD + "a.png,What?\n", "line 3"),
    "an answer among no choices": (GOOD + "a.png,Which?,green,red|blue\n", "green"),
    "the same row twice": (GOOD + "a.png,What?,red,red|blue\n", "line 3"),
    "the same id twice": (
        "id,image,question,answer\nx,a.png,What?,red\nx,a.png,Which?,blue\n",
        "line 3",
    ),
    "no picture of that name": (GOOD + "b.png,What?,red,red|blue\n", "b.png"),
    "an empty question": (GOOD + "a.png,,red,red|blue\n", "line 3"),
    "nothing but a header": ("image,question,answer\n", "question"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_table_with_a_fault_is_refused_and_nothing_is_written(fault, tmp_path):
    text, told = BAD[fault]
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "mine.csv").write_text(text)
    words = ["--data", tmp_path / "mine.csv", "--out", tmp_path / "out", "--max-failed", 0]
    code, said = run("evaluate", "no/such-model", *words)
    assert code == 2 and told in said, said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_tables_that_are_only_unusual_are_asked(tmp_path):
    """UTF-16, semicolons; an item without an answer is asked, counted, and in no metric."""
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "Which?", "answer": "blue", "choices": ["red", "blue"]}
    missing = [row, row | {"question": "What?", "answer": float("nan")}]
    (tmp_path / "wide.csv").write_text(GOOD, encoding="utf-16")
    (tmp_path / "semicolons.csv").write_text(GOOD.replace(",", ";"))
    (tmp_path / "empty.csv").write_text(GOOD + "a.png,Which?,,red|blue\n")
    (tmp_path / "nan.json").write_text(json.dumps(missing))
    words = ["evaluate", "shapes-base", "--conditions", "clean", "--out", tmp_path / "out"]
    for name in ("wide.csv", "semicolons.csv", "empty.csv", "nan.json"):
        words += ["--data", tmp_path / name]
    code, said = run(*words)
    assert code == 0, said
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert metrics["n"].tolist() == [1, 1, 1, 1]
    assert metrics["unanswered"].tolist() == [0, 0, 1, 1]
    assert len(records.read(tmp_path / "out")[0]) == 6


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "no/such-model", "--accept-versions", "patch"],
        ["evaluate", "shapes-base", "--conditions", "clean,clean"],
        ["diagnose", "no/such-model", "--accept-versions", "patch"],
        ["diagnose", "shapes-base", "--scoring", "likelihood:per-word"],
    ],
)
def test_a_command_that_fails_leaves_things_as_they_were(words, there, tmp_path):
    """No empty folder, no note of versions; a folder that was there before stays."""
    out = tmp_path / "some" / "results"
    if there:
        out.mkdir(parents=True)
    code, said = run(*words, "--data", "shapes-2d", "--samples", 2, "--out", out)
    assert code == 2, said
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert found == (["some", "some/results"] if there else [])
