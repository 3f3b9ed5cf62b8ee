"""Ray, with two workers on this machine, started once: the same tables, also after a kill."""

import os
import signal
import sys
from dataclasses import dataclass, replace

import psutil
import pytest
import torch
import xarray as xr
from as_users import as_users
from children import until
from conftest import by_turns
from whole_tables import RECIPES, tables

import vlmlens as vl
from vlmlens import cli
from vlmlens.cli import diagnosing, evaluating
from vlmlens.datasets import counterfactual_pairs
from vlmlens.errors import InputError
from vlmlens.experiments import (
    Answering,
    Cell,
    Circuit,
    Experiment,
    OnRay,
    edges,
    faithfulness,
    harvest,
    path_patch,
    sweep,
)
from vlmlens.experiments.on_ray import start_here
from vlmlens.interventions import PermuteVision
from vlmlens.store import upkeep

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")
#: Words that only the command lines of Ray's own processes have.
RAYS = ("raylet", "gcs_server", "ray::", "ray/_private", "ray/dashboard", "ray/autoscaler")

#: What a command is told: --shard, --ray, --workers, options of opening the model.
SAID = ("", "auto", 2, {})


def rays():
    """Ray's processes that this one started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(word in " ".join(process.cmdline()) for word in RAYS):
                found.append(process)
        except psutil.Error:  # ended just now
            continue
    return found


def computes(process):
    """Whether it is there; one that has ended is, until whoever took it over has read its end."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def workers():
    """Two workers that all tests share; nothing of Ray's is left when they are done."""
    executor = OnRay(workers=2)
    yield executor
    left = rays()
    assert left, "they were there"
    vars(executor).clear()
    ray.shutdown()
    try:
        until(lambda: not any(map(computes, left)), "Ray's processes are gone", limit=60)
    finally:
        for process in filter(computes, left):
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", by_turns(RECIPES.values(), [RECIPES["diagnose"]]), ids=RECIPES)
def test_two_workers_make_the_tables_of_one_process(shapes, tmp_path, workers, recipe):
    recipe(shapes, tmp_path / "one")
    recipe(shapes, tmp_path / "two", workers)
    alone = tables(recipe, shapes, tmp_path / "one")
    assert tables(recipe, shapes, tmp_path / "two") == alone


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(shapes, tmp_path, workers):
    samples = vl.datasets.load("shapes-2d", samples=12)
    edits = {"original": (), "seed 0": (PermuteVision(),)}
    run = Experiment(shapes, samples, Answering(max_new_tokens=2), edits, batch=2)
    killed, done = [], []

    def kill_one(event):
        """When something is done: one of the two processes that compute."""
        done.append(event)
        if event.kind == "done" and not killed:
            computing = [p for p in rays() if "_Worker" in " ".join(p.cmdline())]
            assert len(computing) == 2
            os.kill(computing[0].pid, signal.SIGKILL)
            killed.append(computing[0])

    found = run.run(tmp_path, executor=workers, progress=kill_one)
    assert killed
    until(lambda: not killed[0].is_running(), "the killed worker is gone", limit=20)
    assert [event.done for event in done if event.kind == "done"] == list(range(2, 25, 2))
    xr.testing.assert_identical(found, run.run())
    xr.testing.assert_identical(found, run.run(tmp_path))
    counts = upkeep.status(tmp_path).conditions.values()
    assert [(each.done, each.failed, each.left) for each in counts] == [(12, 0, 0)] * 2
    assert upkeep.gc(tmp_path)["rows there twice"] == 0


def test_a_measure_of_ones_own_is_the_same_there(shapes, workers):
    """As of a script or a notebook: it is sent as it is, and known by what it does."""

    @dataclass(frozen=True)
    class Longer(Answering):
        @torch.no_grad()
        def __call__(self, model, samples, interventions):
            table = super().__call__(model, samples, interventions)
            return table.assign(length=table["answer"].str.len())

    samples = vl.datasets.load("shapes-2d", samples=4)
    run = Experiment(shapes, samples, Longer(max_new_tokens=1), batch=2)
    xr.testing.assert_identical(run.run(executor=workers), run.run())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module"), [("diagnose", diagnosing), ("evaluate", evaluating)])
def test_a_command_has_its_work_done_by_workers(tmp_path, workers, monkeypatch, name, module):
    """As --ray says; the two that are there already take it."""
    monkeypatch.setattr(module, "executor_of", lambda *said: said == SAID and workers)
    words = ["--ray", "auto", "--workers", "2", "--max-new-tokens", "1", "--permutations", "1"]
    words += ["--samples", "4", "--batch", "2", "--quiet", "--out", str(tmp_path)]
    words = ["vlmlens", name, "shapes-base", "--data", "shapes-2d", *words]
    monkeypatch.setattr("sys.argv", words)

    def not_here(cell):
        raise AssertionError("others compute")

    monkeypatch.setattr(Cell, "run", not_here)
    with pytest.raises(SystemExit) as end:
        cli.run()
    assert not end.value.code
    counts = upkeep.status(tmp_path / "cells").conditions.values()
    assert {(each.done % 4, each.left) for each in counts} == {(0, 0)}


