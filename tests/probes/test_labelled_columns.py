"""Whatever takes arrays takes labelled ones, and says the same; or refuses in our words."""

from inspect import signature

import numpy as np
import pytest
import xarray as xr
from as_users import as_users
from scipy import stats

from vlmlens.errors import InputError
from vlmlens.probes import statistics

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 9)).round(2)
BEFORE, AFTER = (RNG.random((2, 12)) < 0.5).astype(float)
OTHERS, P = RNG.normal(size=(9, 3)), np.array([[0.01, 0.02], [0.04, np.nan]])
#: Every function that takes arrays without labels: what it is given.
TAKES = {
    "bootstrap": ((A,), {"statistic": np.mean}),
    "cohens_d": ((A, B), {}),
    "corrected": ((P,), {"correction": "fdr"}),
    "exchange_p": ((A, OTHERS), {}),
    "flips": ((BEFORE, AFTER), {}),
    "paired_p": ((A, B), {}),
    "rank_biserial": ((A, B), {}),
}
LABELLED = ("cluster_test", "map_test", "mean_map")
NUMBERS = {
    "design_effect", "flip_odds", "proportion_interval", "samples_for_effect",
    "samples_for_flips", "samples_for_width",
}  # fmt: skip
PAIRED = ("cohens_d", "exchange_p", "flips", "paired_p", "rank_biserial")


def called(name, change=lambda x: x, **more):
    arrays, rest = TAKES[name]
    first = [rest["statistic"]] if "statistic" in rest else []
    named = {key: value for key, value in rest.items() if key != "statistic"}
    return getattr(statistics, name)(*first, *map(change, arrays), **named, **more)


def with_labels(x, **coords):
    dims = ("sample", "condition")[: x.ndim] if len(x) > 2 else ("layer", "head")
    return xr.DataArray(x, dims=dims, coords=coords, name="score", attrs={"units": "logits"})


def test_every_function_is_held():
    functions = {name for name in statistics.__all__ if callable(getattr(statistics, name))}
    assert functions - {"Flips"} == {*TAKES, *LABELLED, *NUMBERS}
    for name in NUMBERS:
        kinds = {p.annotation for p in signature(getattr(statistics, name)).parameters.values()}
        assert not any("ndarray" in str(kind) for kind in kinds)


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("change", [with_labels, np.ndarray.tolist, np.asfortranarray])
def test_labels_and_lists_change_nothing(name, change):
    with as_users():
        np.testing.assert_array_equal(called(name, change), called(name))


def test_corrected_keeps_labels():
    found = statistics.corrected(with_labels(P), "fdr")
    assert found.dims == ("layer", "head")


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("wrong", [A, A.tolist(), None, xr.Dataset(), "results.nc"])
def test_maps_without_labels_are_refused(name, wrong):
    with as_users(), pytest.raises(InputError, match="labelled array"):
        getattr(statistics, name)(wrong)


@pytest.mark.parametrize("name", PAIRED)
def test_what_does_not_pair_is_refused(name):
    named = iter(["abcdefghijkl", "bacdefghijkl"])

    def turned(x):
        return with_labels(x, sample=list(next(named))[: len(x)])

    with as_users(), pytest.raises(InputError, match=r"coordinate 'sample'.*one order"):
        called(name, turned)
    with as_users(), pytest.raises(InputError, match="samples"):
        function = getattr(statistics, name)
        function(A, OTHERS[:4] if name == "exchange_p" else B[:4])
    with as_users(), pytest.raises(InputError, match="infinite"):
        called(name, lambda x: np.where(np.arange(x.size).reshape(x.shape) == 1, np.inf, x))
    with as_users(), pytest.raises(InputError, match="numbers"):
        called(name, lambda x: np.full(x.shape, "a"))
    with as_users(), pytest.raises(InputError, match="one value"):
        function(OTHERS, OTHERS)


@pytest.mark.parametrize("name", PAIRED)
def test_a_sample_without_a_value_is_left_out(name):
    arrays, _ = TAKES[name]
    function = getattr(statistics, name)
    gone = [np.concatenate([x, np.full((1, *x.shape[1:]), fill)]) for x, fill in
            zip(arrays, (np.nan, 1.0), strict=True)]  # fmt: skip
    assert function(*gone) == function(*arrays)


def test_samples_of_one_picture_change_places_together():
    a, b = np.ones(12), np.zeros(12)
    picture = ("sample", np.repeat(["x", "y", "z", "u"], 3))
    one, other = (with_labels(x, picture=picture) for x in (a, b))
    assert statistics.paired_p(one, other) == 2 / 2**4
    assert statistics.paired_p(a, b) == 2 / 2**12
    assert statistics.exchange_p(one, other.expand_dims(condition=1)) == 2 / 2**4
    assert statistics.flips(one, other).p == 2 / 2**4
    assert statistics.flips(one, other).lost == 12
    with pytest.raises(InputError, match="share pictures"):
        statistics.bootstrap(np.mean, one)


def test_paired_p_is_scipys():
    found = stats.permutation_test(
        (A, B), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples",
        vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    assert statistics.paired_p(with_labels(A), with_labels(B)) == pytest.approx(found.pvalue)
