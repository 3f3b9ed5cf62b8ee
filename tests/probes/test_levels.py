"""Intervals cover what they claim and tests reject as often as they say: short simulations.

``make coverage`` runs the long ones; these fail for the methods that do not hold.
"""

import numpy as np
import pytest
import xarray as xr
from conftest import by_turns

from tests.benchmarks.coverage import (
    PICTURES,
    SETS,
    SHAPES,
    Row,
    exchanged,
    mapped,
    mean_covered,
    page,
    psi_covered,
    rows,
)
from vlmlens.errors import InputError
from vlmlens.probes.statistics import bootstrap, map_test, mean_map


def measured(once, sets):
    found = Row("", "", 0.05, sets, once).measured()
    return {name: share for name, share in found.items() if name != SETS}


@pytest.mark.slow
@pytest.mark.parametrize("n", by_turns([10, 20], [10]))
@pytest.mark.parametrize("shape", by_turns(["exponential", "lognormal"], ["lognormal"]))
def test_skewed_maps_in_which_nothing_differs_hold_no_finding(shape, n):
    """Flipped signs would find something in a third of them, or more."""
    found = measured(mapped(lambda rng: SHAPES[shape](rng, (n, 32))), 50)
    assert found["mean, max"] <= 0.12 and found["mean, fdr"] <= 0.12  # .05, of 50
    assert found["exchange, max"] >= 0.2


def saturated(rng, n):
    """Shares that are close to 0 or 1 but for a few samples: skewness up to 8 and beyond."""
    at = np.linspace(-6, 6, 16)
    many = 1 / (1 + np.exp(-(at + 3 * np.random.default_rng(0).normal(size=(40_000, 16)))))
    return many[rng.choice(len(many), n)] - many.mean(0)


@pytest.mark.slow
@pytest.mark.parametrize("n", by_turns([10, 20, 50], [10]))
def test_saturated_shares_in_which_nothing_differs_hold_no_finding(n):
    found = measured(mapped(lambda rng: saturated(rng, n)), 40)
    assert found["mean, max"] <= 0.12 and found["mean, fdr"] <= 0.12
    assert n == 50 or found["exchange, max"] >= 0.3


@pytest.mark.slow
def test_pictures_asked_several_times_are_no_more_data():
    def draw(rng):
        own = np.repeat(np.arange(10), 4)
        return SHAPES["normal"](rng, (10, 16))[own] + 0.3 * SHAPES["normal"](rng, (40, 16))

    assert measured(mapped(draw, [4] * 10, flips=False), 50)["mean, max"] <= 0.12
    assert measured(mapped(draw, [1] * 40, flips=False), 20)["mean, max"] >= 0.4  # each alone


def test_real_effects_are_still_found():
    rng, found = np.random.default_rng(0), 0
    for seed in range(20):
        x = rng.normal(size=(20, 32))
        x[:, 5] += 1.5
        tested = map_test(xr.DataArray(x, dims=("sample", "cell")), seed=seed, permutations=299)
        found += bool(tested["significant"][5])
    assert found >= 17


MEANS = [("normal", 5, 0.94), ("lognormal", 10, 0.905), ("exponential", 5, 0.92)]
MORE_MEANS = [("normal", 20, 0.94), ("lognormal", 40, 0.93)]
MORE_MEANS += [("exponential", n, 0.935) for n in (10, 12, 20, 60)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n", "least"), by_turns(MEANS + MORE_MEANS, MEANS))
def test_intervals_of_means_cover(name, n, least):
    draw = mean_covered(lambda rng: SHAPES[name](rng, (n, 40)), 0.0)
    assert least <= measured(draw, 50)["mean_map"] <= 0.985


@pytest.mark.parametrize("n", [5, 10, 20, 60])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_intervals_of_shares_cover(share, n):
    draw = mean_covered(lambda rng: (rng.random((n, 40)) < share).astype(float), share)
    assert measured(draw, 50)["mean_map"] >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("label", by_turns(PICTURES, ["10 pictures of 1 to 12"]))
def test_intervals_of_psi_and_accuracy_cover(label):
    found = measured(psi_covered(PICTURES[label], 0.9, 0.7), 150)
    assert all(share >= 0.91 for share in found.values()), found
    assert found["psi"] <= 0.99


@pytest.mark.slow
def test_intervals_of_psi_near_its_ceiling_cover():
    """Few shuffled answers are right, in pictures of unequal size: Fieller's alone holds .87."""
    found = measured(psi_covered(PICTURES["10 pictures of 1 to 12"], 0.95, 0.05), 80)
    assert found["psi"] >= 0.95 and found["psi_corrected"] >= 0.95, found


@pytest.mark.slow
@pytest.mark.parametrize("shuffles", by_turns([1, 5], [1]))
def test_the_p_of_psi_is_small_as_often_as_it_says(shuffles):
    assert measured(exchanged([4] * 10, shuffles), 100)["p of PSI"] <= 0.12


def test_a_bootstrap_of_few_samples_covers():
    """Of ten normal numbers in .925, measured long; the percentile interval in .89."""
    rng, held = np.random.default_rng(0), 0
    for seed in range(300):
        low, high = bootstrap(np.mean, rng.normal(size=10), seed=seed, resamples=499)
        held += low <= 0 <= high
    assert held / 300 >= 0.91


def test_an_opted_out_unit_is_said_and_an_unknown_one_refused():
    x = xr.DataArray(
        np.arange(12.0), dims="sample", coords={"picture": ("sample", [*"aabbccddeeff"])}
    )
    assert mean_map(x).attrs["unit"] == "picture"
    assert mean_map(x, scene=False).attrs["n_units"] == 12
    with pytest.raises(InputError, match="no coordinate 'place' of 'sample'"):
        mean_map(x, scene="place")
    few = mean_map(x[:6])
    assert few.attrs["n_units"] == 3 and "only 3 pictures" in few.attrs["note"]
    assert np.isfinite(few["low"]) and few["low"] < few["mean"]
    assert np.isnan(mean_map(x[:2])["low"])


def test_the_table_holds_every_row_that_was_simulated():
    made = rows()[:2]
    found = {f"{row.what}: {row.data}": row.measured(2) for row in made}
    text = page(found, made)
    assert all(f"| {row.data} |" in text for row in made) and "nominal .05" in text
