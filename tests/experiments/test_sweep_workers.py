"""Sweeps and paths by every executor, in shares and after every interruption: the same map."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import xarray as xr
from as_users import as_users
from conftest import by_turns

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs, shapes_2d
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Local, Shard, path_patch, sweep
from vlmlens.experiments.circuits.paths import Pathing
from vlmlens.experiments.pairs.sweeping import Sweeping
from vlmlens.store import upkeep

LAST = vl.Where(positions="last")


def asked():
    """Pairs of two pictures, and three questions about one picture, one after the other."""
    pairs = [(p.clean, p.corrupted) for p in counterfactual_pairs(3, kind="swap")]
    one, other = (sample.pictures()[0] for sample in shapes_2d(8)[::7])
    for what in ("circle", "square", "triangle"):
        question = f"What color is the {what}?"
        pairs.insert(2, tuple(vl.Sample(question, (p,), id=what) for p in (one, other)))
    return tuple(zip(*pairs, strict=True))


def first(logits):
    return logits[:, 5]


def swept(model, folder=None, executor=None, **options):
    given = {"over": "role", "score": first, "normalized": False, "progress": False}
    return sweep(model, *asked(), folder=folder, executor=executor, **given | options)


def patched(model, folder=None, executor=None, **options):
    given = {"score": first, "normalized": False, "progress": False} | options
    ends = ["embed", "L0H*", "L1H*"], ["L1H*.v", "L2H*.v", "logits"]
    return path_patch(model, *asked(), *ends, folder=folder, executor=executor, **given)


RECIPES = {"sweep": swept, "path_patch": patched}
KINDS = {"sweep": Sweeping, "path_patch": Pathing}


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(params=by_turns(RECIPES, ["sweep"]))
def which(request, monkeypatch):
    """Pieces so small that every pair has several."""
    monkeypatch.setattr(KINDS[request.param], "most", 7)
    return request.param


def same(found, alone):
    xr.testing.assert_identical(found, alone)
    assert found.values.tobytes() == alone.values.tobytes()


def forbid(monkeypatch, kind):
    def not_again(*given):
        raise AssertionError("this piece is done")

    monkeypatch.setattr(kind, "cells", not_again)
    monkeypatch.setattr(kind, "runs", not_again)


@pytest.mark.slow
def test_shares_that_are_merged_are_the_map_of_one_process(shapes, tmp_path, monkeypatch, which):
    recipe = RECIPES[which]
    alone = recipe(shapes)
    same(recipe(shapes, tmp_path / "one", Local()), alone)
    parts = [tmp_path / str(i) for i in range(4)]
    for i, part in enumerate(parts):
        share = recipe(shapes, part, Shard(i, 4))
        same(share, alone.isel(sample=slice(i, None, 4)).assign_attrs(share.attrs))
    upkeep.merge(tmp_path / "all", parts)
    forbid(monkeypatch, KINDS[which])
    same(recipe(shapes, tmp_path / "all"), alone)
    counts = upkeep.status(tmp_path / "all").conditions.values()
    assert sum(each.done for each in counts) == sum(each.asked for each in counts) > 6


@pytest.mark.slow
def test_threads_make_the_map_of_one_process(shapes, which):
    with ThreadPoolExecutor(2) as threads:
        same(RECIPES[which](shapes, executor=threads), RECIPES[which](shapes))


@pytest.mark.slow
def test_processes_make_the_map_of_one_process(shapes, which, tmp_path):
    """Which open the model by its name; each of them begins anew with every piece."""
    options = {"score": "log_prob", "over": "head", "where": LAST} if which == "sweep" else {}
    options |= {"point": "blocks.*.attn.hook_z"} if which == "sweep" else {"score": "log_prob"}
    pairs = counterfactual_pairs(2, kind="swap")
    given = [p.clean for p in pairs], [p.corrupted for p in pairs]
    options |= {"normalized": False, "progress": False}
    ends = {} if which == "sweep" else {"senders": "L0H*", "receivers": "logits"}
    run = {"sweep": sweep, "path_patch": path_patch}[which]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = run(shapes, *given, **ends, **options, folder=tmp_path, executor=pool)
    same(found, run(shapes, *given, **ends, **options))


@pytest.mark.slow
def test_a_map_that_was_broken_off_anywhere_is_the_one_that_was_not(
    shapes, tmp_path, monkeypatch, which
):
    """Also where the pair before, about the same picture, is done: its runs are not remembered."""
    kind, recipe = KINDS[which], RECIPES[which]
    alone, real, asked_for = recipe(shapes), kind.cells, []

    def every_third(self, *given):
        asked_for.append(given)
        if len(asked_for) % 3 == 0:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(kind, "cells", every_third)
    breaks = 0
    while True:
        try:
            found = recipe(shapes, tmp_path)
            break
        except KeyboardInterrupt:
            breaks += 1
    same(found, alone)
    assert breaks > 3
    pieces = sum(each.done for each in upkeep.status(tmp_path).conditions.values())
    assert len(asked_for) == pieces + breaks  # nothing twice but what was broken off


@pytest.mark.slow
def test_two_maps_into_one_folder_do_nothing_twice(shapes, tmp_path, monkeypatch, which):
    """One begins while the other is at it: what the first does, the second waits for."""
    kind, recipe = KINDS[which], RECIPES[which]
    alone, real, done = recipe(shapes), kind.cells, []

    def counted(self, both, runs, number):
        done.append((both[0].id, number))
        return real(self, both, runs, number)

    monkeypatch.setattr(kind, "cells", counted)
    recipe(shapes, tmp_path, Shard(0, 2))
    same(recipe(shapes, tmp_path), alone)
    assert len(done) == len(set(done))


def test_progress_is_told_in_cells(shapes, which):
    events = []
    found = RECIPES[which](shapes, progress=events.append)
    count = int(found.notnull().sum())
    assert (events[0].kind, events[0].done, events[0].total) == ("started", 0, count)
    assert (events[-1].kind, events[-1].done, events[-1].left) == ("finished", count, 0)
    assert [e.done for e in events] == sorted(e.done for e in events)
    assert {e.what for e in events} == {KINDS[which].name or "sweep blocks.*.hook_resid_pre"}


def test_misuse_is_refused(shapes, which, tmp_path):
    recipe = RECIPES[which]
    with as_users():
        for given, message in (("ray", "anything with map"), (Shard(7, 8), "none is this shard's")):
            with pytest.raises(InputError, match=message):
                recipe(shapes, executor=given)
        with pytest.raises(InputError, match="function of an Event"):
            recipe(shapes, progress="bar")
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="it is a file"):
            recipe(shapes, tmp_path / "file")


def test_a_pair_begins_with_the_runs_of_the_first_about_its_pictures(shapes, monkeypatch, which):
    """And not with those of the pair before, which may not be at hand on another worker."""
    kind, begun = KINDS[which], []
    real = kind.runs

    def noted(self, both, first):
        made = real(self, both, first)
        begun.append((both, first, made))
        return made

    monkeypatch.setattr(kind, "runs", noted)
    RECIPES[which](shapes)
    asked_of_one = [each for each in begun if each[0][0].id in ("circle", "square", "triangle")]
    (_, nothing, runs), *others = asked_of_one
    assert nothing is None
    assert len(others) == 2
    assert all(first is runs for _, first, _ in others)
