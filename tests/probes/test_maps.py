"""Corrections over maps, clusters, effect sizes and sample sizes, against others and by hand."""

import itertools
import re

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics import (
    cluster_test,
    cohens_d,
    corrected,
    design_effect,
    flip_odds,
    flips,
    map_test,
    mean_map,
    paired_p,
    rank_biserial,
    samples_for_effect,
    samples_for_flips,
    samples_for_width,
)
from vlmlens.probes.statistics.redrawn import exchanged


def layers_heads(x, **coords):
    return xr.DataArray(np.asarray(x, dtype=float), dims=("sample", "layer", "head"), coords=coords)


def noise(n=20, layers=3, heads=4, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (n, layers, heads))


def test_a_map_of_means_with_every_cells_own_interval():
    x = noise(200) * 2 + 3
    found = mean_map(layers_heads(x))
    np.testing.assert_allclose(found["mean"], x.mean(0))
    half = 1.96 * x.std(0) / np.sqrt(200)
    np.testing.assert_allclose(found["low"], x.mean(0) - half, atol=0.08)
    np.testing.assert_allclose(found["high"], x.mean(0) + half, atol=0.08)
    assert found["n"].values.tolist() == [[200.0] * 4] * 3
    assert found.attrs["correction"].startswith("none")


def test_cells_without_values_have_no_mean():
    x = noise(6, 1, 4)
    x[:, 0, 1], x[1:, 0, 2], x[4:, 0, 3] = np.nan, np.nan, np.nan
    found = mean_map(layers_heads(x))
    assert found["n"].values.tolist() == [[6.0, 0.0, 1.0, 4.0]]
    assert np.isnan(found["mean"].values[0]).tolist() == [False, True, False, False]
    assert np.isnan(found["low"].values[0]).tolist() == [False, True, True, False]
    for test, tested in (("mean", [0]), ("exchange", [0, 2, 3])):
        for correction in ("max", "fdr", "none"):
            found = map_test(
                layers_heads(x), test=test, correction=correction, permutations=99, warn=False
            )
            told = ~np.isnan(found["p_corrected"].values[0])
            assert np.flatnonzero(told).tolist() == tested
            assert found.attrs["cells"] == len(tested)
    with pytest.raises(InputError, match="there is: mean, exchange"):
        map_test(layers_heads(x), test="signs")


def test_infinite_values_have_no_mean():
    x = noise(6)
    x[2, 1, 1] = np.inf
    for call in (mean_map, map_test):
        with pytest.raises(InputError, match="1 of 72 values are infinite"):
            call(layers_heads(x))


def test_samples_of_a_scene_are_drawn_together():
    """Ten scenes, each asked about eight times with the same answer: ten draws, not eighty."""
    by_scene = noise(10, 1, 1)
    x = layers_heads(
        np.repeat(by_scene, 8, axis=0), picture=("sample", np.repeat(np.arange(10), 8))
    )
    alone, scenes = mean_map(x, scene=False), mean_map(x)
    ten = mean_map(layers_heads(by_scene))
    assert (scenes.attrs["unit"], scenes.attrs["n_units"]) == ("picture", 10)
    assert (alone.attrs["unit"], alone.attrs["n_units"]) == ("sample", 80)

    def width(found):
        return (found["high"] - found["low"]).item()

    assert width(scenes) == pytest.approx(width(ten))
    assert width(scenes) > 2 * width(alone)
    xr.testing.assert_equal(scenes, mean_map(x, scene="picture"))
    for test in ("mean", "exchange"):
        whole, once = map_test(x, test=test), map_test(layers_heads(by_scene), test=test)
        for name in ("p", "p_corrected", "effect"):
            assert whole[name].item() == pytest.approx(once[name].item())
    with pytest.raises(InputError, match="no coordinate 'scene'"):
        mean_map(x, scene="scene")


def test_signs_are_flipped_exactly_where_there_are_few():
    x = noise(6, 2, 2, seed=3) + 0.6
    found = map_test(layers_heads(x), correction="max", test="exchange", permutations=99)
    cells = x.reshape(6, 4)
    z = cells.sum(0) / np.sqrt((cells**2).sum(0))
    patterns = np.array(list(itertools.product([1, -1], repeat=6)))
    null = np.abs(patterns @ (cells / np.sqrt((cells**2).sum(0))))
    p = (null >= np.abs(z) - 1e-9).mean(0)
    family = (null.max(1)[:, None] >= np.abs(z) - 1e-9).mean(0)
    np.testing.assert_allclose(found["z"].values.ravel(), z)
    np.testing.assert_allclose(found["p"].values.ravel(), p)
    np.testing.assert_allclose(found["p_corrected"].values.ravel(), family)
    assert (family >= p).all() and (family > p).any()
    assert "exact" in found.attrs["test"]
    # One cell is the paired permutation test of that cell.
    assert p[0] == pytest.approx(paired_p(cells[:, 0], np.zeros(6)))


