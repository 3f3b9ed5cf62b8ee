"""Harvested activations: what plain hooks see, whoever computes, and read when asked for."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import xarray as xr
from as_users import as_users
from children import HOME, ran
from closeness import assert_close
from conftest import build, picture
from torch.utils.data import DataLoader

import vlmlens as vl
from vlmlens import cli
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Answering, Experiment, Harvest, Shard, harvest
from vlmlens.experiments.activations import harvested
from vlmlens.interventions import ZeroAblate
from vlmlens.store import upkeep

POINT = "blocks.1.hook_resid_post"


def asked():
    """Questions of several lengths, about pictures of two sizes."""
    words = ["Is it red?", "What color is the shape at the top?", "Why?", "How many are there?"]
    return [
        vl.Sample(word, (picture(n),), id=f"q{n}") for n, word in enumerate([*words, *words[:3]])
    ]


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


def kept(model, folder, **options):
    given = {"dtype": "float32", "batch": 3, "progress": False} | options
    return harvest(model, asked(), POINT, folder=folder, **given)


def everything(found):
    """All of it, in memory, with its bytes."""
    table = found.dataset().load()
    names = (*table.data_vars, *table.coords)
    return {n: (table[n].dims, np.asarray(table[n].values.tolist()).tobytes()) for n in names}


def test_what_is_kept_is_what_a_plain_hook_sees(any_vlm, tmp_path):
    """Of every family's blocks, at the right positions, however samples were padded."""
    table = kept(any_vlm, tmp_path).dataset().load()
    block = any_vlm.hf_model.get_submodule(any_vlm.family.lm_layers)[1]
    for sample in asked()[:3]:
        inputs, seen = any_vlm.inputs([sample]), []
        handle = block.register_forward_hook(lambda m, a, out, seen=seen: seen.append(out))
        with torch.no_grad():
            any_vlm.hf_model(**inputs.tensors, use_cache=False)
        handle.remove()
        stream = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        own = table.isel(token=np.flatnonzero(table["sample"].values == sample.id))
        assert_close(own[POINT].values, stream[0].numpy(), like=stream)
        layout = inputs.layouts[0]
        assert own["position"].values.tolist() == list(range(len(layout)))
        assert own["role"].values.tolist() == list(layout.roles)
        assert own["word"].values.tolist() == list(layout.tokens)
        for name in ("turn", "image", "tile", "row", "column"):
            assert own[name].values.tolist() == getattr(layout, name).tolist()
        np.testing.assert_array_equal(own["box"].values, layout.box.astype("f4"))


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_of_a_tower_all_of_its_positions_are_kept(name, tmp_path):
    """As plain hooks see them, of a tower by images and of one that packs them."""
    samples = [*asked()[:2], vl.Sample("Alike?", (picture(8), picture(9)), id="two")]
    point = "vision.blocks.1.hook_resid_post"
    with vl.HookedVLM(*build(name), name=name) as vlm:
        given = {"dtype": "float32", "batch": 2, "progress": False}
        found = harvest(vlm, samples, [point], folder=tmp_path, **given)
        table = found.dataset().load()
        block = vlm.hf_model.get_submodule(vlm.family.vision_layers)[1]
        for sample in samples:
            inputs, seen = vlm.inputs([sample]), []
            handle = block.register_forward_hook(lambda m, a, out, seen=seen: seen.append(out))
            with torch.no_grad():
                vlm.hf_model(**inputs.tensors, use_cache=False)
            handle.remove()
            stream = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
            own = table.isel(token=np.flatnonzero(table["sample"].values == sample.id))
            rows = stream.flatten(0, -2)
            assert_close(own[point].values, rows.numpy(), like=rows)
            images = len(sample.images) if name == "llava" else 1
            each = len(rows) // images
            assert own["position"].values.tolist() == [*range(each)] * images
            assert own["image"].values.tolist() == [n for n in range(images) for _ in range(each)]
            assert set(own["role"].values) == {"vision"} and own["box"].isnull().all()


@pytest.mark.slow
def test_only_the_rows_that_are_asked_for(shapes, tmp_path):
    whole = kept(shapes, tmp_path / "whole").dataset().load()
    some = kept(shapes, tmp_path / "some", rows="vision").dataset().load()
    there = whole.isel(token=np.flatnonzero(whole["role"].values == "vision"))
    xr.testing.assert_identical(some, there)
    half = kept(shapes, tmp_path / "half", rows="vision", dtype="float16").dataset()
    assert half[POINT].dtype == np.float16
    np.testing.assert_array_equal(half[POINT].values, some[POINT].values.astype("f2"))
    brief = kept(shapes, tmp_path / "brief", rows="vision", dtype="bfloat16")
    rounded = torch.from_numpy(some[POINT].values).bfloat16().float()
    assert brief.dataset()[POINT].dtype == np.float32
    assert torch.equal(torch.from_numpy(brief.dataset()[POINT].values), rounded)
    (rows,) = brief.tensors(POINT, size=len(brief), seed=None)
    assert torch.equal(rows, rounded)
    cut = kept(shapes, tmp_path / "cut", edits=[ZeroAblate(POINT)])
    assert not cut.dataset()[POINT].values.any()


