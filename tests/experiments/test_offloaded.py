"""A model whose weights are elsewhere (accelerate's device_map) gives the same table."""

import sys

import pytest
import torch
import xarray as xr
from accelerate import cpu_offload
from conftest import by_turns

import vlmlens as vl
from vlmlens import cli
from vlmlens.experiments import diagnose

GIVEN = {"permutations": 2, "max_new_tokens": 2, "batch": 2, "progress": False}


def found(model, folder=None):
    samples = vl.datasets.load("shapes-2d", samples=4)
    return diagnose(model, samples, folder=folder, **GIVEN).results.drop_attrs()


@pytest.fixture(scope="module")
def table(saved):
    with vl.HookedVLM.from_pretrained(str(saved)) as model:
        return found(model)


@pytest.mark.slow
def test_weights_on_disk(saved, table, tmp_path):
    """Half of the language model, and the head; what is there is fetched layer by layer."""
    with vl.HookedVLM.from_pretrained(str(saved)) as model:
        layers = [f"layers.{n}" for n in range(model.layers)]
    parts = ["vision_tower", "multi_modal_projector"]
    parts += [f"language_model.{part}" for part in ("embed_tokens", "rotary_emb", "norm", *layers)]
    there = {f"model.{part}": "cpu" for part in parts} | {"lm_head": "disk"}
    there |= {f"model.language_model.{layer}": "disk" for layer in layers[1:]}
    options = {"device_map": there, "offload_folder": str(tmp_path / "weights")}
    with vl.HookedVLM.from_pretrained(str(saved), **options) as model:
        assert any(weight.is_meta for weight in model.hf_model.parameters())
        xr.testing.assert_identical(found(model), table)
        xr.testing.assert_identical(found(model, tmp_path / "out"), table)
        xr.testing.assert_identical(found(model, tmp_path / "out"), table)  # as it is read back


@pytest.mark.slow
def test_weights_on_the_cpu_that_are_computed_with_elsewhere(saved, table):
    """On a machine without a GPU, elsewhere is the CPU, too."""
    with vl.HookedVLM.from_pretrained(str(saved)) as opened:
        model, processor = opened.hf_model, opened.processor
    cpu_offload(model, execution_device=torch.device("cpu"))
    with vl.HookedVLM(model, processor, name=str(saved), revision="one") as model:
        assert any(weight.is_meta for weight in model.hf_model.parameters())
        xr.testing.assert_identical(found(model), table)


@pytest.mark.slow
@pytest.mark.parametrize("way", by_turns(["auto", "sequential"], ["auto"]))
def test_a_command_that_spreads_its_model(saved, table, tmp_path, monkeypatch, way):
    words = ["diagnose", str(saved), "--samples", "4", "--permutations", "2", "--batch", "2"]
    words += ["--max-new-tokens", "2", "--quiet", "--out", str(tmp_path), "--device-map", way]
    monkeypatch.setattr(sys, "argv", ["vlmlens", *words])
    with pytest.raises(SystemExit) as end:
        cli.run()
    assert not end.value.code
    read = xr.load_dataset(tmp_path / "results.nc").drop_attrs()
    xr.testing.assert_allclose(read, table)  # exact but on a GPU
