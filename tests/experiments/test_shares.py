"""Shares of an experiment, of a diagnosis, of an evaluation: together they are the whole."""

import json
from dataclasses import dataclass, replace

import pytest
from whole_tables import RECIPES, asked, in_shards, tables

import vlmlens as vl
from vlmlens.evaluation import evaluate
from vlmlens.experiments import Cell, Looking, Shard, diagnose_all, everything


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_shards_that_are_merged_are_the_tables_of_one_process(
    shapes, tmp_path, monkeypatch, recipe
):
    recipe(shapes, tmp_path / "one")
    alone = tables(recipe, shapes, tmp_path / "one")
    merged = in_shards(recipe, shapes, tmp_path)

    def not_again(cell):
        raise AssertionError("this cell is done")

    monkeypatch.setattr(Cell, "run", not_again)
    assert tables(recipe, shapes, merged) == alone


@dataclass(frozen=True)
class Stumbling(Looking):
    """Fails of one sample, and of whatever is in a pass with it."""

    def __call__(self, model, samples, interventions):
        if any(("stumble", "yes") in sample.groups for sample in samples):
            raise RuntimeError("stumbled")
        return super().__call__(model, samples, interventions)


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["gold", "own"])
def test_shares_in_which_samples_fail_are_the_tables_of_one_process(
    shapes, tmp_path, monkeypatch, reference
):
    """Which batch a sample is in, which noise it sees: nothing hangs on what failed elsewhere."""
    samples = list(vl.datasets.load("shapes-2d", samples=9))
    samples[1] = replace(samples[1], images=(str(tmp_path / "gone.png"),))
    samples[4] = replace(samples[4], groups=(("stumble", "yes"),))
    lost = [samples[row].id for row in (1, 4)]
    monkeypatch.setattr(everything, "Looking", Stumbling)
    passes = []
    real = Cell.run

    def seen(cell):
        names = [sample.id for sample in cell.samples]
        passes.append((names, str(cell.measure), str(cell.interventions)))
        return real(cell)

    monkeypatch.setattr(Cell, "run", seen)
    given = {"permutations": 1, "max_new_tokens": 1, "batch": 2, "progress": False}
    given |= {"reference": reference, "max_failed": 2}
    alone = diagnose_all(shapes, samples, folder=tmp_path / "one", **given)
    once = sorted(map(repr, passes))
    passes.clear()
    for i in (2, 0, 1):
        diagnose_all(shapes, samples, folder=tmp_path / "all", executor=Shard(i, 3), **given)
    assert sorted(map(repr, passes)) == once  # the same batches, whatever was left out
    passes.clear()
    whole = diagnose_all(shapes, samples, folder=tmp_path / "all", **given)
    assert {name for names, *_ in passes for name in names} <= set(lost)  # tried again
    assert [each["id"] for each in json.loads(whole.results.attrs["failures"])] == lost
    assert whole.results.drop_attrs().identical(alone.results.drop_attrs())
    for name, table in alone.tables.items():
        assert whole.tables[name].drop_attrs().identical(table.drop_attrs()), name


def test_a_share_of_an_evaluation_is_of_its_own_samples(shapes, tmp_path):
    given = {"conditions": "clean,text-only", "max_new_tokens": 1, "batch": 2, "progress": False}
    part = evaluate(shapes, asked()[:6], executor=Shard(1, 2), folder=tmp_path, **given)
    own = [sample.id for sample in asked()[2:4]]
    assert part.items["sample"].tolist() == own * 2
    assert part.items["answer"].notna().all()


@pytest.mark.slow
def test_shares_of_every_measurement(shapes, tmp_path, monkeypatch):
    """The last run, which reads them, computes no cell, and makes the tables of one process.

    Against the model's own answers, of which a share knows its own samples' alone.
    """
    given = {"permutations": 1, "max_new_tokens": 1, "batch": 2, "progress": False}
    given |= {"reference": "own"}
    samples = vl.datasets.load("shapes-2d", samples=4)
    alone = diagnose_all(shapes, samples, folder=tmp_path / "one", **given)
    assert len(set(alone.results["answer"].sel(permutation="original").values.tolist())) > 2
    for i in (1, 0):
        part = diagnose_all(shapes, samples, folder=tmp_path / "two", executor=Shard(i, 2), **given)
        own = [samples[row].id for rows in Shard(i, 2).batches(4, 2) for row in rows]
        assert part.results["sample"].values.tolist() == own
        assert not part.tables

    def not_again(cell):
        raise AssertionError("this cell is done")

    monkeypatch.setattr(Cell, "run", not_again)
    whole = diagnose_all(shapes, samples, folder=tmp_path / "two", **given)
    assert whole.results.drop_attrs().identical(alone.results.drop_attrs())
    assert set(whole.tables) == set(alone.tables)
    for name, table in alone.tables.items():
        assert whole.tables[name].drop_attrs().identical(table.drop_attrs()), name
    assert "failures" not in json.dumps(whole.results.attrs, default=str)
