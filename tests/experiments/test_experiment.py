"""The table, its keys, and going on where one stopped."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from closeness import assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import DataError
from vlmlens.experiments import (
    Answering,
    Cell,
    Diagnosing,
    Experiment,
    Measure,
    Probing,
    Store,
    permutation_test,
    read,
)
from vlmlens.experiments.reads import needs
from vlmlens.interventions import KnockOut, PermuteVision, Scale


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*build("llava"), name="tiny", revision="one") as opened:
        yield opened


def asked(count=5, **more):
    return [
        vl.Sample(QUESTIONS[n % 2], (picture(n),), answer="red", id=str(n), **more)
        for n in range(count)
    ]


CALLS: list[str] = []


@dataclass(frozen=True)
class Counting(Measure):
    """Measures a sample's number, and writes down whom it was asked about."""

    factor: float = 1.0

    def __call__(self, model, samples, interventions):
        CALLS.append(" ".join([*(s.id for s in samples), *map(str, interventions)]))
        values = [self.factor * (int(s.id) + 100 * len(interventions)) for s in samples]
        return xr.Dataset({"x": ("sample", values)}, coords={"sample": [s.id for s in samples]})


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


EDITS = {"original": (), "seed 0": (PermuteVision(seed=0),)}


def counting(model, **more):
    given = {"samples": asked(), "interventions": EDITS, "batch": 2} | more
    return Experiment(model, measure=Counting(), **given)


# The table.


def test_every_sample_under_every_intervention(model):
    samples = [replace(s, category=f"c{s.id}", choices=("red", "blue")) for s in asked(4)]
    samples.append(replace(asked()[4], answer=None))
    found = counting(model, samples=samples, dimension="permutation").run()
    expected = [[0, 1, 2, 3, 4], [100, 101, 102, 103, 104]]
    assert found["x"].transpose("permutation", "sample").values.tolist() == expected
    assert found["permutation"].values.tolist() == ["original", "seed 0"]
    assert found["sample"].values.tolist() == ["0", "1", "2", "3", "4"]
    assert found["category"].values.tolist() == ["c0", "c1", "c2", "c3", ""]
    assert found["question"].values.tolist() == [s.question for s in samples]
    assert found["gold"].values.tolist() == ["red"] * 4 + [""]
    np.testing.assert_array_equal(found["chance"], [0.5] * 4 + [np.nan])
    # Batch by batch: the edits of one picture share what the tower made of it.
    assert CALLS[:3] == ["0 1", "0 1 PermuteVision()", "2 3"]
    assert len(CALLS) == 6


def test_no_samples_are_no_experiment(model):
    with pytest.raises(DataError, match="the data set is empty"):
        counting(model, samples=[]).run()
    with pytest.raises(DataError):
        permutation_test(model, [], permutations=1, progress=False)


def test_progress_is_told_after_every_cell(model, tmp_path):
    told = []
    counting(model).run(tmp_path, progress=lambda: told.append(1))
    assert len(told) == 6
    counting(model).run(tmp_path, progress=lambda: told.append(1))
    assert len(told) == 12


# Resuming.


def test_what_is_done_is_not_done_again(model, tmp_path):
    alone = counting(model).run()
    first = counting(model).run(tmp_path)
    xr.testing.assert_identical(first, alone)
    assert len(list(tmp_path.iterdir())) == 6
    CALLS.clear()
    xr.testing.assert_identical(counting(model).run(tmp_path), alone)
    assert CALLS == []
    cells = [cell for _, cell in counting(model).cells()]
    Store(tmp_path).path(cells[3].key).unlink()
    xr.testing.assert_identical(counting(model).run(tmp_path), alone)
    assert CALLS == ["2 3 PermuteVision()"]


def test_other_samples_and_edits_add_to_what_there_is(model, tmp_path):
    counting(model, interventions={"original": ()}, samples=asked(4)).run(tmp_path)
    CALLS.clear()
    more = counting(model).run(tmp_path)
    assert CALLS == ["0 1 PermuteVision()", "2 3 PermuteVision()", "4", "4 PermuteVision()"]
    xr.testing.assert_identical(more, counting(model).run())


@dataclass(frozen=True)
class Stumbling(Counting):
    """Fails at one sample while the power is off."""

    def __call__(self, model, samples, interventions):
        if "3" in [s.id for s in samples] and os.environ.get("POWER") == "off":
            raise KeyboardInterrupt
        return super().__call__(model, samples, interventions)


def test_a_run_that_breaks_off_keeps_what_it_has(model, tmp_path, monkeypatch):
    experiment = Experiment(model, asked(), Stumbling(), EDITS, batch=1)
    monkeypatch.setenv("POWER", "off")
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path)
    done = [f"{i}{edit}" for i in range(3) for edit in ("", " PermuteVision()")]
    assert done == CALLS
    CALLS.clear()
    monkeypatch.delenv("POWER")
    found = experiment.run(tmp_path)
    assert CALLS[0] == "3"
    assert len(CALLS) == 4
    xr.testing.assert_identical(found, Experiment(model, asked(), Counting(), EDITS).run())


def test_a_file_is_written_whole_or_not_at_all(model, tmp_path, monkeypatch):
    write = xr.Dataset.to_netcdf

    def break_off(self, path, **options):
        write(self, path, **options)
        half = Path(path).read_bytes()[:200]
        Path(path).write_bytes(half)
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(xr.Dataset, "to_netcdf", break_off)
        with pytest.raises(DataError, match=r"no space left .* what was finished before is kept"):
            counting(model).run(tmp_path)
    assert list(tmp_path.iterdir()) == []
    # As if the machine had gone down while it wrote: what is left is never read.
    key = next(iter(counting(model).cells()))[1].key
    (tmp_path / f".{key}.nc.123.part").write_bytes(b"half")
    assert not Store(tmp_path).has(key)
    CALLS.clear()
    xr.testing.assert_identical(counting(model).run(tmp_path), counting(model).run())
    assert CALLS[0] == "0 1"


