"""One bad pair is left out by name, in sweeps, paths, edges and circuits; the others go on."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from as_users import as_users
from closeness import assert_close
from conftest import by_turns

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs
from vlmlens.errors import DataError, ImageError, InputError
from vlmlens.experiments import Circuit, Shard, edges, faithfulness, path_patch, sweep
from vlmlens.experiments.circuits.attributing import Attributing
from vlmlens.experiments.circuits.holding import Holding
from vlmlens.experiments.circuits.paths import Pathing
from vlmlens.experiments.pairs.pieces import PairWork
from vlmlens.experiments.pairs.sweeping import Sweeping
from vlmlens.store import upkeep

KINDS = {
    "sweep": Sweeping,
    "path_patch": Pathing,
    "edges": Attributing,
    "faithfulness": Holding,
}
CIRCUIT = Circuit([("image", "M0"), ("M0", "logits"), ("L0H1", "logits")])


def fifth(logits):
    return logits[:, 5]


def run(which, model, pairs, **options):
    given = {"score": fifth, "progress": False} | options
    if which != "faithfulness":
        given = {"normalized": False} | given
    if which in ("edges", "faithfulness"):
        given = {"batch": 2} | given
        own = {"steps": 0, "writers": ["image", "L0H*"], "readers": ["M0", "logits"]}
        if which == "edges":
            return edges(model, pairs, **own | given)
        return faithfulness(model, CIRCUIT, pairs, **given)
    sides = tuple(zip(*pairs, strict=True))
    if which == "sweep":
        return sweep(model, *sides, over="role", **given)
    return path_patch(model, *sides, "L0H*", ["M0", "logits"], **given)


def values(table):
    """The numbers that every pair has, the pair first."""
    own = table["score"] if isinstance(table, xr.Dataset) else table
    return own.transpose("sample", ...)


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def good():
    pairs = counterfactual_pairs(6, kind="swap")
    return [(pair.clean, pair.corrupted) for pair in pairs]


@pytest.fixture
def bad(good, tmp_path):
    """The second has a picture that is gone, the fourth does not align."""
    pairs = list(good)
    pairs[1] = pairs[1][0], replace(pairs[1][1], images=(str(tmp_path / "gone.png"),))
    longer = pairs[3][1].question + " Say it."
    pairs[3] = pairs[3][0], replace(pairs[3][1], question=longer)
    return pairs


@pytest.fixture(params=by_turns(KINDS, ["sweep", "edges"]))
def which(request, monkeypatch):
    """Pieces so small that every pair has several."""
    monkeypatch.setattr(KINDS[request.param], "most", 7)
    return request.param


def names(pairs):
    return [pair[1].id for pair in pairs]


def failures(table):
    return json.loads(table.attrs["failures"])


@pytest.mark.slow
def test_a_pair_that_fails_is_left_out_by_name(
    shapes, good, bad, caplog, tmp_path, which, monkeypatch
):
    events, tried, real = [], [], PairWork.steps
    given = {"max_failed": 2, "folder": tmp_path / "all", "progress": events.append}
    with caplog.at_level(logging.WARNING, logger="vlmlens.experiments.failing"):
        found = run(which, shapes, bad, **given)
    left = [names(bad)[n] for n in (0, 2, 4, 5)]
    assert found["sample"].values.tolist() == left
    assert [each["id"] for each in failures(found)] == [names(bad)[n] for n in (1, 3)]
    assert "gone.png" in failures(found)[0]["error"]
    for each in failures(found):
        assert f"sample {each['id']} failed and is left out: {each['error']}" in caplog.text
    whole = values(run(which, shapes, good)).sel(sample=left)
    assert_close(np.nan_to_num(values(found).values), np.nan_to_num(whole.values), like=1.0)
    # Told as they come, counted, and at the end nothing is left.
    told = {e.sample: e.error for e in events if e.kind == "failed"}
    assert told == {each["id"]: each["error"] for each in failures(found)}
    assert events[-1].kind == "finished"
    assert (events[-1].failed > 1, events[-1].left) == (True, 0)
    assert all(e.done + e.failed <= e.total for e in events)
    # In the folder.
    status = upkeep.status(tmp_path / "all")
    assert status.unread == [names(bad)[1]]
    assert status.failures == {failures(found)[1]["id"]: failures(found)[1]["error"]}
    assert sum(count.failed for count in status.conditions.values()) == 1

    def noted(self, task):
        tried.extend(task.pairs)
        return real(self, task)

    # Only what failed is tried again.
    monkeypatch.setattr(PairWork, "steps", noted)
    xr.testing.assert_identical(run(which, shapes, bad, **given), found)
    assert set(tried) == {3}


@pytest.mark.slow
def test_shares_threads_and_one_process_leave_out_the_same(shapes, bad, tmp_path, which):
    """Which batch a pair is in, what it begins with: nothing hangs on what failed elsewhere."""
    given = {"max_failed": 2}
    alone = run(which, shapes, bad, folder=tmp_path / "one", **given)
    for i in (1, 0):
        part = run(which, shapes, bad, folder=tmp_path / "all", executor=Shard(i, 2), **given)
        some = values(alone).sel(sample=part["sample"].values)
        assert values(part).values.tobytes() == some.values.tobytes()
    xr.testing.assert_identical(run(which, shapes, bad, folder=tmp_path / "all", **given), alone)
    with ThreadPoolExecutor(2) as threads:
        xr.testing.assert_identical(run(which, shapes, bad, executor=threads, **given), alone)


@pytest.mark.parametrize("which", ["sweep", "edges"])
def test_too_many_end_it_and_what_is_done_is_kept(shapes, bad, tmp_path, which):
    said = "2 of 6 samples failed, and max_failed allows 1"
    with pytest.raises(DataError, match=said):
        run(which, shapes, bad, folder=tmp_path / "all")  # a twentieth, and at least one
    assert sum(each.done for each in upkeep.status(tmp_path / "all").conditions.values()) > 1
    with as_users(), pytest.raises(InputError, match="max_failed"):
        run(which, shapes, bad, max_failed=-1)


@pytest.mark.parametrize("which", ["sweep", "edges"])
def test_what_all_fail_of_is_said_as_it_is(shapes, bad, which):
    with pytest.raises(ImageError, match=r"gone\.png"):
        run(which, shapes, bad[1:2])
    with pytest.raises(InputError, match=r"align|length"):
        run(which, shapes, [bad[3]] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["sweep", "path_patch", "edges"])
def test_a_pair_that_scores_alike_is_left_out(shapes, good, tmp_path, which):
    """Also where it is there already, of a map that was no share of anything."""
    pairs = [*good[:2], (good[2][0], good[2][0]), good[3]]
    given = {"normalized": True}
    alone = run(which, shapes, pairs, **given)
    assert [each["id"] for each in failures(alone)] == [good[2][0].id]
    assert "score alike" in failures(alone)[0]["error"]
    whole = run(which, shapes, pairs, folder=tmp_path / "all")
    assert whole.sizes["sample"] == 4
    xr.testing.assert_identical(run(which, shapes, pairs, folder=tmp_path / "all", **given), alone)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sweep", "path_patch"])
def test_where_the_first_about_a_picture_fails_the_others_begin_by_themselves(
    shapes, tmp_path, kind, monkeypatch
):
    """Whoever computes it: a share that has not the first is as good."""
    monkeypatch.setattr(KINDS[kind], "most", 7)
    one, other = (sample.pictures()[0] for sample in vl.datasets.shapes_2d(8)[::7])
    pairs = []
    for what in ("circle", "square", "triangle"):
        question = f"What color is the {what}?"
        pairs.append(tuple(vl.Sample(question, (p,), id=what) for p in (one, other)))
    pairs[0] = pairs[0][0], replace(pairs[0][1], question="What is it?")
    alone = run(kind, shapes, pairs)
    assert [each["id"] for each in failures(alone)] == ["circle"]
    for i, own in ((1, ["square"]), (0, ["triangle"])):
        part = run(kind, shapes, pairs, folder=tmp_path, executor=Shard(i, 2))
        assert part["sample"].values.tolist() == own
    xr.testing.assert_identical(run(kind, shapes, pairs, folder=tmp_path), alone)
