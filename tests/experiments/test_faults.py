"""What goes wrong on real machines, done for real: kills, full disks, changed files, two at once.

Children are forks of this process, which has everything imported: a run begins at once.
"""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from children import HOME, dies_with_its_parent, ended, python, until
from conftest import QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Answering, Experiment, Measure, Shard, diagnose, kept, sweep
from vlmlens.interventions import PermuteVision, Scale
from vlmlens.store import late as late_listings
from vlmlens.store import store as stores
from vlmlens.store import upkeep
from vlmlens.store.shards import NAMES

FORK = multiprocessing.get_context("fork")
EDITS = {"original": (), "seed 0": (PermuteVision(),)}


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*build("llava"), name="tiny") as opened:
        yield opened


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


def asked(count=20):
    return [vl.Sample(QUESTIONS[0], (picture(n),), answer="red", id=f"s{n}") for n in range(count)]


@dataclass(frozen=True)
class Slow(Measure):
    """A number and an array of every sample, slowly; who was measured is written down."""

    log: str = ""
    seconds: float = 0.005
    wide: int = 8

    def __call__(self, model, samples, interventions):
        time.sleep(self.seconds)
        numbers = np.array([int(s.id[1:]) + 1000 * len(interventions) for s in samples])
        if self.log:
            with Path(self.log).open("a") as file:
                file.write("".join(f"{number}\n" for number in numbers))
        arrays = np.array([np.random.default_rng(n).random(self.wide) for n in numbers])
        return xr.Dataset({"x": ("sample", numbers), "a": (("sample", "k"), arrays)})


def experiment(model, measure=Slow(), **more):
    given = {"samples": asked(), "interventions": EDITS, "batch": 2, "measure": measure} | more
    return Experiment(model, **given)


@pytest.fixture
def at_once(monkeypatch):
    """Everything that is finished is written at once."""
    monkeypatch.setattr(stores, "SECONDS", 0.0)


@contextmanager
def child(function):
    """A fork that does something; its status says how it ended."""

    def run():
        dies_with_its_parent()
        try:
            function()
        except DataError as error:
            print(error, file=sys.stderr)
            os._exit(7)
        except BaseException:
            os._exit(8)
        os._exit(0)

    started = FORK.Process(target=run, daemon=True)
    started.start()
    try:
        yield started
    except BaseException:
        started.kill()
        raise
    ended(started)


# Kills.


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_double_nothing(model, tmp_path, at_once):
    """At random moments, until it is done; what is read at last is what one run gives."""
    rng, slow, done = random.Random(0), Slow(seconds=0.01), [0]
    before = time.monotonic()
    with child(lambda: experiment(model, slow).run(tmp_path / "other")):
        pass
    lasts = time.monotonic() - before
    for _ in range(20):
        with child(lambda: experiment(model, slow).run(tmp_path / "cells")) as started:
            time.sleep(rng.uniform(0.0, lasts))
            os.kill(started.pid, signal.SIGKILL)
        if list((tmp_path / "cells").glob("results-*")):
            counts = upkeep.status(tmp_path / "cells").conditions.values()
            done.append(sum(each.done for each in counts))
    assert done == sorted(done)
    assert done[-1] > 0
    tmp_path = tmp_path / "cells"
    xr.testing.assert_identical(
        experiment(model, slow).run(tmp_path), experiment(model, slow).run()
    )
    found = upkeep.status(tmp_path)
    assert [(c.done, c.failed, c.left) for c in found.conditions.values()] == [(20, 0, 0)] * 2
    assert not found.running
    assert not list(tmp_path.glob(".*.part"))
    assert not found.damaged


