"""``diagnose --all``: all of it is there, with intervals, is written, and resumes."""

import numpy as np
import pytest
import xarray as xr
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens import experiments
from vlmlens.datasets import shapes_2d
from vlmlens.experiments import Cell, Looking, diagnose_all
from vlmlens.experiments.summary import NULLS
from vlmlens.sample import Sample
from vlmlens.zoo.tiny import build

SMALL = {"permutations": 1, "max_new_tokens": 1, "progress": False, "batch": 8}
TABLES = {
    "summary",
    "flips",
    "doses",
    "designs",
    "causal",
    "controls",
    "linear",
    "embedding",
    "shown",
}


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava"), name="tiny", revision="one") as model:
        yield model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("all")


@pytest.fixture(scope="module")
def found(llava, folder):
    return diagnose_all(llava, shapes_2d(6), folder=folder, **SMALL)


def test_everything_is_there_and_has_its_interval(found):
    assert set(found.tables) == TABLES
    summary = found.tables["summary"]
    for name in map(str, found.results):
        values = found.results[name]
        if values.dtype.kind != "f" or name in experiments.summary.ANSWERS:
            continue
        assert {name, f"{name}_low", f"{name}_high", f"{name}_n"} <= set(summary), name
        assert summary[f"{name}_low"].attrs["correction"].startswith("none")
    tested = {name for name in NULLS if f"{name}_p" in summary}
    assert tested == set(NULLS)
    assert {"kl", "kl_low", "psi", "lost", "drop_log_prob_high"} <= set(found.psi)
    for name, wanted in {
        "doses": {"mean", "low", "high", "slope", "slope_p"},
        "designs": {"mean_kl", "mean_kl_low", "mean_correct_high"},
        "causal": {"mean_kl", "mean_log_prob_drop_low", "mean_agree"},
        "controls": {"psi", "psi_low", "p_value", "accuracy_permuted_high"},
        "linear": {"accuracy", "accuracy_low", "control", "majority"},
        "flips": {"lost", "gained", "p"},
        "embedding": {"median", "q1", "q3", "max"},
        "shown": {"attention", "word", "similarity"},
    }.items():
        assert wanted <= set(found.tables[name]), name
        assert found.tables[name].attrs["model"] == "tiny"
    assert found.tables["linear"]["label"].values.tolist() == ["row", "column", "color", "shape"]
    assert found.tables["causal"]["intervention"].values[0] == "original"


def test_results_agree_with_the_probes_they_come_from(llava, found):
    samples = shapes_2d(6)
    run = llava.run(llava.inputs(samples), save=vl.probes.cmb.NEEDS)
    balance = vl.probes.cross_modality_balance(run)
    np.testing.assert_allclose(found.results["cmb"], balance, atol=1e-5)  # one token is one step
    entropy = vl.probes.attention_entropy(run)
    np.testing.assert_allclose(found.results["image_entropy"], entropy, atol=1e-5)
    shares = found.results["attention_share"].sum("to")
    np.testing.assert_allclose(shares, 1.0, atol=1e-5)
    curve = found.results["curve_delta_g_v"].sel(delta=1.0, drop=True)
    assert_close(curve, found.results["delta_g_v"])
    bands = found.results["band_delta_g_v"].sum("band")
    assert_close(bands, found.results["delta_g_v"])
    lens = found.results["lens_log_prob"].isel(layer=-1)
    inputs = llava.inputs(samples, answers=[s.answer for s in samples])
    logits = llava.run(inputs).logits.log_softmax(-1)
    for row, own in enumerate(inputs.layouts):
        first = int(own.positions("assistant")[0])
        token = inputs.tensors["input_ids"][row, first]
        expected = logits[row, first - 1, token].item()
        assert lens[row].item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_it_is_written_and_goes_on_where_it_stopped(llava, found, folder, monkeypatch):
    paths = experiments.save(found, folder)
    for name, table in found.tables.items():
        back = experiments.read(paths[name])
        assert set(back) == set(table)
        assert back.attrs["model"] == "tiny"
    assert experiments.read(paths["results"])["cmb"].shape == found.results["cmb"].shape

    def not_again(cell):
        raise AssertionError("this cell is done")

    monkeypatch.setattr(Cell, "run", not_again)
    again = diagnose_all(llava, shapes_2d(6), folder=folder, **SMALL)
    xr.testing.assert_allclose(again.results, found.results)
    xr.testing.assert_allclose(again.tables["summary"], found.tables["summary"])