def test_a_file_that_does_not_open_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.nc"):
        read(tmp_path / "nowhere.nc")
    (tmp_path / "abc.nc").write_bytes(b"no netCDF")
    with pytest.raises(DataError, match=r"abc\.nc does not open .* delete it and run again"):
        read(tmp_path / "abc.nc")


def test_the_same_cell_twice_is_itself_twice(model, tmp_path):
    twice = [asked()[0], asked()[0], asked()[3]]
    edits = {"one": (), "same": (), "other": (PermuteVision(),)}
    found = Experiment(model, twice, Counting(), edits, batch=1).run(tmp_path)
    assert found["x"].values.tolist() == [[0, 0, 3], [0, 0, 3], [100, 100, 103]]


@dataclass(frozen=True)
class Visited(Counting):
    """While the first sample is measured, somebody else finishes the second one."""

    folder: str = ""

    def __call__(self, model, samples, interventions):
        if samples[0].id == "0":
            cell = Cell(model, (asked()[1],), (), self)
            Store(Path(self.folder)).write(cell.key, cell.run())
        return super().__call__(model, samples, interventions)


def test_another_process_may_fill_the_same_folder(model, tmp_path):
    measure = Visited(folder=str(tmp_path))
    found = Experiment(model, asked(4), measure, batch=1).run(tmp_path)
    assert found["x"].values.tolist() == [[0, 1, 2, 3]]


# What is measured.


def test_probing_merges_its_probes_in_one_pass(model):
    chosen = (probes.cross_modality_balance, probes.hidden_norms)
    found = Experiment(model, asked(3), Probing(probes=chosen), batch=2).run()
    assert {"cmb", "hidden_norm"} <= set(found)
    run = model.run(model.inputs(asked(3)), save=needs(chosen))
    original = found.sel(intervention="original")
    assert_close(original["cmb"], chosen[0](run))
    assert_close(original["hidden_norm"], chosen[1](run))
    assert len(needs((*chosen, *chosen))) == 3


def test_answering_grades_where_there_is_something_to_grade_by(model):
    measure = Answering(max_new_tokens=2, system="Answer in a word or two.")
    found = measure(model, asked(2), ())
    assert set(found) == {"answer", "correct", "log_prob"}
    said = found["answer"].values.tolist()
    right = [replace(s, answer=text) for s, text in zip(asked(2), said, strict=True)]
    assert measure(model, right, ())["correct"].values.tolist() == [1.0, 1.0]
    assert (found["log_prob"] < 0).all()
    assert set(measure(model, [replace(asked()[0], answer=None)], ())) == {"answer"}


def test_edits_reach_every_part_of_a_measure(model):
    measure = Answering(max_new_tokens=2)
    edit = (Scale(point="hook_embed", where=vl.Where(positions="vision"), by=30.0),)
    clean, edited = (measure(model, asked(2), edits) for edits in ((), edit))
    assert (np.abs(clean["log_prob"] - edited["log_prob"]) > 1e-3).all()
    cut = (KnockOut(where=vl.Where(keys="vision")),)
    assert (Diagnosing(max_new_tokens=2)(model, asked(2), cut)["cmb"] == 0).all()


# The permutation test.


def test_answers_do_not_depend_on_the_batch(model):
    samples = asked(4)
    one, three, all_of_them = (
        permutation_test(
            model, samples, permutations=2, max_new_tokens=2, batch=batch, progress=False
        )
        for batch in (1, 3, 32)
    )
    assert one["permutation"].values.tolist() == ["original", "seed 0", "seed 1"]
    for other in (three, all_of_them):
        assert (one["answer"] == other["answer"]).all()
        assert (one["correct"] == other["correct"]).all()
        np.testing.assert_allclose(one["log_prob"], other["log_prob"], atol=1e-4)
    turned = permutation_test(
        model, samples[::-1], permutations=2, max_new_tokens=2, progress=False
    ).sel(sample=one["sample"])
    np.testing.assert_allclose(one["log_prob"], turned["log_prob"], atol=1e-4)
    spread = one["log_prob"].std("permutation")
    assert (spread > 1e-3).all()  # each permutation is another one
    assert one.attrs["reference"] == "gold"


def test_without_answers_the_models_own_stand_in(model, tmp_path):
    samples = [replace(sample, answer=None) for sample in asked(3)]
    found = permutation_test(
        model, samples, permutations=1, max_new_tokens=2, folder=tmp_path, progress=False
    )
    assert found.attrs["reference"] == "own"
    original = found.sel(permutation="original")
    assert (original["correct"] == 1).all()  # its own answers are right by definition
    assert (found["gold"] == original["answer"]).all()  # of EVERY sample, also of those with one
    again = permutation_test(
        model, samples, permutations=1, max_new_tokens=2, folder=tmp_path, progress=False
    )
    xr.testing.assert_identical(found, again)


def test_a_batch_that_does_not_fit_is_measured_in_halves(vlm):
    class Greedy(Measure):
        def __call__(self, model, samples, interventions):
            if len(samples) > 2:
                raise torch.OutOfMemoryError("out of memory")
            names = [sample.id for sample in samples]
            return xr.Dataset({"n": ("sample", [len(samples)] * len(samples))}, {"sample": names})

    samples = tuple(vl.Sample("?", id=str(number)) for number in range(5))
    made = Cell(vlm, samples, (), Greedy()).run()
    assert list(made["sample"].values) == ["0", "1", "2", "3", "4"]
    assert list(made["n"].values) == [2, 2, 2, 2, 1]
