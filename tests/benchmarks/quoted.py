"""Figures that pages quote and no other command prints: ``python -m tests.benchmarks.quoted PAGE``.

A function for each page, named as the page; without PAGE all of them. Times are CPU seconds of one
thread.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import vlmlens as vl
from tests.benchmarks.timing import quartiles, seconds
from vlmlens.datasets import shapes_2d
from vlmlens.experiments import Answering, Experiment, harvest
from vlmlens.interventions import NormalizeVision, ZeroAblate
from vlmlens.interventions.normalize import KINDS
from vlmlens.probes import cmb, norms, rope
from vlmlens.probes.statistics import proportion_interval

ROUNDS = 25
HARVESTED = (100, 400, 1_600, 4_000)
STREAM = "blocks.*.hook_resid_post"
#: Edited sixteen at a time: a tower's first and last block, and the language model's.
CELLS = (
    "vision.blocks.0.hook_resid_post",
    "vision.blocks.3.hook_resid_post",
    "projector.hook_out",
    "blocks.0.hook_resid_pre",
    "blocks.3.hook_resid_post",
)


def milliseconds(run: Callable[[], object], times: int = 1) -> float:
    """CPU time of one of so many things that a call does, the median of its repetitions."""
    run()
    return 1000 * quartiles([seconds(run) for _ in range(ROUNDS)])[1] / times


def activations() -> None:
    """What harvesting takes, each number of samples in a process of its own."""
    for size in HARVESTED:
        words = [sys.executable, "-m", "tests.benchmarks.quoted", "harvested", str(size)]
        print(subprocess.run(words, check=True, text=True, capture_output=True).stdout, end="")


def harvested(size: int) -> None:
    """One row: so many samples harvested, then read."""
    with tempfile.TemporaryDirectory() as folder, _bundled() as model:

        def fill(samples: Any, name: str) -> Any:
            return harvest(model, samples, STREAM, folder=f"{folder}/{name}", dtype="float32")

        fill(shapes_2d(32, seed=1), "first")  # imports
        samples = shapes_2d(size)
        start = _most()
        took = seconds(lambda: fill(samples, "all"))
        filled = _most() - start
        found, (point, *_) = fill(samples, "all"), model.matching(STREAM)
        for _ in found.tensors(point, size=1024):
            pass
        files = list(Path(folder, "all").glob("results-*"))
        held = sum(file.stat().st_size for file in files) / 1e6
        print(
            f"{len(samples)} samples: {held:.0f} MB, {len(files)} files, peak {filled:.0f} MB, "
            f"with reading {_most() - start:.0f} MB, {took:.1f} CPU-s"
        )


def concepts() -> None:
    """What rescaling vision tokens does to models that were trained otherwise."""
    samples = shapes_2d(96)
    edits = {"as it is": (), **{kind: (NormalizeVision(kind=kind),) for kind in KINDS}}
    for name in ("shapes-base", "shapes-staged", "shapes-multilayer"):
        with vl.HookedVLM.from_pretrained(name) as model:
            right = Experiment(model, samples, Answering(), edits).run()["correct"]
        shares = right.mean("sample").to_series()
        print(f"{name}:", ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()))


def decisions() -> None:
    """Arrays as lists in the store's files: bytes, and time to write and to read."""
    from vlmlens.store import Condition, Store

    count, shape = 1_000, (32, 32)
    rows = np.random.default_rng(0).standard_normal((count, *shape), dtype="f4")
    condition = Condition("0" * 24, {"label": "one"})
    keys = [n.to_bytes(12, "big") for n in range(count)]
    with tempfile.TemporaryDirectory() as folder:

        def write() -> None:
            store = Store(Path(folder))
            store.open()
            table = xr.Dataset({"x": (("sample", "row", "column"), rows)})
            store.add(condition, keys, [f"q{n}" for n in range(count)], table)
            store.flush()

        def read() -> None:
            store = Store(Path(folder))
            store.open()
            (found,) = store.read({"all": (condition.key, keys)})["all"]
            assert found[1].sizes["sample"] == count

        wrote, took = seconds(write), seconds(read)
        held = sum(file.stat().st_size for file in Path(folder).glob("results-*"))
    print(f"{held / rows.nbytes:.2f} of the raw bytes", end="; ")
    print(f"{1000 * wrote / count:.2f} ms a sample to write, {1000 * took / count:.2f} to read")


