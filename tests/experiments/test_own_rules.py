"""A diagnosis grades as an evaluation does: by the set's own rule, or the one that is asked for."""

import numpy as np
import pytest
import xarray as xr
from conftest import by_turns
from PIL import Image
from published_files import PUBLISHED
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens import cli
from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.evaluation import records
from vlmlens.experiments import Answering, permutation_test
from vlmlens.graders import GRADERS, Graded, Rule, judge


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


def run(*words):
    done = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return " ".join(done.output.split())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_is_graded_by_its_own_rule(name):
    key, split, *_ = PUBLISHED[name]
    own = GRADERS.get(BENCHMARKS[key].grader)
    assert vl.datasets.rule_of_set(f"{key}:{split}@anywhere") == (own or GRADERS["letter"])


BOTH = ["pope, hub", "vqa-v2, hub", "2ds", "gqa, hub", "mmvp"]


@pytest.mark.slow
@pytest.mark.parametrize("name", by_turns(BOTH, ["vqa-v2, hub"]))
def test_both_commands_give_every_answer_the_same_grade(name, tmp_path, monkeypatch):
    """The rule grades by the answer's length, so that both kinds of grade come up."""
    key, split, count, write = PUBLISHED[name]
    write(tmp_path / "set")
    grader = BENCHMARKS[key].grader

    def odd(said, sample):
        return Graded(len(said) % 2 / 2 + (len(sample.id) % 2) / 4, said)

    monkeypatch.setitem(GRADERS, grader, Rule(grader, 99, odd))
    data = f"{key}:{split}@{tmp_path / 'set'}"
    words = ["--data", data, "--permutations", 2, "--max-new-tokens", 3]
    said = run("diagnose", "shapes-base", *words, "--out", tmp_path / "one")
    assert f"graded by {grader}/99" in said
    asked = run("evaluate", "shapes-base", *words, "--conditions", "clean,permuted", "--out",
                tmp_path / "other")  # fmt: skip
    assert f"graded by {grader}/99" in asked
    items, _ = records.read(tmp_path / "other")
    with xr.open_dataset(tmp_path / "one" / "results.nc") as results:
        found = results["correct"].load()
        assert results.attrs["rule"] == f"{grader}/99"
    assert found.sizes["sample"] == count
    for row in items.to_dict("records"):
        clean = row["condition"] == "clean"
        label = "original" if clean else f"seed {row['permutation']}"
        assert float(found.sel(sample=row["sample"], permutation=label)) == row["score"]


def test_tables_of_letters_are_graded_alike(tmp_path):
    """By what the letter stands for, too: the general rule knows the letters alone."""
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "mine.tsv").write_text(
        "index\timage\tquestion\tA\tB\tanswer\n0\ta.png\tWhere?\tleft\tright\tB\n"
    )
    (sample,) = vl.datasets.load(tmp_path / "mine.tsv")
    rule = vl.datasets.rule_of_set(tmp_path / "mine.tsv")
    assert rule("It is on the right.", sample).score == 1.0


@pytest.mark.slow
def test_another_rule_is_named(tmp_path):
    said = run("diagnose", "shapes-base", "--samples", 6, "--grader", "exact", "--permutations", 1,
               "--out", tmp_path)  # fmt: skip
    assert "graded by exact/1" in said


def test_a_rule_may_give_parts_of_a_point(shapes):
    half = judge(lambda said, sample: 0.5 * (said == sample.answer), "half")
    samples = vl.datasets.shapes_2d(6)
    found = permutation_test(shapes, samples, permutations=1, rule=half, progress=False)
    assert set(np.unique(found["correct"])) == {0.0, 0.5}
    assert found.attrs["rule"] == "half/1"
    right = Answering(rule=half)(shapes, samples, ())["correct"]
    assert right.attrs["source"] == "half/1"


def test_results_of_one_rule_are_no_results_of_another(shapes, tmp_path):
    samples = vl.datasets.shapes_2d(2)
    for score in (1.0, 0.0):
        rule = judge(lambda said, sample, score=score: score, "mine")
        found = permutation_test(
            shapes, samples, permutations=1, rule=rule, progress=False, folder=tmp_path
        )
        assert (found["correct"] == score).all()