def test_maps_that_reach_a_size_are_counted_with_those_that_equal_it():
    """Two cells of five equal values: sizes repeat, and rounding must not tell them apart."""
    z, null = exchanged(np.full((5, 2), 0.1), 99, 0)
    every = np.abs(np.array(list(itertools.product([1, -1], repeat=5))).sum(1)) / np.sqrt(5)
    sizes = np.array([0.0, 1.0, 3.0, 5.0]) / np.sqrt(5)
    share = (every[:, None] >= sizes - 1e-12).mean(0)
    assert share.tolist() == [1.0, 1.0, 12 / 32, 2 / 32] and null.exact
    np.testing.assert_allclose(z, sizes[-1])
    np.testing.assert_allclose(null.topped(sizes), share)
    np.testing.assert_allclose(null.pooled(sizes), share)
    np.testing.assert_allclose(null.reached(sizes[2:]), share[2:])
    small = np.array([1, 3, 5]) / 500  # as slack that is absolute would not see
    assert (null.pooled(small) == 1).all() and (null.topped(small) == 1).all()


def test_drawn_signs_count_the_data_themselves():
    """Twenty samples that all agree: none of 99 draws reaches them, and p is 1 / 100, not 0."""
    found = map_test(layers_heads(np.ones((20, 1, 1))), test="exchange", permutations=99)
    assert found["p"].item() == found["p_corrected"].item() == 1 / 100
    assert "Monte Carlo, 100" in found.attrs["test"]
    x = layers_heads(noise(30, 1, 2) + 5)
    assert (map_test(x, permutations=99)["p_corrected"] == 1 / 100).all()


def test_what_never_varies_is_not_tested(caplog):
    """Twenty times the same: a rare value that would make the mean the null may be unseen."""
    x = noise(20, 1, 3)
    x[:, 0, 1], x[:, 0, 2] = 0.3, 0.0
    found = map_test(layers_heads(x))
    assert "map_test: 1 of 3 cells are not tested" in caplog.text
    assert np.isnan(found["p_corrected"].values[0]).tolist() == [False, True, False]
    assert found["p_corrected"].values[0, 2] == 1.0
    assert "1 of 3 cells are not tested" in found.attrs["note"]
    few = map_test(layers_heads(noise(4, 1, 1) + 9), warn=False)
    assert np.isnan(few["p"].item()) and not few["significant"].item()
    assert "fewer than 5 samples (there are 4)" in few.attrs["note"]


def flipped(d, draws=499):
    """Corrected p of sign flips and the largest cell, written out."""
    rng = np.random.default_rng(0)

    def size(x):
        return np.abs(x.sum(0) / np.sqrt((x**2).sum(0)))

    tops = [size(d * rng.choice([-1, 1], (len(d), 1, 1))).max() for _ in range(draws)]
    return ((np.array(tops)[:, None, None] >= size(d) - 1e-12).sum(0) + 1) / (draws + 1)


def test_large_effects_in_few_samples_are_noted_where_the_mean_test_cannot_tell(caplog):
    """Twelve samples, each three deviations from the null: signs tell, means may not."""
    d = np.random.default_rng(1).normal(size=(12, 4, 8)) + 3
    assert (d > 0).all() and flipped(d).max() < 0.01
    found = map_test(layers_heads(d), permutations=499)
    assert re.search(r"map_test: .* deviate the same way .* test='exchange'", caplog.text)
    caplog.clear()
    missed = found["p_corrected"].values >= 0.05
    assert missed.any() and found["p_corrected"].max() > 0.9
    assert f"{missed.sum()} of 32 cells deviate the same way in every sample" in found.attrs["note"]
    signs = map_test(layers_heads(d), test="exchange", permutations=499)
    assert signs["p_corrected"].max() < 0.01 and "deviate" not in signs.attrs.get("note", "")
    # However large the effect: |z| cannot pass the ceiling that skewness sets.
    a = 1.5 * stats.skew(d, bias=False, axis=0) / np.sqrt(12)
    far = map_test(layers_heads(d + 100), permutations=99, warn=False)["z"].values
    assert not caplog.text
    bent = a < -0.1
    np.testing.assert_allclose(far[bent], -1 / a[bent], rtol=1e-4)
    more = np.random.default_rng(1).normal(size=(20, 4, 8)) + 3
    enough = map_test(layers_heads(more), permutations=499)
    assert enough["significant"].all() and "deviate" not in enough.attrs.get("note", "")
    nothing = map_test(layers_heads(d - 3), permutations=99)
    assert "deviate" not in nothing.attrs.get("note", "")