@pytest.mark.parametrize("name", ["aei", "image_entropy"], ids=["tested", "not tested"])
def test_infinite_ratios_are_left_out_and_counted(name):
    values = np.arange(1.0, 13.0).reshape(6, 2)
    values[4, 1] = np.inf
    values[5, 1] = -np.inf
    summary = experiments.summarise(xr.Dataset({name: (("sample", "layer"), values)}))
    np.testing.assert_allclose(summary[name], [6, 5])  # 1, 3 .. 11; 2, 4, 6 and 8
    assert summary[f"{name}_n"].values.tolist() == [6, 4]
    assert np.isfinite(summary[f"{name}_low"]).all()
    assert summary[name].attrs["infinite"] == "2 of 12 values, left out"


@pytest.mark.slow
def test_pictures_without_answers_or_boxes(llava):
    samples = [Sample("What color?", (picture(n),), id=str(n)) for n in range(3)]
    found = diagnose_all(llava, samples, **SMALL)
    assert found.results.attrs["reference"] == "own"
    assert "object_hit" not in found.results
    assert "lens_log_prob" not in found.results
    assert found.tables["linear"]["label"].values.tolist() == ["row", "column"]
    assert (found.results["correct"].sel(permutation="original") == 1).all()
    # Nothing is tested against what the model said itself: the share changed, with an interval.
    for name, p in (
        ("flips", "p"),
        ("doses", "slope_p"),
        ("doses", "trend_p"),
        ("controls", "p_value"),
    ):
        table = found.tables[name]
        assert table[p].isnull().all() and table.attrs["reference"] == "own"
    doses = found.tables["doses"].sel(of="correct")
    assert doses["changed"].sel(dose=0) == 0 and doses["changed_high"].notnull().all()
    assert "only 3 pictures" in doses.attrs["note"] and "only 3 pictures" in found.psi.attrs["note"]


def test_pictures_of_other_sizes_and_three_axes_of_rope():
    with vl.HookedVLM(*build("qwen2_5_vl")) as model:
        samples = [
            Sample("What color is the circle?", (picture(n, size),), "red", id=str(n))
            for n, size in enumerate([(40, 40), (80, 40), (40, 60)])
        ]
        table = Looking(max_new_tokens=1)(model, samples, ())
        assert np.isfinite(table["image_row"]).all()
        assert np.isfinite(table["curve_delta_alpha_v"]).all()
        maps = experiments.shown(model, samples)
        sizes = [int(maps["similarity"][n].notnull().sum()) for n in range(3)]
        assert len(set(sizes)) > 1
        assert maps["word"].dtype.kind == "U"
        assert (maps["word"].values[0, :, -1, -1] == "").all()


def test_layers_without_attention_have_a_stream_and_no_heads():
    with vl.HookedVLM(*build("qwen3_5")) as model:
        samples = [
            Sample("What color is the circle?", (picture(n),), "red", id=str(n)) for n in range(2)
        ]
        table = Looking(max_new_tokens=1)(model, samples, ())
        assert table["layer"].values.tolist() == list(range(model.layers))
        blind = table["cmb"].isnull().all(("sample", "head"))
        heads = [f"blocks.{n}.attn.hook_pattern" in model.hook_dict for n in range(model.layers)]
        assert (~blind).values.tolist() == heads
        assert table["block_update"].sel(role="vision").notnull().all()
