"""Subspaces that are learned: against random ones of their rank, on pairs never seen."""

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.experiments import Alignment, align, interchange
from vlmlens.interventions import PatchFrom

POINT = "blocks.2.hook_resid_post"


def pairs(count, split):
    return vl.datasets.counterfactual_pairs(count, kind="recolor", category="object", split=split)


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture(scope="module")
def found(shapes):
    return align(shapes, pairs(24, "train"), POINT, rank=8, epochs=4, batch=8, progress=False)


@pytest.mark.slow
def test_a_learned_subspace_carries_the_colour_where_random_ones_do_not(shapes, found):
    table = interchange(shapes, pairs(16, "test"), found, draws=2)
    assert table["accuracy_low"] > table["control_accuracy_high"]
    assert table["gain_low"] > 0.5
    assert table["none"].mean() == 0  # without the interchange nobody says the source's colour
    assert table.attrs["n_units"] == 16 and table.attrs["rank"] == 8
    assert found.losses[-1] < 0.2 * found.losses[0]


def test_all_of_the_stream_is_a_patch(shapes):
    """What the table says of it is what plain patching and a softmax say."""
    fresh = pairs(6, "test")
    table = interchange(shapes, fresh, Alignment(POINT, basis=torch.eye(128)), draws=1, batch=4)
    assert table.sizes["sample"] == 6
    last = vl.Where(positions="last")
    for row, pair in enumerate(fresh):
        base, other = (shapes.inputs([one]) for one in (pair.clean, pair.corrupted))
        source = shapes.run(other, save=POINT).saved
        logits = shapes.run(base, PatchFrom(POINT, last, source=source)).logits[0, -1]
        token = shapes.to_single_token(f" {pair.corrupted.answer}")
        assert_close(table["log_prob"].values[row], logits.log_softmax(-1)[token], like=logits)
        assert table["correct"].values[row] == float(logits.argmax() == token)
    # A random basis of the whole width spans the same: the control is as good, and gains nothing.
    assert table["gain"] == 0 and table["accuracy"] == table["control_accuracy"] == 1.0


def test_the_seed_tells_and_the_model_stays(shapes):
    some, before = pairs(4, "train"), shapes.hf_model.lm_head.weight.clone()
    one, again, other = (
        align(shapes, some, POINT, rank=2, epochs=1, batch=4, seed=seed, progress=False)
        for seed in (0, 0, 1)
    )
    assert one.basis == again.basis and one.basis != other.basis
    assert torch.equal(shapes.hf_model.lm_head.weight, before)
    assert all(p.grad is None for p in shapes.hf_model.parameters())
    q = one.basis.tensor
    assert_close(q.T @ q, torch.eye(2), like=1.0)
    assert one.random(3).basis == one.random(3).basis != one.random(4).basis


def test_its_gradient_is_that_of_differences(any_vlm):
    """One step of a tiny rate lowers the loss, on every kind of model."""
    asked = [
        (*(vl.Sample("What color is it?", (picture(n),)) for n in two), "red")
        for two in ((0, 1), (2, 3))
    ]
    losses = [
        align(
            any_vlm, asked, "blocks.1.hook_resid_post", rank=3, epochs=3, rate=r, progress=False
        ).losses
        for r in (1e-9, 0.05)
    ]
    np.testing.assert_allclose(losses[0], losses[0][0], rtol=1e-4)  # a rate that moves nothing
    assert losses[1][-1] < losses[0][-1]


def test_what_cannot_be_aligned(shapes, found):
    some = pairs(2, "train")
    with pytest.raises(InputError, match="no pairs"):
        align(shapes, [], POINT, progress=False)
    with pytest.raises(InputError, match="rank=129"):
        align(shapes, some, POINT, rank=129, progress=False)
    with pytest.raises(InputError, match="4 points: name one"):
        align(shapes, some, "blocks.*.hook_resid_post", progress=False)
    with as_users():
        with pytest.raises(InputError, match=r"takes several, each a Pair or \(a Sample"):
            align(shapes, [some[0].clean], POINT, progress=False)
        with pytest.raises(InputError, match=r"takes several, each a Pair or \(a Sample"):
            align(shapes, [(some[0].clean, some[0].corrupted, None)], POINT, progress=False)
        with pytest.raises(InputError, match="takes an Alignment"):
            interchange(shapes, some, found.basis)
    with pytest.raises(InputError, match="draws=0"):
        interchange(shapes, some, found, draws=0)
    with pytest.raises(InputError, match="needs basis="):
        Alignment(POINT)
