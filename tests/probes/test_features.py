"""Which feature marks which label: AUROC against scikit-learn, a planted feature, a control."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import vlmlens as vl
from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.interop import sae
from vlmlens.probes import marking_features
from vlmlens.probes.features import picture_auroc

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def run(model):
    features = sae.load("shapes-base")
    with model.splice(features.point, features):
        return model.run(model.inputs(vl.datasets.shapes_2d(24, seed=5)), save=acts(), logits=False)


def acts():
    return f"{sae.load('shapes-base').point}.hook_sae_acts_post"


def test_auroc_within_a_picture_is_scikit_learns():
    x, marked = RNG.integers(0, 4, (40, 3)).astype(float), RNG.random(40) < 0.3
    picture = np.repeat([0, 1], 20)
    found = picture_auroc(x, marked, picture)
    for number, feature in ((0, 0), (0, 2), (1, 1)):
        own = picture == number
        assert found[number, feature] == pytest.approx(roc_auc_score(marked[own], x[own, feature]))


def test_a_picture_of_one_kind_has_none():
    found = picture_auroc(
        RNG.random((6, 2)), np.array([True] * 3 + [True, False, False]), np.repeat([0, 1], 3)
    )
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


@pytest.mark.slow
def test_a_planted_feature_is_found_and_the_control_knows_nothing(run):
    name, layout = acts(), run.inputs.layouts[0]
    planted = run.saved[name].clone()
    for row, each in enumerate(run.inputs.layouts):
        planted[row, :, 9] = 0
        planted[row, each.column == 3, 9] = 5.0
    cache = ActivationCache({name: planted}, {name: run.saved.axes[name]}, run.inputs.layouts)
    made = type(run)(run.inputs, run.logits, cache, run.attention)
    found = marking_features(made, "column", name).sel(label="3")
    assert (int(found.feature), float(found.auroc), float(found.active)) == (9, 1.0, 1.0)
    assert 0.35 < float(found.control) < 0.65
    assert layout.mask("vision").sum() == 64


def test_choosing_a_feature_of_noise_is_not_paid_for(run):
    """Of 512 features that know nothing, the best of some pictures knows nothing of others."""
    name, noise = acts(), torch.rand(run.saved[acts()].shape, generator=torch.manual_seed(3))
    cache = ActivationCache({name: noise}, {name: run.saved.axes[name]}, run.inputs.layouts)
    made = type(run)(run.inputs, run.logits, cache, run.attention)
    found = marking_features(made, "column", name)
    assert float(found.auroc.mean()) == pytest.approx(0.5, abs=0.04)


def test_too_few_pictures_and_labels_that_do_not_fit_are_refused(model, run):
    with pytest.raises(InputError, match="vision tokens"):
        marking_features(run, [["red"]], acts())
    labels = [["odd", *["even"] * 63], *[["even"] * 64] * (len(run.inputs) - 1)]
    with pytest.raises(InputError, match="'odd'"):
        marking_features(run, labels, acts())
