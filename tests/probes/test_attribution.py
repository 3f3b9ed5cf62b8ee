"""Attribution against the patches that it stands for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import PatchFrom
from vlmlens.probes import answer_log_prob, answer_score, attribution_patching, integrated_gradients
from vlmlens.probes.attribution import patch_map

MID = "blocks.0.hook_resid_mid"


@pytest.fixture(scope="module")
def tiny():
    """In double precision: what is left between an effect and its gradient is no rounding."""
    model, processor = build("llava")
    with vl.HookedVLM(model.double(), processor) as made:
        yield made


@pytest.fixture(scope="module")
def pair(tiny):
    """Two runs' inputs that differ in their pictures, by little."""
    inputs = tiny.inputs([picture(0), picture(1)], [QUESTIONS[0]] * 2, answers=["red", "yes"])
    pixels = inputs.tensors["pixel_values"]
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)).to(pixels)
    near = replace(inputs, tensors={**inputs.tensors, "pixel_values": pixels + 3e-3 * noise})
    return near, replace(inputs, tensors={**inputs.tensors, "pixel_values": pixels})


def effects(model, clean, corrupted, point, position, score=answer_score, save=()):
    """What patching one position really does, sample by sample."""
    source = model.run(clean, save=point).saved
    patch = PatchFrom(point=point, where=vl.Where(positions=position), source=source)
    with torch.no_grad():
        after = score(model.run(corrupted, [patch], save=save))
        return (after - score(model.run(corrupted, save=save))).numpy()


@pytest.mark.parametrize("layer", [0, 2])
def test_of_small_differences_it_is_the_effect(tiny, pair, layer):
    clean, corrupted = pair
    found = attribution_patching(tiny, clean, corrupted, "blocks.*.hook_resid_pre")
    assert found.dims == ("sample", "layer", "pos")
    for cell in ((0, 0), (2, 3)):
        real = effects(
            tiny, clean, corrupted, f"blocks.{layer}.hook_resid_pre", vl.positions.Cell(*cell)
        )
        here = [int(lay.vision(0)[cell[0] * 4 + cell[1]]) for lay in corrupted.layouts]
        mine = np.array([found.sel(layer=layer).values[row, at] for row, at in enumerate(here)])
        assert np.abs(real).max() > 1e-5
        np.testing.assert_allclose(mine, real, rtol=5e-2, atol=3e-6)


@pytest.mark.parametrize("point", ["attn.hook_z", "attn.hook_v", "hook_resid_mid", "hook_mlp_out"])
def test_every_kind_of_point_has_its_gradient(tiny, pair, point):
    clean, corrupted = pair
    name = f"blocks.0.{point}"
    found = attribution_patching(tiny, clean, corrupted, name).isel(layer=0)
    real = effects(tiny, clean, corrupted, name, "vision")
    mine = [
        float(found[row].isel(pos=layout.vision(0)).sum())
        for row, layout in enumerate(corrupted.layouts)
    ]
    np.testing.assert_allclose(mine, real, rtol=2e-2, atol=2e-6)


def test_where_the_score_is_linear_it_is_exact(tiny):
    """resid_mid = resid_pre + attn_out, so a linear read-out of it is linear in attn_out."""
    clean, corrupted = (tiny.inputs([picture(n)], [QUESTIONS[0]], answers=["red"]) for n in (3, 4))
    read = torch.linspace(-1, 1, 32, dtype=torch.float64)

    def score(run):
        return (run.saved[MID][:, -1] @ read).flatten()

    found = attribution_patching(
        tiny, clean, corrupted, "blocks.0.hook_attn_out", score=score, save=[MID]
    )
    real = effects(tiny, clean, corrupted, "blocks.0.hook_attn_out", "last", score, [MID])
    np.testing.assert_allclose(found.isel(layer=0, pos=-1).values, real, rtol=1e-4)
    assert (found.isel(pos=slice(None, -1)) == 0).all()


def test_the_same_run_twice_has_nothing_to_tell(tiny, pair):
    found = attribution_patching(tiny, pair[0], pair[0], "hook_embed")
    assert found.dims == ("sample", "pos")
    assert (found == 0).all()


def test_integrated_gradients_sum_to_the_difference(tiny):
    inputs, baseline = (
        tiny.inputs([picture(n), picture(n + 1)], [QUESTIONS[0]] * 2, answers=["red", "yes"])
        for n in (0, 5)
    )
    residuals = []
    for steps in (4, 32):
        found = integrated_gradients(tiny, inputs, baseline, steps=steps)
        residuals.append(float(abs(found["residual"]).max()))
    with torch.no_grad():  # the two differ in their pictures alone
        difference = answer_score(tiny.run(inputs)) - answer_score(tiny.run(baseline))
    assert_close(found["difference"].values, difference)
    assert residuals[1] < 0.002 * float(abs(found["difference"]).min())
    assert residuals[1] < residuals[0] / 8
    rest = ~inputs.layouts[0].mask("vision")
    assert (found[0, rest] == 0).all()


def test_along_a_short_way_both_say_the_same(tiny, pair):
    clean, corrupted = pair
    way = integrated_gradients(tiny, clean, corrupted, steps=2)
    patched = attribution_patching(tiny, clean, corrupted, "hook_embed")
    for row, layout in enumerate(clean.layouts):
        vision = layout.vision(0)
        np.testing.assert_allclose(way[row, vision], patched[row, vision], rtol=2e-2, atol=1e-6)


def test_values_by_position_lie_on_the_grid(tiny, pair):
    clean, corrupted = pair
    found = attribution_patching(tiny, clean, corrupted)
    grid = patch_map(found, corrupted)
    assert grid.dims == ("sample", "layer", "row", "column")
    for sample, layout in enumerate(corrupted.layouts):
        at = int(layout.vision(0)[4 * 2 + 1])  # row 2, column 1 of a 4 x 4 grid
        assert np.array_equal(grid.values[sample, :, 2, 1], found.values[sample, :, at])


def test_the_score_is_the_answers_log_probability(tiny, pair):
    run = tiny.run(pair[0])
    assert_close(answer_score(run), answer_log_prob(run).values)


def test_what_cannot_be_attributed(tiny, pair):
    clean, corrupted = pair
    with pytest.raises(InputError, match="positions of a sequence"):
        attribution_patching(tiny, clean, corrupted, "projector.hook_out")
    silent = tiny.inputs([picture(0)], [QUESTIONS[0]])
    with pytest.raises(EmptySelectionError, match="holds no answer"):
        attribution_patching(tiny, silent, silent)
    with pytest.raises(InputError, match="same prompt length"):
        attribution_patching(tiny, silent, corrupted)
    with pytest.raises(InputError, match="one point and at least one step"):
        integrated_gradients(tiny, clean, corrupted, "blocks.*.hook_resid_pre")