def gallery() -> None:
    """A page of the explorer with every row dense."""
    rows = np.random.default_rng(0).dirichlet(np.ones(640), size=(32, 32, 17)).astype("f4")
    with tempfile.TemporaryDirectory() as folder:
        view = vl.plots.explorer(rows, [f"t{n}" for n in range(640)])
        print(f"{view.save(Path(folder) / 'page.html').stat().st_size / 1e6:.1f} MB")


def paper() -> None:
    """The ratio of norms at the input of block 2, by who counts as the user."""
    with _bundled() as model:
        run = model.run(model.inputs(shapes_2d(48)), save=norms.NEEDS)
        for tags in (True, False):
            ratio = vl.probes.norm_ratio(vl.probes.hidden_norms(run, tags=tags))["log10_ratio"]
            at = float(10 ** ratio.isel(depth=2).mean())
            print(f"tags={tags}: vision / user {at:.2f} at {ratio['depth'].values[2]}")


def performance() -> None:
    """What looking at the tower's weights takes; and the memory of long passes, counted."""
    from vlmlens.planning import drawn, weighing
    from vlmlens.zoo.opening.weightless import weightless
    from vlmlens.zoo.tiny import build

    with _bundled() as model:
        samples = shapes_2d(8)
        inputs = model.inputs(samples)

        def both() -> str:
            took = [lambda: model.run(inputs), lambda: model.inputs(samples)]
            return "a pass {:.1f} ms, preparing {:.1f} ms".format(*map(milliseconds, took))

        print(f"8 pictures: {both()}")
        with model.reuse() as reuse:
            print(f"reused: {both()}")
            assert not reuse.why_not
    tiny, _ = build("llava")
    needs = {"pass": (), "CMB": cmb.NEEDS, "RoPE probe": rope.NEEDS, "norms": norms.NEEDS}
    with ExitStack() as stack:
        bare = stack.enter_context(vl.HookedVLM(weightless("llava", tiny.config)))
        scale = stack.enter_context(weighing(bare.hf_model, {}))
        for length in (4096, 8192, 16384, 32768):
            inputs = drawn(bare, length)
            peaks = {
                name: scale.count(lambda own=own: bare.run(inputs, save=own, logits="last")).peak  # noqa: B023
                for name, own in needs.items()
            }
            print(f"{length}:", ", ".join(f"{k} {v / 2**20:.1f} MiB" for k, v in peaks.items()))


def sweeps() -> None:
    """What a cell takes, sixteen at a time, by where it edits."""
    with _bundled() as model:
        kept = model.prefill(model.inputs(shapes_2d(1)))
        for point in CELLS:
            cells = [[ZeroAblate(point)]] * 16
            took = milliseconds(lambda c=cells: model.resume(kept, c), times=16)
            print(f"{point}: {took:.1f} ms a cell")


def variants() -> None:
    """What a norm plugged into a trained model does, on 900 questions."""
    from vlmlens.zoo import variants as made

    samples = shapes_2d(900, seed=11)
    with _bundled() as model:
        entering = model.run(model.inputs(samples[:48]), save=norms.NEEDS)
        print(vl.probes.hidden_norms(entering).isel(depth=0).mean("sample").to_series().to_dict())
        llava, processor = model.hf_model, model.processor
    tried = {kind: made.normalize(llava, kind) for kind in KINDS}
    tried = {"as it was trained": llava, **tried, "multilayer, untrained": made.multilayer(llava)}
    found = {}
    for name, each in tried.items():
        with vl.HookedVLM(each, processor) as model:
            table = Experiment(model, samples, Answering(), {"": ()}).run()
        found[name] = table["correct"].values.ravel()
        kinds = table["category"].values
        for ending in ("", "_abs", "_rel"):
            own = found[name][[kind.endswith(ending) for kind in kinds]]
            low, high = proportion_interval(int(own.sum()), len(own))
            print(f"{name}{ending}: {own.sum():.0f} of {len(own)}, {own.mean():.3f}", end=" ")
            print(f"[{low:.3f}, {high:.3f}]")
    before, after = found["as it was trained"], found["paper"]
    print(f"{(before > after).sum()} become wrong, {(after > before).sum()} become right")


def _bundled() -> vl.HookedVLM:
    return vl.HookedVLM.from_pretrained("shapes-base")


def _most() -> float:
    """The most memory that the process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


PAGES = (activations, concepts, decisions, gallery, paper, performance, sweeps, variants)

if __name__ == "__main__":
    torch.set_num_threads(1)
    named, *rest = sys.argv[1:] or [""]
    if named == "harvested":
        harvested(int(rest[0]))
    for page in PAGES:
        if named in ("", page.__name__):
            print(f"== {page.__name__}")
            page()