def test_z_is_students_t_or_halls_whichever_is_smaller():
    x = noise(30) + 0.2
    found = map_test(layers_heads(x))
    t = stats.ttest_1samp(x, 0, axis=0).statistic
    a = 1.5 * stats.skew(x, bias=False, axis=0) / np.sqrt(30)
    hall = t + a * t**2 / 3 + a**2 * t**3 / 27
    z = found["z"].values
    np.testing.assert_allclose(z, np.sign(t) * np.minimum(np.abs(t), np.abs(hall)))
    assert (z == t).any() and (np.abs(z) < np.abs(t)).any()
    np.testing.assert_allclose(found["effect"], t / np.sqrt(30))
    np.testing.assert_allclose(found["p"], 2 * stats.t.sf(np.abs(z), 29))
    flipped = map_test(layers_heads(x), test="exchange")["z"].values
    np.testing.assert_allclose(t, flipped * np.sqrt(29 / (30 - flipped**2)))


def test_a_cell_whose_tail_is_not_in_the_data_is_no_finding():
    """Shares near 0 that grow by factors: the sample is far below the mean, and nothing differs."""
    x = np.exp(np.random.default_rng(1).normal(0, 2, 10))
    null = 1.05 * np.sort(x)[-1]
    t = stats.ttest_1samp(x, null)
    assert t.pvalue < 1e-3
    found = map_test(xr.DataArray(x[:, None], dims=("sample", "head")), null)
    assert found["p"].item() > 100 * t.pvalue
    assert found["p_corrected"].item() > 100 * t.pvalue


@pytest.mark.slow
def test_the_maximum_statistic_keeps_the_family_wise_rate():
    """60 maps of noise, 12 cells each: uncorrected, about half the maps hold a "finding"."""
    found = {"max": 0, "none": 0}
    for seed in range(60):
        for correction in found:
            x = layers_heads(noise(12, seed=seed))
            tested = map_test(x, correction=correction, permutations=400)
            found[correction] += bool(tested["significant"].any())
    assert found["max"] <= 8  # 3 expected
    assert found["none"] > 15


def test_a_planted_head_is_found_and_the_null_can_be_a_map():
    x = noise(25, seed=5)
    x[:, 1, 2] += 2
    for correction in ("max", "fdr"):
        found = map_test(layers_heads(x + 5), 5.0, correction=correction)
        cells = np.argwhere(found["significant"].values).tolist()
        assert cells == [[1, 2]] if correction == "max" else [1, 2] in cells
        assert correction == "max" or "Benjamini" in found.attrs["correction"]
    even = xr.DataArray(np.linspace(0, 1, 25), dims="sample")
    shifted = map_test(layers_heads(x) + even, even)
    np.testing.assert_allclose(shifted["p_corrected"], map_test(layers_heads(x))["p_corrected"])


def test_the_false_discovery_rate_is_that_of_others():
    p = np.array([[0.001, 0.008, np.nan], [0.039, 0.041, 0.6]])
    known = p[~np.isnan(p)]
    expected = stats.false_discovery_control(known)
    found = corrected(p, "fdr")
    np.testing.assert_allclose(found[~np.isnan(p)], expected)
    assert np.isnan(found[0, 2])
    np.testing.assert_allclose(found[0, 0], 0.005)  # 0.001 x 5 / 1
    np.testing.assert_array_equal(corrected(p, "none"), p)
    assert corrected(np.array([np.nan]), "fdr").shape == (1,)


def test_corrections_say_what_they_are():
    for correction, word in {"max": "family-wise", "fdr": "discovery", "none": "none"}.items():
        found = map_test(layers_heads(noise(8)), correction=correction, permutations=50)
        assert word in found.attrs["correction"]
    with pytest.raises(InputError, match="there is: max, fdr, none"):
        map_test(layers_heads(noise(8)), correction="bonferroni")
    with pytest.raises(InputError, match="there is: fdr, none"):
        corrected(np.array([0.1]), "max")


# Clusters on the grid.


def grid(x):
    return xr.DataArray(np.asarray(x, dtype=float), dims=("sample", "row", "column"))


