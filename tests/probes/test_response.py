"""Dose and response, flips, KL: what an intervention does to answers, and believing it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from closeness import assert_close
from hand import run_saving
from scipy import stats

from vlmlens import probes
from vlmlens.errors import InputError
from vlmlens.interventions import PermuteVision, Scale
from vlmlens.probes.divergence import begins
from vlmlens.select import Where


def answered(x, doses, **coords):
    return xr.DataArray(
        np.asarray(x, dtype=float), dims=("sample", "dose"), coords={"dose": doses} | coords
    )


def test_the_slope_is_that_of_a_line_through_everything():
    rng = np.random.default_rng(0)
    doses = [0.0, 0.25, 0.5, 1.0]
    x = rng.normal(0, 0.2, (30, 1)) + rng.normal(0, 0.1, (30, 4)) - 0.4 * np.array(doses)
    found = probes.dose_response(answered(x, doses))
    pooled = stats.linregress(np.tile(doses, 30), x.ravel()).slope
    assert found["slope"].item() == pytest.approx(pooled)
    assert found["slope_low"] < -0.4 < found["slope_high"] < 0
    assert found["slope_p"].item() < 0.001
    np.testing.assert_allclose(found["mean"], x.mean(0))
    page = stats.page_trend_test(x[:, ::-1]).pvalue
    assert found["trend_p"].item() == pytest.approx(2 * page)


@pytest.mark.slow
def test_a_trend_allows_for_ties_and_pictures():
    """Equal responses are equal ranks; samples of one picture change order together."""
    rng = np.random.default_rng(0)
    p = []
    for seed in range(200):
        x = (rng.random((25, 5)) < 0.85).astype(float)
        p.append(probes.dose_response(answered(x, range(5)), seed=seed)["trend_p"].item())
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    x = rng.normal(size=(8, 4)) + np.arange(4)
    once = probes.dose_response(answered(x, range(4)))
    pictures = np.repeat(np.arange(8), 3)
    table = answered(np.repeat(x, 3, axis=0), range(4), picture=("sample", pictures))
    many = probes.dose_response(table)
    for name in ("slope", "slope_low", "slope_p", "trend_p"):
        assert many[name].item() == pytest.approx(once[name].item())
    alone = probes.dose_response(table, scene=False)
    assert alone["trend_p"] < many["trend_p"] and alone["slope_p"] < many["slope_p"]
    assert "pictures" in many.attrs["trend_test"]


def test_several_seeds_of_a_dose_are_one_dose():
    x = [[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    found = probes.dose_response(answered(x, [0.0, 0.5, 0.5, 1.0]))
    assert found["dose"].values.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(found["mean"], [1.0, 0.5, 0.0])
    assert found["slope"].item() == pytest.approx(-1.0)


def test_no_response_has_no_slope():
    x = np.random.default_rng(0).normal(0, 1, (40, 5))
    found = probes.dose_response(answered(x, [0, 1, 2, 3, 4]))
    assert found["slope_low"] < 0 < found["slope_high"]
    assert found["slope_p"].item() > 0.05
    assert found["trend_p"].item() > 0.05
    flat = probes.dose_response(answered(np.ones((4, 2)), [0.0, 1.0]))
    assert flat["slope"].item() == 0.0
    assert flat["slope_high"].item() == 0.0  # slopes that are 0 are no wrong answers
    assert "only 4 samples" in flat.attrs["note"]
    assert np.isnan(flat["trend_p"].item())
    right = answered(np.ones((4, 3)), [0.0, 1.0, 2.0])
    assert probes.dose_response(right, reference="gold")["trend_p"] == 1.0


def test_doses_are_numbers_and_none_is_missing():
    with pytest.raises(InputError, match="numbers for doses"):
        probes.dose_response(answered(np.ones((2, 2)), ["a", "b"]))
    with pytest.raises(InputError, match="two doses"):
        probes.dose_response(answered(np.ones((2, 1)), [0.5]))
    with pytest.raises(InputError, match="missing"):
        probes.dose_response(answered([[1.0, np.nan]], [0.0, 1.0]))
    with pytest.raises(InputError, match="1 of 2 are missing or infinite"):
        probes.dose_response(answered([[1.0, np.inf]], [0.0, 1.0]))


# Flips and PSI over scenes.


def correct(*columns, **coords):
    names = ["original", *(f"seed {n}" for n in range(len(columns) - 1))]
    return xr.DataArray(
        np.array(columns, dtype=float).T,
        dims=("sample", "permutation"),
        coords={"permutation": names} | {k: ("sample", v) for k, v in coords.items()},
    )


def test_flips_of_every_shuffle_and_category():
    table = correct(
        [1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 1, 0, 0], category=["a", "a", "b", "b", "b"]
    )
    found = probes.answer_flips(table)
    assert found["category"].values.tolist() == ["overall", "a", "b"]
    assert found["lost"].values.tolist() == [[2, 0], [2, 0], [0, 0]]
    assert found["gained"].values.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert found["p"].values[0].tolist() == [1.0, 1.0]
    assert found["p"].sel(category="a").values.tolist() == [0.5, 1.0]
    assert found["odds"].values[0, 0] == 2.0
    with pytest.raises(InputError, match="counted against 'original'"):
        probes.answer_flips(table.isel(permutation=[1, 2]))


def test_psi_says_what_was_lost_and_gained():
    found = probes.position_sensitivity_index(
        correct([1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0])
    ).sel(category="overall")
    assert found["lost"].item() == pytest.approx((1 + 2) / 8)
    assert found["gained"].item() == pytest.approx(1 / 8)
    gap = found["accuracy"] - found["accuracy_permuted"]
    assert gap.item() == pytest.approx((found["lost"] - found["gained"]).item())


def test_questions_about_one_scene_are_drawn_together():
    rng = np.random.default_rng(0)
    scenes = (rng.random(12) < 0.7).astype(float)
    shuffled = scenes * (rng.random(12) < 0.5)
    once = probes.position_sensitivity_index(correct(scenes, shuffled))
    names = np.repeat([f"scene {n:02}" for n in range(12)], 6)
    table = correct(np.repeat(scenes, 6), np.repeat(shuffled, 6), scene=names)
    alone = probes.position_sensitivity_index(table)
    together = probes.position_sensitivity_index(table, scene="scene")

    def width(found, name="psi"):
        return (found[f"{name}_high"] - found[f"{name}_low"]).item()

    for found in (alone, together):
        assert found["psi"].item() == pytest.approx(once["psi"].item())
    assert width(together) == pytest.approx(width(once), rel=0.1)
    assert width(alone) < 0.6 * width(together)
    assert together["p_value"].item() == once["p_value"].item()
    assert "scenes" in together.attrs["interval"]


def test_psi_in_nats():
    kl = correct([0, 0, 0], [0.3, 0.1, 0.2], [0.5, 0.1, 0.0])
    found = probes.position_sensitivity_index(correct([1, 1, 0], [1, 0, 0], [0, 0, 0]), kl=kl)
    assert found["kl"].item() == pytest.approx((0.4 + 0.1 + 0.1) / 3)
    assert found["kl_low"] <= found["kl"] <= found["kl_high"]


# Divergence of outputs.


def saying(letters, logits):
    run = run_saving([letters], {})
    return replace(run, logits=torch.tensor([logits]).log())


def test_divergence_worked_out_on_paper():
    even, other = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
    clean = saying("bvu", [even, even, even])
    edited = saying("bvu", [even, even, other])
    found = probes.output_divergence(edited, clean)
    assert found["kl"].item() == pytest.approx(0.5 * np.log(2) + 0.25 * np.log(0.5))
    assert found["kl"].item() == pytest.approx(stats.entropy(even, other))
    assert found["agree"].item() == 0.0
    assert found["top_drop"].item() == pytest.approx(0.25)
    same = probes.output_divergence(clean, clean)
    assert (same["kl"].item(), same["agree"].item(), same["top_drop"].item()) == (0, 1, 0)


def test_divergence_is_read_where_the_answer_begins():
    even, other = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
    clean = saying("bvua", [even, even, even, even])
    at_start = saying("bvua", [even, even, other, even])
    at_end = saying("bvua", [even, even, even, other])
    assert probes.output_divergence(at_start, clean)["kl"].item() > 0.1
    assert probes.output_divergence(at_end, clean)["kl"].item() == 0.0
    assert begins(clean.inputs.layouts[0]) == 2
    assert begins(run_saving(["bvu.."], {}).inputs.layouts[0]) == 2


def test_divergence_of_real_edits(vlm, inputs):
    clean = vlm.run(inputs)
    still = vlm.run(inputs, [Scale(point="hook_embed", by=1.0)])
    shuffled = vlm.run(inputs, [PermuteVision(seed=1)])
    blind = vlm.run(inputs, [Scale(point="hook_embed", where=Where(positions="vision"), by=0.0)])
    kl = [probes.output_divergence(run, clean)["kl"].values for run in (still, shuffled, blind)]
    assert (kl[0] == 0).all()
    assert (kl[1] > 1e-8).all() and (kl[2] > 1e-4).all()
    p, q = (run.logits[:, -1].log_softmax(-1) for run in (clean, shuffled))
    assert_close(kl[1], (p.exp() * (p - q)).sum(-1), like=clean.logits)


def test_divergence_compares_the_same_samples(vlm, inputs):
    clean = vlm.run(inputs)
    other = vlm.run(vlm.inputs([[]], ["What color?"]))
    with pytest.raises(InputError, match="different samples"):
        probes.output_divergence(clean, other)
