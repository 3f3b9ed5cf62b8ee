"""The table, its keys, and going on where one stopped."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import (
    Answering,
    Cell,
    Diagnosing,
    Experiment,
    Measure,
    Probing,
    Shard,
    Store,
    permutation_test,
    read,
)
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.reads import needs, saves_of
from vlmlens.interventions import KnockOut, PatchFrom, PermuteVision, Scale


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


def test_progress_is_told_of_every_result(model, tmp_path):
    told = []
    for _ in range(2):
        counting(model).run(tmp_path, progress=told.append)
    counts = [(event.kind, event.done, event.left) for event in told]
    first, *between, last = counts[:-2]
    assert (first[0], last[0]) == ("started", "finished")
    total = first[2]
    sizes = [len(cell.samples) for _, cell in counting(model).cells()]
    assert [done for _, done, _ in between] == np.cumsum(sizes).tolist()
    assert between == [("done", done, total - done) for _, done, _ in between]
    assert counts[-3:] == [("finished", total, 0), ("started", total, 0), ("finished", total, 0)]
    with as_users(), pytest.raises(InputError, match="a function of an Event"):
        counting(model).run(progress=True)


# Resuming.


def test_what_is_done_is_not_done_again(model, tmp_path):
    alone = counting(model).run()
    first = counting(model).run(tmp_path)
    xr.testing.assert_identical(first, alone)
    CALLS.clear()
    xr.testing.assert_identical(counting(model).run(tmp_path), alone)
    assert CALLS == []


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_another_batch_size_computes_nothing_again(model, tmp_path, batch):
    alone = counting(model).run(tmp_path)
    CALLS.clear()
    xr.testing.assert_identical(replace(counting(model), batch=batch).run(tmp_path), alone)
    assert CALLS == []


def test_samples_in_another_order_and_new_ones_among_them(model, tmp_path):
    first, *others = asked(5)
    counting(model, samples=others).run(tmp_path)
    CALLS.clear()
    found = counting(model, samples=[*reversed(others), first]).run(tmp_path)
    assert CALLS == ["0", "0 PermuteVision()"]
    assert found["sample"].values.tolist() == ["4", "3", "2", "1", "0"]
    assert found["x"].values.tolist() == [[4, 3, 2, 1, 0], [104, 103, 102, 101, 100]]


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
    write = Path.write_bytes

    def break_off(self, data):
        write(self, bytes(data)[:200])
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", break_off)
        with pytest.raises(DataError, match=r"no space left .* what was finished before is kept"):
            counting(model).run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".claims"]
    # As if the machine had gone down while it wrote: what is left is never read.
    write(tmp_path / ".results-abc.parquet.123.part", b"half")
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
            keys, (_, second) = Keys(model, self, saves_of(self)), asked(2)
            store = Store(Path(self.folder))
            table = xr.Dataset({"x": ("sample", [1])})
            store.add(keys.condition(()), [keys.of([second])], ["1"], table)
            store.flush()
        return super().__call__(model, samples, interventions)


def test_what_another_process_finishes_meanwhile_is_not_done_again(model, tmp_path):
    measure = Visited(folder=str(tmp_path))
    found = Experiment(model, asked(4), measure, batch=1).run(tmp_path)
    assert found["x"].values.tolist() == [[0, 1, 2, 3]]
    assert CALLS == ["0", "2", "3"]


# Edits that hold something of every sample of a batch.


def test_activations_of_a_batch_are_told_apart_by_the_place_in_it(model, tmp_path):
    samples = [replace(asked(1)[0], id="same")] * 2
    shown = [replace(samples[0], images=(picture(n),)) for n in range(4)]
    runs = [model.run(model.inputs(shown[n : n + 2]), save="hook_embed") for n in (0, 2)]
    kinds = {"ones": runs[0].saved, "others": runs[1].saved}
    edits = {name: (PatchFrom("hook_embed", source=saved),) for name, saved in kinds.items()}
    alone = Experiment(model, samples, Probing(probes=(probes.hidden_norms,)), edits, batch=2)
    for _ in range(2):
        found = alone.run(tmp_path)
        xr.testing.assert_identical(found, alone.run())
    first, second = found["hidden_norm"].sel(intervention="ones").values
    assert not np.allclose(first, second)


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


@pytest.mark.slow
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


# Tables that are larger than memory.


def test_a_folder_is_filled_and_read_in_parts(model, tmp_path):
    filling = counting(model)
    told = []
    assert filling.fill(tmp_path, progress=told.append) is None
    assert told[-1].kind == "finished"
    before = len(CALLS)
    parts = list(filling.parts(tmp_path, count=2))
    assert len(CALLS) == before
    whole = filling.run(tmp_path)
    assert sum(part.sizes["sample"] for part in parts) == whole.sizes["sample"] > 2
    for n, part in enumerate(parts):
        xr.testing.assert_equal(part, whole.isel(sample=slice(2 * n, 2 * n + 2)))


def test_parts_of_a_folder_that_is_not_filled_are_refused(model, tmp_path):
    filling = counting(model)
    filling.run(tmp_path, executor=Shard(0, 2))
    with pytest.raises(DataError, match="are not done: fill it first"):
        next(filling.parts(tmp_path))
    with as_users(), pytest.raises(InputError, match="count"):
        next(filling.parts(tmp_path, count=0))
