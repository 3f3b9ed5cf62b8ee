"""In every family a sweep is a loop of whole passes, in the language model and in the tower."""

import numpy as np
import pytest
from closeness import DEPTH, assert_close
from conftest import picture

import vlmlens as vl
from vlmlens.experiments import sweep
from vlmlens.interventions import PatchFrom

QUESTION = "What color is the circle?"
CLEAN = vl.Sample(QUESTION, (picture(0),), answer="red")
OTHER = vl.Sample(QUESTION, (picture(1),), answer="blue")


def score(logits):
    """Of a random direction in the vocabulary, so that no answer need be one token."""
    drawn = np.random.default_rng(0).normal(size=logits.shape[-1])
    return logits.double() @ logits.new_tensor(drawn).double()


@pytest.mark.parametrize(
    "point", ["blocks.*.hook_resid_pre", "blocks.*.hook_mlp_out", "vision.blocks.*.hook_resid_post"]
)
def test_a_sweep_is_a_loop_of_whole_passes_in_every_family(every_vlm, point):
    names = every_vlm.matching(point)
    if not names:
        pytest.skip(f"{every_vlm.name} offers no {point}")
    over = "layer" if point.startswith("vision") else "pos"
    given = {"over": over, "score": score, "normalized": False, "progress": False}
    found = sweep(every_vlm, CLEAN, OTHER, point, **given).isel(sample=0)
    source = every_vlm.run(every_vlm.inputs([CLEAN]), save=names)
    other = every_vlm.inputs([OTHER])
    floor = every_vlm.run(other).logits
    assert found.sizes["layer"] == len(names)
    assert np.abs(found).max() > 1e-3  # something is patched
    for number, name in enumerate(names):
        for at in () if over == "layer" else (0, found.sizes["pos"] // 2, found.sizes["pos"] - 1):
            where = vl.Where(positions=vl.positions.At(at))
            logits = every_vlm.run(other, [PatchFrom(name, where, source=source.saved)]).logits
            cell = found.isel(layer=number, pos=at).item()
            near(cell, logits, floor)
        if over == "layer":
            logits = every_vlm.run(other, [PatchFrom(name, source=source.saved)]).logits
            near(found.isel(layer=number).item(), logits, floor)


def near(cell, logits, floor):
    expected = (score(logits[:, -1]) - score(floor[:, -1])).item()
    # A sum over the vocabulary of numbers as large as logits, resumed in other shapes.
    like = np.abs(floor[0, -1].numpy()) * floor.shape[-1] ** 0.5
    assert_close(cell, expected, like=like, depth=4 * DEPTH)
