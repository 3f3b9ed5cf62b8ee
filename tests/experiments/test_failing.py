"""One bad sample is left out by name, and the rest goes on."""

import json
import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
import xarray as xr
from as_users import as_users
from conftest import QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.checks import allowed
from vlmlens.errors import DataError, ImageError, InputError, UnknownPointError
from vlmlens.experiments import (
    Answering,
    Experiment,
    Measure,
    causal_effects,
    controls,
    diagnose,
    diagnose_all,
    permutation_test,
)
from vlmlens.interventions import PermuteVision, Scale


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*build("llava"), name="tiny") as opened:
        yield opened


CALLS: list[str] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def asked(count=10):
    return [
        vl.Sample(QUESTIONS[n % 2], (picture(n),), answer="red", id=f"s{n}") for n in range(count)
    ]


@dataclass(frozen=True)
class Stumbling(Measure):
    """Raises for samples whose question says so."""

    def __call__(self, model, samples, interventions):
        CALLS.append(" ".join(s.id for s in samples))
        for sample in samples:
            if sample.category == "bad" or (sample.category == "edited" and interventions):
                raise KeyError(sample.id)
        return xr.Dataset({"x": ("sample", [float(s.id[1:]) for s in samples])})


def with_bad(*numbers, category="bad", count=10):
    return [
        replace(s, category=category) if n in numbers else s for n, s in enumerate(asked(count))
    ]


EDITS = {"original": (), "edited": (Scale(point="hook_embed"),)}


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("category", ["bad", "edited"])
@pytest.mark.parametrize("batch", [1, 3, 32])
def test_a_sample_that_fails_is_left_out_by_name(model, tmp_path, caplog, batch, category, stored):
    samples = with_bad(4, category=category)
    experiment = Experiment(model, samples, Stumbling(), EDITS, batch=batch)
    with caplog.at_level(logging.WARNING, logger="vlmlens.experiments.failing"):
        found = experiment.run(tmp_path if stored else None)
    rest = [n for n in range(10) if n != 4]
    assert found["sample"].values.tolist() == [f"s{n}" for n in rest]
    assert found["x"].values.tolist() == [[float(n) for n in rest]] * 2
    assert found["category"].values.tolist() == [""] * 9
    assert json.loads(found.attrs["failures"]) == [{"id": "s4", "error": "KeyError: 's4'"}]
    assert "sample s4 failed and is left out: KeyError: 's4'" in caplog.text


def test_only_what_failed_is_tried_again(model, tmp_path):
    Experiment(model, with_bad(4, 7), Stumbling(), batch=5, max_failed=2).run(tmp_path)
    CALLS.clear()
    found = Experiment(model, with_bad(4), Stumbling(), batch=5).run(tmp_path)
    assert [call for call in CALLS if call != "s4"] == ["s7"]
    assert found.sizes["sample"] == 9
    CALLS.clear()
    whole = Experiment(model, asked(), Stumbling(), batch=5).run(tmp_path)
    assert CALLS == ["s4"]
    xr.testing.assert_identical(whole, Experiment(model, asked(), Stumbling()).run())


def test_too_many_end_the_run_and_what_is_done_is_kept(model, tmp_path):
    experiment = Experiment(model, with_bad(4, 5, 6), Stumbling(), batch=1, max_failed=2)
    with pytest.raises(DataError, match=r"3 of 10 samples failed.*allows 2: s4: KeyError.*s6"):
        experiment.run(tmp_path)
    CALLS.clear()
    Experiment(model, with_bad(4, 5, 6), Stumbling(), batch=1, max_failed=3).run(tmp_path)
    assert [f"s{n}" for n in (4, 5, 6, 7, 8, 9)] == CALLS
    with pytest.raises(DataError, match="1 of 10 samples failed"):
        Experiment(model, with_bad(4), Stumbling(), batch=1, max_failed=0).run()


@pytest.mark.parametrize(
    ("limit", "count", "most"),
    [(0, 50, 0), (0.1, 50, 5), (0.1, 3, 1), (0.5, 3, 1), (3, 50, 3), (1, 50, 1), (0.99, 100, 99)],
)
def test_the_limit_is_a_share_or_a_number(limit, count, most):
    assert allowed(limit, count) == most


@pytest.mark.parametrize("limit", [np.inf, -np.inf, np.nan, -1, -0.1, 1.5, True, "5%", None, [1]])
def test_a_limit_that_is_none_is_refused(limit):
    with as_users(), pytest.raises(InputError, match=r"max_failed=.*a share below 1"):
        allowed(limit, 10)


def test_a_mistake_of_everybodys_is_itself(model):
    with pytest.raises(KeyError):
        Experiment(model, with_bad(*range(10)), Stumbling()).run()
    wrong = {"a": (Scale(point="hook_embedd"),)}
    with pytest.raises(UnknownPointError):
        Experiment(model, asked(4), Answering(), wrong).run()


@dataclass(frozen=True)
class Interrupted(Stumbling):
    def __call__(self, model, samples, interventions):
        raise KeyboardInterrupt


def test_an_interrupt_is_nobodys_failure(model):
    with pytest.raises(KeyboardInterrupt):
        Experiment(model, asked(4), Interrupted()).run()