def heeds_interrupts():
    """As a command in a terminal does; what a shell begins in the background ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


STOPPED = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "status"), by_turns(STOPPED, STOPPED[:1]))
def test_a_command_that_is_stopped_says_so_and_goes_on_later(tmp_path, sign, status):
    words = ["diagnose", "--samples", "400", "--batch", "2", "--quiet", "--out"]
    command = [sys.executable, "-c", "from vlmlens import cli; cli.run()", *words]
    environment = os.environ | {"PYTHONPATH": HOME}
    told, out = tmp_path / "told", tmp_path / "out"
    with (
        told.open("w") as into,
        subprocess.Popen(
            [*command, str(out)], stderr=into, env=environment, preexec_fn=heeds_interrupts
        ) as run,
    ):
        try:
            until(
                lambda: run.poll() is not None or list(out.glob("cells/results-*")), "a first file"
            )
            assert run.poll() is None, told.read_text()
            run.send_signal(sign)
            run.wait(timeout=60)  # what runs is finished first: seconds, where nothing else runs
        finally:
            run.kill()
    assert run.returncode == status
    assert told.read_text().splitlines()[-1] == (
        "interrupted; what is finished is kept: run the same command again, and it goes on"
    )
    found = upkeep.status(out / "cells")
    (count,) = found.conditions.values()
    assert count.done > 0
    assert count.left == 400 - count.done
    assert not found.running


# Disks.


def test_a_disk_that_is_full_keeps_what_was_finished(model, tmp_path, at_once, capfd):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        experiment(model, Slow(wide=2000), batch=1).run(tmp_path)

    with child(limited) as started:
        pass
    assert started.exitcode == 7
    assert "what was finished before is kept: make room" in capfd.readouterr().err
    assert not list(tmp_path.glob(".results*"))
    there = upkeep.status(tmp_path)
    assert not there.damaged
    wide = experiment(model, Slow(wide=2000), batch=1)
    xr.testing.assert_identical(wide.run(tmp_path), wide.run())


def test_a_folder_that_may_only_be_read(model):
    """As somebody who may not write; root may do everything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)

    def as_nobody(count):
        if os.getuid() == 0:
            os.setuid(65534)
        found = experiment(model, samples=asked(count)).run(folder)
        os._exit(0 if found.sizes["sample"] == count else 9)

    try:
        experiment(model).run(folder)
        folder.chmod(0o555)
        with child(lambda: as_nobody(20)) as whole:  # all is there
            pass
        with child(lambda: as_nobody(21)) as more:  # something is not
            pass
        assert (whole.exitcode, more.exitcode) == (0, 7)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# Two at once.


@pytest.mark.parametrize("batches", [(2, 2), (2, 3)])
def test_two_runs_on_one_folder(model, tmp_path, at_once, batches):
    log = tmp_path / "log"
    slow = Slow(log=str(log), seconds=0.02)
    runs = [experiment(model, slow, batch=batch) for batch in batches]
    with (
        child(lambda: runs[0].run(tmp_path / "cells")) as one,
        child(lambda: runs[1].run(tmp_path / "cells")) as two,
    ):
        pass
    assert one.exitcode == two.exitcode == 0
    measured = log.read_text().split()
    assert len(set(measured)) == 40
    if batches == (2, 2):
        assert len(measured) == 40  # no work is done twice
    table = runs[0].run(tmp_path / "cells")
    assert len(log.read_text().split()) == len(measured)
    xr.testing.assert_identical(table, runs[0].run())


def test_a_run_goes_on_where_the_one_that_it_waits_for_is_killed(model, tmp_path, at_once):
    log = tmp_path / "log"
    slow = Slow(log=str(log), seconds=0.3)
    short = experiment(model, slow, samples=asked(2), interventions={"original": ()})
    with child(lambda: short.run(tmp_path / "cells")) as killed:
        until(log.exists, "the first has the only batch, and is at work")
        with child(lambda: short.run(tmp_path / "cells")) as waiting:
            time.sleep(0.1)
            os.kill(killed.pid, signal.SIGKILL)
    assert waiting.exitcode == 0
    assert upkeep.status(tmp_path / "cells").conditions.popitem()[1].done == 2


# Disks of a network, and clocks.


class Late:
    """A folder's listing as of a while ago; what is gone is gone at once."""

    def __init__(self, seconds):
        self.seconds, self.seen, self.hidden = seconds, {}, 0

    def glob(self, real):
        def listed(folder, pattern):
            for path in list(real(folder, pattern)):
                age = time.monotonic() - self.seen.setdefault(str(path), time.monotonic())
                if pattern == NAMES and age < self.seconds:
                    self.hidden += 1
                else:
                    yield path

        return listed


@dataclass(frozen=True)
class Quick(Measure):
    """A number, by code that does not know of folders, which are patched below."""

    def __call__(self, model, samples, interventions):
        numbers = [int(s.id[1:]) + 1000 * len(interventions) for s in samples]
        return xr.Dataset({"x": ("sample", np.array(numbers))})


@pytest.fixture
def late(monkeypatch):
    """A renamed file is listed only later, as on a network's disk."""
    listing = Late(0.3)
    monkeypatch.setattr(Path, "glob", listing.glob(Path.glob))
    monkeypatch.setattr(late_listings, "WAITS", (0.0, 0.1, 0.2, 0.4))
    return listing


def test_a_run_whose_own_files_are_listed_late_finds_them(model, tmp_path, at_once, late):
    late.seconds = 3600.0
    run = experiment(model, Slow(seconds=0.0))
    xr.testing.assert_identical(run.run(tmp_path), run.run())
    assert late.hidden
    assert upkeep.status(tmp_path).conditions