def test_a_planted_region_is_one_cluster():
    x = np.random.default_rng(1).normal(0, 1, (20, 8, 8))
    x[:, 2:5, 3:6] += 1.5
    found = cluster_test(grid(x))
    assert (found["cluster"].values[2:5, 3:6] == 1).mean() >= 8 / 9
    assert found["p"].values[3, 4] <= 0.01
    assert (found["p"].values[found["cluster"].values != 1] > 0.05).all()
    t = stats.ttest_1samp(x, 0, axis=0).statistic
    np.testing.assert_allclose(found["t"], t)
    limit = stats.t.isf(0.025, 19)
    mass = np.abs(t[found["cluster"].values == 1]).sum()
    assert mass > 9 * limit
    assert (np.abs(t)[found["cluster"].values > 0] > limit).all()


def test_clusters_have_one_sign_and_touch_along_edges():
    x = np.zeros((10, 2, 4))
    wobble = np.random.default_rng(0).normal(0, 0.1, (10, 2, 4))
    x[:, 0, 0], x[:, 0, 1], x[:, 1, 2] = (
        2,
        -2,
        -2,
    )  # side by side, of two signs; one across a corner
    found = cluster_test(grid(x + np.where(x == 0, 0, wobble)), permutations=99)
    assert found.attrs["clusters"] == 3
    assert sorted(found["cluster"].values[[0, 0, 1], [0, 1, 2]]) == [1, 2, 3]
    assert (found["cluster"].values == 0).sum() == 5


def test_noise_has_clusters_about_as_often_as_alpha_says():
    hits = sum(
        bool((cluster_test(grid(noise(12, 6, 6, seed)), permutations=99)["p"] < 0.05).any())
        for seed in range(40)
    )
    assert hits <= 6  # 2 expected


def test_clusters_need_a_grid():
    with pytest.raises(InputError, match="clusters lie on"):
        cluster_test(layers_heads(noise(5)))
    with pytest.raises(InputError, match="needs 5 samples or scenes at least; there are 4 samples"):
        cluster_test(grid(noise(4, 4, 4)))
    cluster_test(grid(noise(4, 4, 4)), test="exchange")
    with pytest.raises(InputError, match="two samples"):
        cluster_test(grid(noise(1, 4, 4)), test="exchange")


def test_pictures_are_one_draw_in_clusters():
    x = np.random.default_rng(1).normal(0, 1, (12, 4, 4))
    x[:, :2, :2] += 1.5
    one = cluster_test(grid(x))
    many = grid(np.repeat(x, 3, axis=0)).assign_coords(
        picture=("sample", np.repeat(np.arange(12), 3))
    )
    for name in ("t", "cluster", "p"):
        np.testing.assert_allclose(cluster_test(many)[name], one[name])
    assert cluster_test(many).attrs["n_units"] == 12


# Flips, effects and sizes.


def test_flips_are_mcnemars():
    before = np.array([1.0] * 12 + [0.0] * 4 + [1.0] * 30)
    after = np.array([0.0] * 12 + [1.0] * 4 + [1.0] * 30)
    found = flips(before, after)
    assert (found.lost, found.gained) == (12, 4)
    assert found.p == pytest.approx(stats.binomtest(12, 16).pvalue)
    none = flips(before, before)
    assert (none.lost, none.gained, none.p) == (0, 0, 1.0)
    assert flips(np.ones(5), np.zeros(5)).p == pytest.approx(2 / 2**5)


def test_effect_sizes_worked_out_on_paper():
    a, b = np.array([3.0, 4.0, 8.0]), np.array([1.0, 5.0, 5.0])  # differences 2, -1, 3
    assert cohens_d(a, b) == pytest.approx((4 / 3) / np.sqrt(13 / 3))
    assert rank_biserial(a, b) == pytest.approx((2 + 3 - 1) / 6)
    w = stats.wilcoxon(a, b, alternative="greater").statistic
    assert rank_biserial(a, b) == pytest.approx(2 * w / 6 - 1)
    assert np.isnan(cohens_d(a, a)) and np.isnan(rank_biserial(a, a))
    assert flip_odds(12, 4) == 3.0
    assert flip_odds(3, 0) == np.inf
    assert np.isnan(flip_odds(0, 0))


