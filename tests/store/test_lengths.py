"""Results whose lists differ in length from sample to sample are read back as they were kept."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from filled import ONE, kept, keys, opened

import vlmlens as vl
from vlmlens.experiments import Experiment, Measure, sweep
from vlmlens.store import upkeep


def listed(length, first, dims=("sample", "cell")):
    """A sample's own list, of numbers that no other sample has, and as many words."""
    numbers = first + np.arange(length, dtype=float)
    words = np.array([f"word {n:g}" for n in numbers])
    return xr.Dataset({"x": (dims, numbers[None]), "w": (dims, words[None]), "one": 1.0 * first})


#: As many as twice another's, a mean of the others', none at all, and some that are equal.
@pytest.mark.parametrize("lengths", [(2, 6, 4), (3, 3, 6, 0, 9), (1, 2), (5, 5), (0, 4, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_lists_of_any_length_come_back_as_they_were(tmp_path, lengths, together):
    tables = [listed(length, 100 * number) for number, length in enumerate(lengths)]
    cells = [(ONE, (number,), one) for number, one in enumerate(tables)]
    if together:
        kept(tmp_path, *cells)
    else:
        for cell in cells:
            kept(tmp_path, cell)
        upkeep.gc(tmp_path)  # one file of many
    found = {}
    every = keys(*range(len(lengths)))
    for places, table in opened(tmp_path).read({"": (ONE.key, every)})[""]:
        found |= {place: table.isel(sample=row) for row, place in enumerate(places)}
    assert sorted(found) == list(range(len(lengths)))
    for number, one in enumerate(tables):
        for name in ("x", "w"):
            np.testing.assert_array_equal(found[number][name], one[name].values[0])
        assert float(found[number]["one"]) == 100 * number


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened_model:
        yield opened_model


def by_length(model, wanted):
    """Pairs of prompts of as many different lengths: equal steps, so that one has the mean."""
    found = {}
    for pair in vl.datasets.counterfactual_pairs(60, kind="swap"):
        found.setdefault(len(model.inputs([pair.clean]).layouts[0]), pair)
    lengths = sorted(found)
    low, middle, high = next(
        (a, b, c) for a in lengths for b in lengths for c in lengths if a < b < c and a + c == 2 * b
    )
    return [found[n] for n in (low, middle, high)[:wanted]]


def test_pairs_of_other_lengths_lend_no_cell_to_a_swept_pair(shapes, tmp_path):
    """The middle pair's cells are as many as the others' mean: nothing would have been said."""
    low, middle, high = by_length(shapes, 3)
    alone = sweep(shapes, middle.clean, middle.corrupted, over="pos", progress=False)
    for pair in (low, high, middle):  # each by itself, into one folder
        again = sweep(
            shapes, pair.clean, pair.corrupted, over="pos", folder=tmp_path, progress=False
        )
    np.testing.assert_allclose(again.values, alone.values, atol=1e-5)
    several = [low, middle, high]
    with pytest.raises(vl.errors.DataError, match="differ in length"):
        sweep(
            shapes,
            [pair.clean for pair in several],
            [pair.corrupted for pair in several],
            over="pos",
            folder=tmp_path,
            progress=False,
        )


@dataclass(frozen=True)
class Letters(Measure):
    """A number for every letter of the question."""

    def __call__(self, model, samples, interventions):
        most = max(len(sample.question) for sample in samples)
        rows = [np.arange(most) + 1000.0 * len(sample.question) for sample in samples]
        return xr.Dataset({"letter": (("sample", "place"), rows)})


@pytest.mark.parametrize("folder", [False, True])
def test_lists_of_ones_own_that_grow_are_refused_with_a_folder_and_without(
    shapes, tmp_path, folder
):
    """They were equal parts of all lists together, where a folder had them."""
    samples = vl.datasets.load("shapes-2d", samples=6)
    run = Experiment(shapes, samples, Letters(), {"original": ()}, batch=1)
    for _ in range(2):  # computed, and read back
        with pytest.raises(vl.errors.DataError, match=r"no one table.*'place'"):
            run.run(tmp_path if folder else None)