def test_files_of_another_that_are_listed_late_are_waited_for(model, tmp_path, late):
    """Others put small files together just now: those are gone, the large one is not listed."""
    run, put, events, real = experiment(model, Quick()), [], [], kept.settle
    for i in range(2):
        run.run(tmp_path, executor=Shard(i, 2))
    late.seen = {str(path): -late.seconds for path in tmp_path.iterdir()}  # listed by now

    def after_others(store, meant):
        shards = list(store.shards.values())
        put.append(stores.put_into_one(shards))
        real(store, meant)

    late_before = late.hidden
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept, "settle", after_others)
        found = run.run(tmp_path, progress=events.append)
    assert (len(put), late.hidden > late_before) == (1, True)
    assert [event.kind for event in events] == ["started", "finished"]  # nothing was left to do
    xr.testing.assert_identical(found, run.run())


def test_a_shard_whose_neighbour_s_files_are_listed_late_loses_and_doubles_nothing(
    model, tmp_path, at_once, late
):
    """It may compute some of them again: each is read once."""
    run = experiment(model, Quick())
    run.run(tmp_path / "cells", executor=Shard(0, 2))
    xr.testing.assert_identical(run.run(tmp_path / "cells"), run.run())
    time.sleep(late.seconds)
    xr.testing.assert_identical(run.run(tmp_path / "cells"), run.run())


def test_a_clock_that_is_set_back_during_a_run_changes_nothing(
    model, tmp_path, at_once, monkeypatch
):
    """By an hour with every look at it, and files are dated so: nothing is lost, or done twice."""
    log, began, real = tmp_path / "log", time.time(), os.fsync
    now = [began]

    def earlier():
        now[0] -= 3600.0
        return now[0]

    def dated(handle):
        real(handle)
        os.utime(handle, (earlier(), now[0]))

    monkeypatch.setattr(time, "time", earlier)
    monkeypatch.setattr(os, "fsync", dated)
    events = []
    run = experiment(model, Slow(log=str(log), seconds=0.0))
    found = run.run(tmp_path / "cells", progress=events.append)
    assert [event.done for event in events] == sorted(event.done for event in events)
    log.unlink()
    xr.testing.assert_identical(run.run(tmp_path / "cells"), found)
    assert not log.exists()  # nothing was measured again
    xr.testing.assert_identical(run.run(), found)
    assert now[0] < began - 3600.0  # it was set back
    status = upkeep.status(tmp_path / "cells")
    assert not status.damaged
    assert [count.left for count in status.conditions.values()] == [0, 0]


# Changes under the folder.


