"""Heads that say where: entropies and boxes worked out on paper, and boxes of shapes asked for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import QUESTIONS, picture
from hand import attending

import vlmlens as vl
from vlmlens import probes
from vlmlens.datasets.shapes import entries
from vlmlens.errors import InputError
from vlmlens.probes import localization
from vlmlens.probes.localization import largest_curvature, spatial_entropy
from vlmlens.probes.statistics import mean_map


@pytest.mark.parametrize(
    ("weights", "entropy"),
    [
        ([[4, 4, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0]], 0.0),  # one cluster
        ([[4, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]], np.log(2)),  # two of one size
        ([[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]], 0.0),  # corners touch
        (
            [[4, 4, 0, 4], [4, 0, 0, 0], [0, 0, 0, 0]],
            -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)),
        ),
        ([[1, 1, 1, 1]], np.nan),  # spread evenly: nothing is above the mean
        ([[0, 0, 0, 0]], np.nan),
        ([[4, 0, 0, np.nan], [0, 0, 0, np.nan]], 0.0),  # beyond a smaller grid
    ],
)
def test_spatial_entropy(weights, entropy):
    assert spatial_entropy(np.array(weights, float)) == pytest.approx(entropy, nan_ok=True)


def test_the_bound_is_the_corner_of_the_sorted_curve():
    assert largest_curvature(np.array([0.9, 0.0, 0.02, 0.8, 0.01, 0.03])) == 0.03
    for scale in (1e-3, 10.0):  # whatever the units
        values = np.random.default_rng(0).pareto(1.0, 40)
        assert largest_curvature(values * scale) == pytest.approx(largest_curvature(values) * scale)


def by_hand():
    """Three samples of 2 x 2 patches; four heads: a place, two places, evenly, nothing."""
    there = [[0.0, 0.9, 0, 0, 0, 0.1], [0, 0.4, 0, 0.1, 0.4, 0.1], [0, *[0.2] * 4, 0.2]]
    return attending(["bvvvvu"] * 3, [[*there, [0.5, 0, 0, 0, 0, 0.5]]] * 3, columns=2)


def test_heads_are_picked_by_both_criteria():
    found = probes.localization_heads(by_hand(), skip=0, lowest=1)
    np.testing.assert_allclose(found["attention"][0, 0], [0.9, 0.9, 0.8, 0.0], rtol=1e-6)
    assert found.attrs["bound"] == pytest.approx(0.8)
    assert found["entropy"].values[0, 0].tolist() == pytest.approx(
        [0.0, 0.0, np.nan, np.nan], nan_ok=True
    )
    assert found["picked"].sum(("layer", "head")).values.tolist() == [1, 1, 1]
    assert found["frequency"].values.tolist() == [[1, 0, 0, 0]]
    assert found["heads"].values.tolist() == [[0, 0], [0, 1], [0, 2]]
    assert found["frequency_low"][0, 0] < 1 == found["frequency_high"][0, 0]


IOU = [
    ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
    ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
    ((0, 0, 1, 1), (1, 1, 2, 2), 0.0),
    ((0, 0, 4, 4), (1, 1, 2, 3), 1 / 8),
    ((np.nan,) * 4, (1, 1, 2, 3), 0.0),
]


def test_overlap_of_boxes():
    import xarray as xr

    one = xr.DataArray([box for box, _, _ in IOU], dims=("sample", "edge"))
    found = probes.box_overlap(one, [box for _, box, _ in IOU])
    np.testing.assert_allclose(found, [share for _, _, share in IOU])
    with pytest.raises(InputError, match="one of four edges for 5 samples"):
        probes.box_overlap(one, [(0, 0, 1, 1)])


@pytest.fixture(scope="module")
def asked():
    """The bundled model asked about one named shape each, and that shape's box in pixels."""
    drawn = [e for e in entries(48, categories=("object",)) if e.question.form == "color_of"]
    wanted = [e.question.text.removeprefix("What color is the ").rstrip("?") for e in drawn]
    boxes = [
        [224 * edge for edge in next(s.box for s in e.scene.shapes if s.shape == kind)]
        for e, kind in zip(drawn, wanted, strict=True)
    ]
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        inputs = model.inputs([e.sample() for e in drawn])
        yield SimpleNamespace(run=model.run(inputs, save=localization.NEEDS), boxes=boxes)


def test_a_map_and_its_box_by_hand(asked):
    """Weight on two clusters of patches: the box is drawn around the larger, in pixels."""
    layout = asked.run.inputs.layouts[0]
    weights = torch.zeros_like(asked.run.saved["blocks.0.attn.hook_pattern"])
    for row, column in ((1, 3), (1, 4), (2, 5), (6, 6)):
        at = layout.vision(0)[8 * row + column] - len(layout) + weights.shape[-1]
        weights[:, 2, 0, at] = 0.25
    saved = vl.ActivationCache({"blocks.0.attn.hook_pattern": weights}, {})
    found = probes.localization_map(replace(asked.run, saved=saved), [(0, 2)], sigma=0)
    patch = 224 / 8
    own = found.isel(sample=0)
    np.testing.assert_allclose(own["box"], [3 * patch, patch, 6 * patch, 3 * patch])
    assert own["heat"].sum() == 1 and own["heat"][2, 5] == 0.25
    smooth = probes.localization_map(replace(asked.run, saved=saved), [(0, 2), (0, 2)])
    np.testing.assert_allclose(smooth["heat"].isel(sample=0).sum(), 2.0, rtol=0.05)
    nothing = probes.localization_map(replace(asked.run, saved=saved), [(0, 1)])
    assert nothing["box"].isnull().all()


def test_localization_heads_find_the_shape_that_is_asked_for(asked):
    """Chosen without a box, two heads cover the shape better than all others do on average."""
    chosen = probes.localization_heads(asked.run, skip=1, lowest=2)["heads"][:2].values.tolist()
    others = [[n, h] for n in range(4) for h in range(4) if [n, h] not in chosen]

    def overlap(head):
        found = probes.localization_map(asked.run, [head], sigma=0)
        return probes.box_overlap(found["box"], asked.boxes)

    own, rest = (sum(map(overlap, some)) / len(some) for some in (chosen, others))
    assert mean_map(own)["low"] > 0.3
    assert mean_map(own - rest)["low"] > 0.15
    together = probes.localization_map(asked.run, chosen, sigma=0)
    assert mean_map(probes.box_overlap(together["box"], asked.boxes) - rest)["low"] > 0.15


def test_every_model_has_maps_and_boxes(every_vlm):
    inputs = every_vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
    run = every_vlm.run(inputs, save=localization.NEEDS)
    found = probes.localization_heads(run, skip=0, lowest=2)
    assert (found["picked"].sum(("layer", "head")) <= 2).all()
    assert found["frequency"].max() > 0
    told = probes.localization_map(run, found["heads"][:2])
    inside = told["box"].dropna("sample")
    assert (inside.sel(edge="left") < inside.sel(edge="right")).all()
    assert (inside.sel(edge="top") < inside.sel(edge="bottom")).all()
    total = probes.image_attention(run).stack(at=("layer", "head")).sum(("row", "column"))
    assert told["heat"].sum() > 0 and total.max() > 0


def test_what_cannot_be_located(asked):
    with pytest.raises(InputError, match="no block"):
        probes.localization_heads(asked.run, skip=4)
    with pytest.raises(InputError, match="lowest=0"):
        probes.localization_heads(asked.run, lowest=0)
    for heads in ([], [(9, 0)]):
        with as_users(), pytest.raises(InputError, match="heads="):
            probes.localization_map(asked.run, heads)
    assert torch.is_tensor(asked.run.logits)