def test_sample_sizes_are_those_of_the_books():
    assert samples_for_effect(0.5) == samples_for_effect(-0.5) == 34  # Cohen's table: 33.4
    assert samples_for_effect(0.5, design_effect=2.0) == 67  # twice 33.4
    assert samples_for_width(0.05) == 385
    assert design_effect(4, 0.5) == 2.5
    assert samples_for_width(0.05, design_effect=2.5) == np.ceil(2.5 * 384.146)
    for call in (
        lambda: samples_for_effect(0.0),
        lambda: samples_for_effect(0.5, power=1.0),
        lambda: samples_for_flips(0.2, 0.2),
        lambda: samples_for_flips(0.8, 0.4),
        lambda: samples_for_flips(0.2, 0.1, design_effect=0.5),
        lambda: design_effect(0.5, 0.1),
        lambda: design_effect(2, 1.1),
        lambda: samples_for_width(0.0),
    ):
        with pytest.raises(InputError):
            call()


def power_of_a_t_test(n, d, alpha):
    """Over every spread that n samples can have: how often their mean is beyond its limit."""
    df, limit = n - 1, stats.t.isf(alpha / 2, n - 1)

    def at(s):  # s: the samples' standard deviation
        beyond = stats.norm.sf(limit * s - d * n**0.5) + stats.norm.cdf(-limit * s - d * n**0.5)
        return stats.chi.pdf(s * df**0.5, df) * df**0.5 * beyond

    most = stats.chi.isf(1e-14, df) / df**0.5
    return integrate.quad(at, 0, most, points=[min(1.0, most / 2)], epsabs=1e-11, limit=500)[0]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.2, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("power", [0.3, 0.8, 0.99])
@pytest.mark.parametrize("d", [0.05, 0.3, -0.8, 2.0])
def test_samples_for_an_effect_are_those_that_the_t_test_needs(d, power, alpha):
    n = samples_for_effect(d, power=power, alpha=alpha)
    assert power_of_a_t_test(n, d, alpha) >= power - 1e-9
    if n > 2:  # a t test takes two
        assert power_of_a_t_test(n - 1, d, alpha) < power


def test_an_effect_that_any_two_samples_show_takes_two():
    assert samples_for_effect(100.0) == 2
    assert samples_for_effect(0.1, power=0.1, alpha=0.2) == 2


def exact_power(n, lost, gained):
    """Every table of lost and gained written down, and the exact test of each."""
    found = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            if a + b and stats.binomtest(a, a + b).pvalue <= 0.05:
                found += stats.multinomial.pmf(
                    [a, b, n - a - b], n, [lost, gained, 1 - lost - gained]
                )
    return found


@pytest.mark.parametrize(("lost", "gained"), [(0.5, 0.1), (0.1, 0.6), (0.4, 0.0)])
def test_samples_for_flips_are_those_that_the_exact_test_needs(lost, gained):
    n = samples_for_flips(lost, gained)
    assert exact_power(n, lost, gained) >= 0.8 > exact_power(n - 1, lost, gained)
    assert samples_for_flips(lost, gained, power=0.5) < n
    assert samples_for_flips(lost, gained, design_effect=2.0) == 2 * n


def test_flips_of_one_picture_go_together():
    before = np.repeat([1.0, 1.0, 1.0, 0.0, 1.0], 4)
    after = np.repeat([0.0, 0.0, 1.0, 0.0, 0.0], 4)
    found = flips(before, after, unit=np.repeat(np.arange(5), 4))
    assert (found.lost, found.gained) == (12, 0)
    assert found.p == 2 / 2**3  # three pictures that all lose, not twelve answers
    assert flips(before, after).p == 2 / 2**12
    assert flips(before, after, unit=np.arange(20)).p == 2 / 2**12


def test_what_n_counts_is_said_where_samples_share_pictures():
    x = layers_heads(noise(30)).assign_coords(picture=("sample", [f"p{i % 17}" for i in range(30)]))
    found = map_test(x, test="exchange")
    assert (found["n"] == 17).all()
    assert found["n"].attrs["long_name"] == (
        "distinct pictures: 13 of 30 samples share one with another"
    )
    assert (found.attrs["samples"], found.attrs["n_units"]) == (30, 17)
    assert map_test(x, scene=False)["n"].attrs["long_name"] == "samples"


def test_six_pairs_are_the_fewest_that_exchanges_can_find_in_any_map():
    """The smallest p is 2 / 2^n, for the largest of however many cells."""
    for cells in (1, 300):
        for pairs in (5, 6):
            x = np.random.default_rng(0).normal(size=(pairs, 1, cells)) * 1e-3
            x[:, 0, 0] = 1.0
            x[:, 0, 1:] *= np.array([1.0, -1.0] * 3)[:pairs, None]
            found = map_test(layers_heads(x), test="exchange")
            assert found["p_corrected"].values[0, 0] == 2 / 2**pairs
