"""The bundled dictionary of shapes-base on fresh scenes; docs/features.md states these figures."""

from importlib.resources import files

import numpy as np
import pytest
import torch

import vlmlens as vl
from vlmlens.datasets.shapes import COLORS
from vlmlens.datasets.shapes.scene import BACKGROUND
from vlmlens.interop import sae
from vlmlens.interventions import ZeroAblate
from vlmlens.probes import answer_score, marking_features

#: Of the test split, whose layouts training never showed.
SAMPLES = vl.datasets.shapes_2d(80, seed=11, size=64)


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def features():
    return sae.load("shapes-base")


@pytest.fixture(scope="module")
def runs(model, features):
    """Passes over the scenes, with features and what they leave over."""
    saves = [f"{features.point}.hook_sae_{name}" for name in ("acts_post", "error", "input")]
    with model.splice(features.point, features):
        return [
            model.run(model.inputs(SAMPLES[at : at + 40]), save=saves, logits=False)
            for at in (0, 40)
        ]


def painted(sample):
    """The colour that covers more than three fifths of each patch, by its pixels."""
    pixels = np.asarray(sample.images[0]()).astype(int)
    palette, side = np.array([*COLORS.values(), BACKGROUND]), len(pixels) // 8
    near = ((pixels[:, :, None] - palette) ** 2).sum(-1).argmin(-1)
    patches = near.reshape(8, side, 8, side).swapaxes(1, 2).reshape(64, -1)
    shares = (patches[:, :, None] == np.arange(len(palette))).mean(1)
    names = [*COLORS, "ground"]
    return [names[own.argmax()] if own.max() > 0.6 else "" for own in shares]


@pytest.mark.slow
def test_every_colour_has_a_feature(runs, features):
    acts = f"{features.point}.hook_sae_acts_post"
    found = marking_features(runs, [painted(sample) for sample in SAMPLES], acts)
    colours = found.sel(label=list(COLORS))
    assert (colours.auroc > 0.85).all()
    assert (colours.auroc_low > 0.7).all()
    assert float(colours.auroc.median()) > 0.99
    assert abs(float(found.control.mean()) - 0.5) < 0.1
    assert len(set(colours.feature.values.tolist())) == len(COLORS)


@pytest.mark.slow
def test_some_places_have_a_feature_and_inner_ones_have_none(runs, features):
    acts = f"{features.point}.hook_sae_acts_post"
    rows, columns = (marking_features(runs, axis, acts) for axis in ("row", "column"))
    for place, least in ((rows.sel(label="0"), 0.9), (columns.sel(label="1"), 0.75)):
        assert float(place.auroc_low) > least
        assert abs(float(place.control) - 0.5) < 0.1
    assert float(columns.sel(label="7").auroc_low) > 0.7
    assert float(rows.sel(label="5").auroc) < 0.65  # this one has not


def test_what_it_leaves_over_is_little(runs, features):
    explained, active, alive = [], [], torch.zeros(features.settings.d_sae, dtype=torch.bool)
    for run in runs:
        acts, error, x = (run.saved[name] for name in sorted(run.saved))
        for row, layout in enumerate(run.inputs.layouts):
            own = torch.from_numpy(~layout.mask("pad"))
            here, left = x[row, own], error[row, own]
            explained.append(1 - left.square().sum() / (here - here.mean(0)).square().sum())
            active.append((acts[row, own] > 0).sum(-1).float().mean())
            alive |= (acts[row, own] > 0).any(0)
    assert float(torch.stack(explained).mean()) > 0.95
    assert float(torch.stack(active).mean()) <= features.settings.k
    assert int((~alive).sum()) < 10


@pytest.mark.slow
def test_the_answers_are_as_likely_through_it(model, features):
    asked = model.inputs(SAMPLES, answers=[sample.answer for sample in SAMPLES])
    clean = answer_score(model.run(asked)).mean()
    zeroed = answer_score(model.run(asked, ZeroAblate(features.point))).mean()
    with model.splice(features.point, features, error=False):
        through = answer_score(model.run(asked)).mean()
    assert float((zeroed - through) / (zeroed - clean)) > 0.98


def test_it_is_small():
    folder = files("vlmlens.interop.sae") / "shapes-base"
    assert sum(len(each.read_bytes()) for each in folder.iterdir()) < 2 * 2**20