def test_a_picture_that_was_changed_is_measured_again(model, tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n, path in enumerate(paths):
        picture(n).save(path)
        os.utime(path, (1e9, 1e9))
    log = tmp_path / "log"
    samples = [replace(s, images=(str(p),)) for s, p in zip(asked(4), paths, strict=True)]
    run = experiment(model, Slow(log=str(log)), samples=samples, interventions={"original": ()})
    time.sleep(0.2)  # a file that was written just now may be written again within its clock's tick
    run.run(tmp_path / "cells")
    log.unlink()
    picture(9).save(paths[2])
    os.utime(paths[2], (1e9, 1e9))
    run.run(tmp_path / "cells")
    assert log.read_text().split() == ["2"]


def test_a_model_that_was_changed_is_measured_again(tmp_path):
    log = tmp_path / "log"
    with vl.HookedVLM(*build("llava"), name="tiny") as model:
        run = experiment(model, Slow(log=str(log)), interventions={"original": ()})
        run.run(tmp_path / "cells")
        log.unlink()
        weight = model.hf_model.model.language_model.layers[0].self_attn.o_proj.weight
        with torch.no_grad():
            weight.add_(1.0)
        try:
            run.run(tmp_path / "cells")
        finally:
            with torch.no_grad():
                weight.sub_(1.0)
    assert len(log.read_text().split()) == 20


# Executors.


def pooled(kind):
    if kind is ThreadPoolExecutor:
        return kind(2)
    return kind(2, mp_context=FORK, initializer=dies_with_its_parent)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_pools_give_the_table_of_one_process(shapes, tmp_path, kind):
    samples = vl.datasets.load("shapes-2d", samples=6)
    run = Experiment(shapes, samples, Answering(max_new_tokens=2), EDITS, batch=2)
    with pooled(kind) as pool:
        found = run.run(tmp_path, executor=pool)
    xr.testing.assert_identical(found, run.run())
    xr.testing.assert_identical(found, run.run(tmp_path))


#: What hangs in a fork: threads of OpenMP, which the process has used and its forks wait for.
FORKED = """
import multiprocessing, sys, torch, vlmlens as vl
from concurrent.futures import ProcessPoolExecutor
torch.set_num_threads(2)
from vlmlens.experiments import Answering, Experiment
samples = vl.datasets.load("shapes-2d", samples=3)
with vl.HookedVLM.from_pretrained("shapes-base") as model:
    run = Experiment(model, samples, Answering(max_new_tokens=2))
    alone = run.run()
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        found = run.run(executor=pool)
    assert found.answer.equals(alone.answer) and found.sizes["sample"] == 3
"""


@pytest.mark.slow
def test_a_fork_of_a_process_that_has_used_threads_goes_on():
    python(FORKED)


@pytest.mark.slow
def test_shards_give_the_table_of_one_process(shapes, tmp_path):
    samples = vl.datasets.load("shapes-2d", samples=9)
    run = Experiment(shapes, samples, Answering(max_new_tokens=2), EDITS, batch=2)
    alone = run.run()
    for i in (3, 0, 1, 2):
        part = run.run(tmp_path, executor=Shard(i, 4))
        own = alone.isel(sample=[row for rows in Shard(i, 4).batches(9, 2) for row in rows])
        xr.testing.assert_equal(part, own)
    xr.testing.assert_identical(run.run(tmp_path), alone)
    with pytest.raises(InputError, match=r"shard 5/8: there are 5 batches, and none is"):
        run.run(tmp_path, executor=Shard(5, 8))


@pytest.mark.slow
def test_shards_of_a_diagnosis_and_of_a_sweep(shapes, tmp_path):
    samples = vl.datasets.load("shapes-2d", samples=4)
    given = {"permutations": 1, "max_new_tokens": 2, "batch": 1, "progress": False}
    for i in range(2):
        found = diagnose(shapes, samples, folder=tmp_path, executor=Shard(i, 2), **given)
        assert found.results["sample"].values.tolist() == [s.id for s in samples[i::2]]
    whole = diagnose(shapes, samples, folder=tmp_path, **given).results
    alone = diagnose(shapes, samples, **given).results
    xr.testing.assert_equal(whole, alone)
    given = {"point": "blocks.*.hook_mlp_out", "edit": Scale(by=0.5), "over": "role"}
    given |= {"score": "log_prob", "progress": False, "folder": tmp_path / "sweep"}
    parts = [sweep(shapes, samples[:2], executor=Shard(i, 2), **given) for i in range(2)]
    whole = sweep(shapes, samples[:2], **given)
    assert [part["sample"].item() for part in parts] == whole["sample"].values.tolist()
    xr.testing.assert_equal(whole.isel(sample=[1]), parts[1])


def test_a_model_made_in_memory_is_not_sent_anywhere(model):
    with pooled(ProcessPoolExecutor) as pool, pytest.raises(InputError, match="made in memory"):
        experiment(model).run(executor=pool)


def test_a_worker_whose_model_is_another_is_refused(shapes):
    norm = shapes.hf_model.model.language_model.norm.weight
    as_it_was = norm.detach().clone()
    with torch.no_grad():
        norm.mul_(1.5)
    samples = vl.datasets.load("shapes-2d", samples=2)
    run = Experiment(shapes, samples, Answering(max_new_tokens=1))
    try:
        with pooled(ProcessPoolExecutor) as pool, pytest.raises(DataError, match="was changed"):
            run.run(executor=pool)
    finally:
        with torch.no_grad():
            norm.copy_(as_it_was)


def test_what_is_no_executor_is_refused(model):
    for given in ("ray", 4, ThreadPoolExecutor):
        with as_users(), pytest.raises(InputError, match="anything with map"):
            experiment(model).run(executor=given)


def test_a_share_by_what_a_cluster_says():
    slurm = {f"SLURM_ARRAY_TASK_{k}": v for k, v in {"ID": "7", "MIN": "1", "STEP": "2"}.items()}
    assert Shard.of("auto", slurm | {"SLURM_ARRAY_TASK_COUNT": "5"}) == Shard(3, 5)
    assert Shard.of("auto", {"RANK": "0", "WORLD_SIZE": "2"}) == Shard(0, 2)
    with pytest.raises(InputError, match="set both, or say i/n"):
        Shard.of("auto", {"SLURM_ARRAY_TASK_ID": "1"})
    for said in ("4/4", "1", "-1/2", "auto", "a/b"):
        with pytest.raises(InputError):
            Shard.of(said, {})