def test_shards_threads_and_one_process_keep_the_same(shapes, tmp_path):
    alone = everything(kept(shapes, tmp_path / "one"))
    with ThreadPoolExecutor(2) as threads:
        assert everything(kept(shapes, tmp_path / "threads", executor=threads)) == alone
    parts = [tmp_path / str(i) for i in range(3)]
    for i, part in enumerate(parts):
        kept(shapes, part, executor=Shard(i, 3))
    upkeep.merge(tmp_path / "all", parts)
    assert everything(Harvest(tmp_path / "all")) == alone
    upkeep.gc(tmp_path / "all")
    assert everything(Harvest(tmp_path / "all")) == alone


CODE = """
import sys, vlmlens as vl
from vlmlens.experiments import harvest
samples = vl.datasets.load("shapes-2d", samples=24)
with vl.HookedVLM.from_pretrained("shapes-base") as model:
    tell = lambda event: print(event.done, flush=True)
    harvest(model, samples, "blocks.*.hook_resid_post", folder=sys.argv[1], batch=2, progress=tell)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path):
    environment = os.environ | {"PYTHONPATH": HOME}
    words = [sys.executable, "-c", CODE]
    ran(*words, tmp_path / "one", env=environment)
    for seconds in (0.0, 0.1, 0.3):
        run = [*words, str(tmp_path / "two")]
        with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment) as going:
            going.stdout.readline()  # it has begun
            time.sleep(seconds)
            going.send_signal(signal.SIGKILL)
    said = ran(*words, tmp_path / "two", env=environment).stdout.split()
    assert said[-1] == "24"
    assert everything(Harvest(tmp_path / "two")) == everything(Harvest(tmp_path / "one"))
    assert upkeep.gc(tmp_path / "two")["rows there twice"] == 0


@pytest.fixture
def in_files(shapes, tmp_path):
    """A harvest in several files."""
    for i in range(3):
        kept(shapes, tmp_path, executor=Shard(i, 3))
    found = Harvest(tmp_path)
    assert len(found.files()) == 3
    return found


def test_nothing_is_read_that_is_not_asked_for(in_files, monkeypatch):
    read = []
    real = harvested.checked
    monkeypatch.setattr(harvested, "checked", lambda path: read.append(path) or real(path))
    table = in_files.dataset()
    assert not read
    first = table[POINT].isel(token=slice(3, 5)).load()
    assert len(read) == 1
    whole = table[POINT].load()
    np.testing.assert_array_equal(first.values, whole.values[3:5])
    for key in (7, -1, slice(None, None, 50), slice(90, 3, -7), [200, 3, 3], np.array([5])):
        np.testing.assert_array_equal(table[POINT][key].values, whole.values[key])
    mixed = table[POINT][10:20, [3, 1]]
    np.testing.assert_array_equal(mixed.values, whole.values[10:20][:, [3, 1]])


@pytest.mark.parametrize("size", [1000, 64, 7])
def test_every_row_comes_once_an_epoch_in_another_order(in_files, size):
    rows = in_files.dataset()[POINT].values

    def counted(batches):
        return Counter(bytes(row) for batch in batches for row in batch.numpy())

    given = {"size": size, "mix": 2}
    one, two = (list(in_files.tensors(POINT, seed=seed, **given)) for seed in (0, 1))
    assert counted(one) == counted(two) == Counter(bytes(row) for row in rows)
    assert {len(batch) for batch in one[:-1]} <= {size}
    assert not torch.equal(torch.cat(one), torch.cat(two))
    again = list(in_files.tensors(POINT, seed=0, **given))
    assert torch.equal(torch.cat(one), torch.cat(again))
    twice = torch.cat(list(in_files.tensors(POINT, seed=0, epochs=2, **given)))
    assert len(twice) == 2 * len(rows)
    assert not torch.equal(twice[: len(rows)], twice[len(rows) :])
    as_they_lie = torch.cat(list(in_files.tensors(POINT, seed=None, **given)))
    assert counted([as_they_lie]) == counted(one)


def test_a_loaders_workers_deal_out_the_files(in_files):
    loader = DataLoader(in_files.tensors(POINT, size=50), batch_size=None, num_workers=2)
    rows = torch.cat(list(loader)).numpy()
    assert Counter(map(bytes, rows)) == Counter(map(bytes, in_files.dataset()[POINT].values))


def test_it_is_a_table_for_anything_that_reads_parquet(shapes, tmp_path):
    found = kept(shapes, tmp_path, rows="last")
    table = pq.read_table(next(tmp_path.glob("results-*"))).to_pydict()
    assert sorted(table["sample"])[:2] == ["q0", "q1"]
    at = table["sample"].index("q0")
    assert table["tokens"][at] == 1
    assert table[POINT][at] == found.dataset()[POINT].values[0].tolist()


def test_several_harvests_in_one_folder_are_told_apart(shapes, tmp_path):
    kept(shapes, tmp_path, rows="last")
    cut = kept(shapes, tmp_path / "cut", rows="last", edits=[ZeroAblate(POINT)])
    upkeep.merge(tmp_path, [tmp_path / "cut"])
    with as_users(), pytest.raises(InputError, match=r"holds .*original.*; name one of them"):
        Harvest(tmp_path)
    assert everything(Harvest(tmp_path, str(ZeroAblate(POINT)))) == everything(cut)


def test_a_damaged_file_is_named(in_files):
    path = in_files.folder / next(in_files.folder.glob("results-*")).name
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        in_files.dataset()[POINT].load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": "blocks.*.attn.hook_pattern"}, "has a row for every position"),
        ({"points": ("vision.blocks.0.hook_resid_post", POINT)}, "two kinds"),
        ({"points": "vision.blocks.0.hook_resid_post", "rows": "vision"}, "leave rows= out"),
        ({"points": "vision.blocks.0.attn.hook_pattern"}, "has a row for every position"),
        ({"points": ()}, "name some"),
        ({"dtype": "float64"}, "bfloat16"),
        ({"edits": "none"}, "intervention"),
        ({"rows": "voice"}, "voice"),
    ],
)
def test_what_cannot_be_harvested_is_refused(shapes, tmp_path, options, message):
    given = {"points": POINT, "progress": False, "folder": tmp_path} | options
    with as_users(), pytest.raises(vl.errors.VLMLensError, match=message):
        harvest(shapes, asked()[:1], **given)


def test_values_that_float16_does_not_hold_are_refused(shapes, tmp_path):
    loud = vl.interventions.Scale(POINT, by=1e7)
    with pytest.raises(InputError, match=r"beyond float16: dtype=.bfloat16."):
        kept(shapes, tmp_path, dtype="float16", edits=[loud])


def test_a_folder_without_activations_is_refused(shapes, tmp_path, in_files):
    with pytest.raises(DataError, match="holds no activations"):
        Harvest(tmp_path / "none")
    Experiment(shapes, asked()[:1], Answering(max_new_tokens=1)).run(tmp_path / "other")
    with pytest.raises(InputError, match="holds none"):
        Harvest(tmp_path / "other")
    with as_users(), pytest.raises(InputError, match="point"):
        in_files.tensors("blocks.9.hook_resid_post")
    with as_users(), pytest.raises(InputError, match="size"):
        in_files.tensors(POINT, size=0)


@pytest.mark.pages
def test_the_page_on_activations(tmp_path, monkeypatch):
    """Also what reads the folder with pyarrow alone; SAELens has an environment of its own."""
    monkeypatch.chdir(tmp_path)
    page = (Path(HOME) / "docs" / "activations.md").read_text()
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        if "sae_lens" not in block:
            exec(compile(block, "activations.md", "exec"), names)
    assert len(names["some"]["box"]) == 64
    assert names["rows"].shape == (1024, 128)
    assert (names["nearer"]["low"][:-1] > 0).all()  # as the page says of the tuned lens
    point = "blocks.2.hook_resid_post"
    given = {"width": 128, "size": 512, "epochs": 1}
    alone = torch.cat(list(names["batches"]("acts", point, **given))).numpy()
    mine = torch.cat(list(names["found"].tensors(point))).float().numpy()
    assert Counter(map(bytes, alone)) == Counter(map(bytes, mine))
    names["model"].close()


def test_the_command(tmp_path, monkeypatch, capsys):
    words = ["--data", "shapes-2d", "--samples", "4", "--points", "blocks.2.hook_resid_post"]
    words += ["--points", "blocks.*.hook_mlp_out", "--rows", "vision", "--quiet"]
    words = ["vlmlens", "harvest", "shapes-base", *words, "--out", str(tmp_path)]
    for more in (["--shard", "0/2", "--batch", "2"], []):
        monkeypatch.setattr("sys.argv", [*words, *more])
        with pytest.raises(SystemExit) as end:
            cli.run()
        assert not end.value.code
    found = Harvest(tmp_path)
    assert (len(found.samples), len(found)) == (4, 256)
    assert found.points == [
        "blocks.2.hook_resid_post",
        *(f"blocks.{n}.hook_mlp_out" for n in range(4)),
    ]
    assert "256 tokens" in capsys.readouterr().out