def damaged(tmp_path, kind):
    path = tmp_path / "bad.jpg"
    if kind != "gone":
        picture(3, (200, 200)).save(path)
        data = path.read_bytes()
        path.write_bytes({"cut": data[: len(data) // 2], "none": b"no picture", "empty": b""}[kind])
    return path


def undrawable():
    raise RuntimeError("no pencil")


@pytest.mark.parametrize("kind", ["cut", "none", "empty", "gone", "undrawable"])
@pytest.mark.parametrize("stored", [False, True])
def test_one_bad_picture_among_several(model, tmp_path, kind, stored):
    bad = undrawable if kind == "undrawable" else damaged(tmp_path, kind)
    samples = [replace(s, images=(bad,)) if n == 1 else s for n, s in enumerate(asked(4))]
    folder = tmp_path / "cells" if stored else None
    found = Experiment(model, samples, Answering(max_new_tokens=1), batch=4).run(folder)
    assert found["sample"].values.tolist() == ["s0", "s2", "s3"]
    (failure,) = json.loads(found.attrs["failures"])
    assert failure["id"] == "s1"
    assert "no pencil" in failure["error"] or "bad.jpg" in failure["error"]
    with pytest.raises((ImageError, RuntimeError)):
        Experiment(model, samples[1:2], Answering(max_new_tokens=1)).run(folder)


@pytest.mark.parametrize("own", [False, True])
def test_a_diagnosis_goes_on_without_it(model, tmp_path, own):
    gold = None if own else "red"
    samples = [
        replace(s, images=(undrawable,) if n == 1 else s.images, answer=gold, id="")
        for n, s in enumerate(asked(4))
    ]
    found = diagnose(
        model, samples, permutations=1, max_new_tokens=1, batch=2, folder=str(tmp_path),
        progress=False,
    )  # fmt: skip
    assert found.results["sample"].values.tolist() == ["0", "2", "3"]
    assert [each["id"] for each in json.loads(found.results.attrs["failures"])] == ["1"]
    assert int(found.psi["n"][0]) == 3
    with pytest.raises(DataError, match="samples failed"):
        diagnose(model, samples, permutations=1, max_new_tokens=1, progress=False, max_failed=0)


def test_a_permutation_test_counts_its_failures_once(model):
    samples = [replace(s, images=(undrawable,)) if n == 1 else s for n, s in enumerate(asked(4))]
    found = permutation_test(model, samples, permutations=1, max_new_tokens=1, progress=False)
    assert len(json.loads(found.attrs["failures"])) == 1
    assert found.sizes["sample"] == 3


# Edits of chosen samples.


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [0, 5, (1, 4), (0.5,), -1, range(2, 4)])
def test_chosen_samples_are_those_of_the_experiment_at_any_batch(model, wanted):
    edit = Scale(point="hook_embed", by=30.0, where=vl.Where(positions="vision", samples=wanted))
    edits = {"original": (), "edited": (edit,)}
    tables = [
        Experiment(model, asked(6), Answering(max_new_tokens=1), edits, batch=batch).run()
        for batch in (1, 2, 4, 6)
    ]
    moved = [
        np.abs(
            t["log_prob"].sel(intervention="edited") - t["log_prob"].sel(intervention="original")
        )
        for t in tables
    ]
    from vlmlens.positions import indices

    meant = np.isin(np.arange(6), indices(wanted, 6, "sample"))
    for change in moved:
        assert ((change > 1e-3).values == meant).all()


def test_a_sample_that_the_experiment_lacks_is_refused(model):
    edits = {"edited": (PermuteVision(where=vl.Where(samples=6)),)}
    with pytest.raises(vl.errors.EmptySelectionError):
        Experiment(model, asked(6), Answering(max_new_tokens=1), edits, batch=2).run()


class Going:
    """A picture that can be opened so many times, and then is gone."""

    def __init__(self, drawn, times):
        self.drawn, self.left = drawn, times

    def __call__(self):
        self.left -= 1
        if self.left < 0:
            raise OSError("gone")
        return self.drawn


@pytest.mark.parametrize("times", by_turns([1, 3, 5, 7, 9, 11, 13, 16, 19, 22], [3, 9, 16]))
@pytest.mark.parametrize("which", ["causal_effects", "controls"])
def test_what_fails_in_one_of_several_measurements_is_in_none(model, which, times):
    samples = asked(4)
    samples[2] = replace(samples[2], images=(Going(picture(2), times),))
    try:
        if which == "controls":
            table = controls(model, samples, ("text only", "blank"), batch=2)
        else:
            table = causal_effects(model, samples, {"half": (Scale("hook_embed", by=0.5),)})
    except vl.VLMLensError as error:
        assert "gone" in str(error)
        return
    there = table["sample"].values.tolist()
    left_out = [each["id"] for each in json.loads(table.attrs.get("failures", "[]"))]
    assert sorted(there + left_out) == ["s0", "s1", "s2", "s3"]
    assert set(left_out) <= {"s2"}
    assert np.isfinite(table["log_prob"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("times", by_turns([6, 20, 32, 44, 56, 68], [32]))
def test_what_fails_in_a_later_table_only_stops_no_table(model, times):
    """A picture that is gone at any moment: every table comes out, and each names what it lacks."""
    samples = asked(4)
    gone = samples[2] = replace(samples[2], images=(Going(picture(2), times),))
    tables = diagnose_all(model, samples, permutations=1, max_new_tokens=2).tables
    for name, table in tables.items():
        lacking = [each["id"] for each in json.loads(table.attrs.get("failures", "[]"))]
        assert set(lacking) <= {gone.id}, name
    shown = tables["shown"]["sample"].values.tolist()
    assert {"s0", "s1", "s3"} <= set(shown)