RECIPES_OF_PAIRS = ["sweep", "path_patch", "edges", "faithfulness"]


@pytest.mark.slow
@pytest.mark.parametrize("which", [*RECIPES_OF_PAIRS, "harvest"])
def test_workers_do_all_that_is_long_as_one_process(shapes, tmp_path, workers, which):
    """And leave out the pair that does not align."""
    pairs = counterfactual_pairs(3, kind="swap")
    clean, other = [p.clean for p in pairs], [p.corrupted for p in pairs]
    other[1] = replace(other[1], question="What is it?")
    given = {"normalized": False, "progress": False, "score": "log_prob"}

    def found(folder, executor=None):
        how = {"folder": folder, "executor": executor}
        if which == "sweep":
            return sweep(shapes, clean, other, over="role", **given, **how)
        if which == "path_patch":
            return path_patch(shapes, clean, other, "L0H*", "logits", **given, **how)
        twins = list(zip(clean, other, strict=True))
        if which == "edges":
            return edges(shapes, twins, steps=1, batch=2, **given, **how)
        if which == "faithfulness":
            circuit = Circuit([("image", "M0"), ("M0", "logits")])
            return faithfulness(shapes, circuit, twins, batch=2, progress=False, **how)
        points = "blocks.*.hook_mlp_out"
        table = harvest(shapes, clean, points, batch=1, progress=False, **how).dataset()
        return table.load()

    alone = found(tmp_path / "one")
    assert (other[1].id in alone.attrs.get("failures", "")) == (which != "harvest")
    xr.testing.assert_identical(found(tmp_path / "ray", workers), alone)
    xr.testing.assert_identical(found(tmp_path / "ray"), alone)


def test_a_sample_that_fails_on_a_worker_is_named(shapes, workers):
    samples = vl.datasets.load("shapes-2d", samples=4)
    none = vl.Sample("What is this?", answer="red", id="none", images=("nowhere.png",))
    run = Experiment(shapes, [*samples, none], Answering(max_new_tokens=1), max_failed=1)
    found = run.run(executor=workers)
    assert "nowhere.png" in found.attrs["failures"]
    assert found.sizes["sample"] == 4


@pytest.mark.slow
def test_workers_that_fit_nowhere_are_refused(shapes, workers):
    samples = vl.datasets.load("shapes-2d", samples=2)
    run = Experiment(shapes, samples, Answering(max_new_tokens=1))
    run.run(executor=workers)  # Ray is there
    with pytest.raises(InputError, match=r"no worker with 1 CPUs and 3 GPUs fits anywhere: Ray"):
        run.run(executor=OnRay(num_gpus=3))


class Recorded:
    """Ray that says what is asked of it, and is nowhere."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        def asked(*args, **options):
            self.asked.append((name, *args))
            if name == "init":
                raise ConnectionError("nobody answers")
            return False

        return asked


def test_a_cluster_is_connected_to_before_anything_is_asked_of_ray(monkeypatch):
    """Which starts one of its own otherwise, and passes by the address."""
    monkeypatch.setitem(sys.modules, "ray", none := Recorded())
    with pytest.raises(InputError, match=r"address='10.0.0.1:1': no cluster of Ray's"):
        list(OnRay(address="10.0.0.1:1").steps(lambda task: [task], ["a task"]))
    assert none.asked == [("is_initialized",), ("init", "10.0.0.1:1")]


def test_another_cluster_than_the_connected_one_is_refused(shapes, workers):
    samples = vl.datasets.load("shapes-2d", samples=2)
    run = Experiment(shapes, samples, Answering(max_new_tokens=1))
    run.run(executor=workers)
    with pytest.raises(InputError, match=r"address='10.0.0.1:1'.* connected to '.*:\d+'"):
        run.run(executor=OnRay(address="10.0.0.1:1"))


@pytest.mark.slow
def test_workers_that_are_none_are_refused():
    for given in ({"num_cpus": 0}, {"workers": 0}, {"num_gpus": -1}, {"workers": 1.5}):
        with as_users(), pytest.raises(InputError, match=next(iter(given))):
            OnRay(**given)


@pytest.mark.parametrize("fails", [1, 2])
def test_ray_is_started_once_more_where_its_node_was_late(fails):
    calls = []

    class Late:
        """Ray on a busy machine."""

        def init(self, where, **options):
            calls.append((where, options))
            if len(calls) - calls.count("shutdown") <= fails:
                raise Exception("The current node timed out during startup.")

        def shutdown(self):
            calls.append("shutdown")

    def start():
        start_here(Late(), num_cpus=2)

    once = [("local", {"num_cpus": 2}), "shutdown"]
    if fails == 1:
        start()
        assert calls == [*once, once[0]]
    else:
        with pytest.raises(InputError, match=r"timed out during startup.*2 times.*Shard"):
            start()
        assert calls == once * 2
