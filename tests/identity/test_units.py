"""What a sample is one draw of; whose a module is."""

import sys

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import vlmlens as vl
from vlmlens.draws import pictures_of, together, unit_named, units_of
from vlmlens.errors import InputError
from vlmlens.identity import scene, unit
from vlmlens.identity.libraries import is_library


def test_questions_about_nothing_stand_each_by_themselves():
    asked = [vl.Sample("Is it?"), vl.Sample("Was it?"), vl.Sample("Is it?", id="again")]
    assert len({unit(sample) for sample in asked}) == 3
    assert unit(vl.Sample("Is it?")) == unit(asked[0])


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("imported", [True, False])
def test_a_module_is_a_librarys_where_it_lies_among_installed_ones(
    tmp_path, monkeypatch, installed, imported
):
    """Imported or not: what a function was unpickled from need not be."""
    name = f"lies_{'there' if installed else 'elsewhere'}_{'seen' if imported else 'unseen'}"
    (tmp_path / f"{name}.py").write_text("x = 1\n")
    if installed:
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    if imported:
        __import__(name)
    assert is_library(name) == installed
    assert (name in sys.modules) == imported
    sys.modules.pop(name, None)


def some(*colors):
    return tuple(Image.new("RGB", (8, 8), color) for color in colors)


def test_the_order_of_pictures_and_their_number_make_no_other_draw():
    orders = ("red blue", "blue red", "red blue red")
    one, other, twice = (vl.Sample("Which?", some(*colors.split())) for colors in orders)
    assert unit(one) == unit(other) == unit(twice)
    assert unit(vl.Sample("Which?", some("red"))) == unit(vl.Sample("Which?", some("red", "red")))
    assert scene(one) != scene(other)  # which the model is shown in another order


def drawn(*shown):
    """How many draws samples are that show these pictures, and which of them each is."""
    entries = [unit(vl.Sample(f"{n}?", some(*colors.split()))) for n, colors in enumerate(shown)]
    table = xr.DataArray(
        np.arange(len(shown)), dims="sample", coords={"picture": ("sample", entries)}
    )
    _, which = units_of(table)
    strict = np.unique(together(entries, apart=False), return_inverse=True)[1]
    return which.tolist(), len(set(strict.tolist()))


@pytest.mark.parametrize(
    ("shown", "groups", "strict"),
    [
        (("red", "blue", "red"), ({0, 2}, {1}), 2),
        (("red blue", "blue red", "green"), ({0, 1}, {2}), 2),
        (("red blue", "blue green", "black"), ({0, 1}, {2}), 2),
        (("red blue", "black", "green white", "blue green"), ({0, 2, 3}, {1}), 2),
        (("red", "red blue", "green"), ({0, 1}, {2}), 2),
        # An example that goes before every question is drawn with none of them.
        (("red blue", "red green", "red blue"), ({0, 2}, {1}), 1),
        (("red", "red green", "red"), ({0, 2}, {1}), 1),
        (("red", "red"), ({0, 1},), 1),
        (("red blue", "blue red"), ({0, 1},), 1),
    ],
)
def test_samples_that_show_a_picture_in_common_are_one_draw(shown, groups, strict):
    which, whole = drawn(*shown)
    found = {frozenset(np.flatnonzero(np.array(which) == n).tolist()) for n in set(which)}
    assert found == set(map(frozenset, groups))
    assert whole == strict


def test_words_that_look_like_several_pictures_are_not():
    names = ["none: What is 2+2?", "a+b", "b+c"]
    assert together(names).tolist() == names


def paired(*shown, unit="pair"):
    """Samples that show these pictures and are of the pairs named by their first letters."""
    return [
        vl.Sample(f"{n}?", some(*colors.split()), groups=(("pair", name),), unit=unit)
        for n, (name, colors) in enumerate(each.split(":") for each in shown)
    ]


@pytest.mark.parametrize(
    ("shown", "groups"),
    [
        (("a:red", "a:blue", "b:green", "b:black"), ({0, 1}, {2, 3})),
        (("a:red", "a:blue"), ({0, 1},)),  # what all are of is no example before each
        (("a:red white", "a:blue white", "b:green white"), ({0, 1}, {2})),
        (("a:red", "a:blue", "b:blue", "b:black", "c:white"), ({0, 1, 2, 3}, {4})),
        (("a:", "a:", "b:"), ({0, 1}, {2})),
    ],
)
def test_pairs_are_one_draw_whatever_they_show(shown, groups):
    samples = paired(*shown)
    entries = [unit(sample) for sample in samples]
    table = xr.DataArray(
        np.arange(len(shown)), dims="sample", coords={"picture": ("sample", entries)}
    )
    name, which = units_of(table)
    found = {frozenset(np.flatnonzero(which == n).tolist()) for n in set(which.tolist())}
    assert (name, found) == ("pair", set(map(frozenset, groups)))
    for entry, sample in zip(entries, samples, strict=True):
        assert len(pictures_of(entry)) == len(sample.images)


def test_samples_of_which_some_are_of_no_pair_are_drawn_by_picture():
    samples = [*paired("a:red", "a:blue"), *paired("b:green", "c:green", unit="")]
    assert unit_named(map(unit, samples)) == "picture"
    assert len(set(together(list(map(unit, samples))))) == 2


@pytest.mark.parametrize("name", ["set", "not a name", " "])
def test_a_unit_that_is_no_group_is_refused(name):
    with pytest.raises(InputError, match=r"none of its groups \(pair\)"):
        paired("a:red", unit=name)
