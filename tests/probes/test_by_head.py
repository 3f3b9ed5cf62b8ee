"""Probes of single heads: scikit-learn's, one solve for all, and what is planted in one."""

import numpy as np
import pytest
import torch
from conftest import QUESTIONS, picture
from hand import run_saving
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import InputError
from vlmlens.probes.by_head import ridge, variance_ratio


def planted(pictures=12, seed=0):
    """Two layers of three heads on a 3 x 3 grid: head 1 of layer 1 holds its row in channel 2."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (2, pictures, 11, 3, 5))
    x[1, :, 1:10, 1, 2] = np.repeat([-3.0, 0.0, 3.0], 3) + rng.normal(0, 0.3, (pictures, 9))
    x[1, :, 1:10, 1, 4] = np.repeat([0.0, 3.0, 0.0], 3)  # so that the middle can be told linearly
    tensors = [torch.tensor(t, dtype=torch.float) for t in x]
    return run_saving(["b" + "v" * 9 + "u"] * pictures, {"attn.hook_z": tensors}, columns=3)


@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("keep", [None, 3])
def test_every_head_is_scikit_learns_classifier(labels, keep):
    """The same predictions as its ridge, with its own selection of channels, head by head."""
    rng = np.random.default_rng(labels)
    x, y = rng.normal(0, 1, (80, 4, 6)), rng.integers(0, labels, 80)
    x[:, 0, 1] += y
    x[:, 3, 5] -= 2 * y
    x[:, 2, 0] = 1.0  # a channel that says nothing
    train, test = slice(None, 60), slice(60, None)
    ratio = variance_ratio(x[train], y[train], labels)
    best = np.argsort(-ratio, -1, kind="stable")[None, :, :keep]
    seen, asked = (np.take_along_axis(x[part], best, 2) for part in (train, test))
    found = ridge(seen, y[train], asked, labels)
    for head in range(4):
        with np.errstate(divide="ignore", invalid="ignore"):
            f = f_classif(x[train][:, head][:, 1 if head == 2 else 0 :], y[train])[0]
        own = ratio[head][1:] if head == 2 else ratio[head]
        np.testing.assert_allclose(own, f, rtol=1e-9)
        steps = [StandardScaler(), RidgeClassifier()]
        usable = x[:, head, 1:] if head == 2 else x[:, head]
        if keep is not None:
            steps.insert(0, SelectKBest(f_classif, k=keep))
        told = make_pipeline(*steps).fit(usable[train], y[train]).predict(usable[test])
        assert (found[:, head] == told).all()


@pytest.mark.parametrize("keep", [None, 2])
def test_what_is_planted_is_found_in_its_head_alone(keep):
    found = probes.head_probe(planted(), "row", keep=keep)
    assert found["accuracy"].dims == ("layer", "head")
    full = found.sel(layer=1, head=1)
    assert full["accuracy"] > 0.98 and full["accuracy_low"] > 0.6
    rest = found["accuracy"].values.ravel()[[0, 1, 2, 3, 5]]
    assert (rest < 0.55).all()
    assert (found["control"] < 0.5).all()
    np.testing.assert_allclose(found["majority"], 1 / 3, atol=1e-6)
    assert found["per_picture"].sizes == {"sample": 12, "layer": 2, "head": 3}
    if keep is not None:
        assert sorted(full["kept"].values.tolist()) == [2, 4]
        one = probes.head_probe(planted(), "row", keep=1).sel(layer=1, head=1)
        assert one["kept"].values.tolist() == [2] or one["kept"].values.tolist() == [4]
        assert one["accuracy"] < full["accuracy"]


def test_a_label_that_training_lacks_is_never_said():
    labels = [["a", "b", "", "", "", "", "", "", ""]] * 11 + [["c"] + [""] * 8]
    found = probes.head_probe(planted(), labels)
    assert found["per_picture"][-1].max() == 0


def test_no_picture_is_on_both_sides():
    found = probes.head_probe(planted(), [[str(n)] * 9 for n in range(12)])
    assert found["accuracy"].max() == 0.0


def test_places_are_read_off_heads_of_the_bundled_model():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        need = vl.Save("blocks.0.attn.hook_z")
        run = model.run(model.inputs(vl.datasets.shapes_2d(16)), save=need)
        found = probes.head_probe(run, "row", need=need, keep=16, folds=4)
    best = found.isel(layer=0).isel(head=int(found["accuracy"].values.argmax()))
    assert best["accuracy_low"] > best["control"]
    assert best["accuracy_low"] > best["majority"]


def test_every_model_has_heads_to_probe(every_vlm):
    inputs = every_vlm.inputs([picture(n) for n in range(3)], [QUESTIONS[0]] * 3)
    run = every_vlm.run(inputs, save="blocks.*.attn.hook_z")
    found = probes.head_probe(run, "column", folds=3)
    heads = [n for n in range(every_vlm.layers) if f"blocks.{n}.attn.hook_z" in every_vlm.hook_dict]
    assert found["layer"].values.tolist() == heads
    assert found["accuracy"].notnull().all()


def test_what_cannot_be_probed():
    run = planted(3)
    with pytest.raises(InputError, match="keep=6"):
        probes.head_probe(run, "row", keep=6)
    with pytest.raises(InputError, match="two pictures"):
        probes.head_probe(planted(1), "row")
    with pytest.raises(InputError, match="two different"):
        probes.head_probe(run, [["a"] * 9] * 3)
    flat = run_saving(["bvvu"] * 2, {"hook_resid_pre": [torch.randn(2, 4, 5)]}, columns=2)
    with pytest.raises(InputError, match="has no heads"):
        need = vl.Save("blocks.*.hook_resid_pre")
        probes.head_probe(flat, [["a", "b"]] * 2, need=need)
