"""Every setting of another machine has its turn, where the processor can have it."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest
from machines import LEVELS, SETTINGS, VECTORS, possible, turn


@pytest.mark.parametrize("most", LEVELS)
def test_no_instruction_is_asked_for_that_the_processor_lacks(most):
    settings = possible(most)
    own = [each.removeprefix(VECTORS) for each in settings if each.startswith(VECTORS)]
    assert own == list(LEVELS[: LEVELS.index(most) + 1])
    assert [each for each in SETTINGS if not each.startswith(VECTORS)] == [
        each for each in settings if not each.startswith(VECTORS)
    ]


@pytest.mark.parametrize("most", LEVELS)
def test_every_setting_has_its_turn_with_both_neighbours(most):
    settings = possible(most)
    pairs = [turn(number, settings) for number in range(len(settings))]
    assert sorted(each for pair in pairs for each in pair) == sorted(settings * 2)
    assert not any(all(each.startswith(VECTORS) for each in pair) for pair in pairs)


@pytest.mark.parametrize("most", LEVELS)
def test_every_share_meets_every_setting(most):
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    (shares,) = re.findall(r"^SHARES \?= (\d+)$", makefile, re.MULTILINE)
    assert math.gcd(int(shares), len(possible(most))) == 1


def item(number, **params):
    return SimpleNamespace(
        nodeid=f"tests/test_some.py::test_it[{number}]",
        path=conftest.TESTS / "test_some.py",
        callspec=SimpleNamespace(params=params),
    )


def chosen(items, share="0/1", kinds=False):
    """What is kept; all else is said to be left out, once."""
    left = []
    hook = SimpleNamespace(pytest_deselected=lambda items: left.extend(items))
    options = {"share": share, "kinds": kinds}
    config = SimpleNamespace(getoption=options.__getitem__, hook=hook)
    kept = list(items)
    conftest.pytest_collection_modifyitems(config, kept)
    assert [each for each in items if each in kept] == kept  # in their order
    assert sorted(map(id, kept + left)) == sorted(map(id, items))
    return kept


def test_of_four_kinds_alone():
    items = [item(n, vlm=name, n=n) for n, name in enumerate(conftest.EVERY)]
    items += [item(100, n=3), item(101, text="not a model"), item(102)]
    kept = chosen(items, kinds=True)
    assert [each.callspec.params.get("vlm") for each in kept[:-3]] == sorted(
        conftest.KINDS, key=conftest.EVERY.index
    )
    assert kept[-3:] == items[-3:]


def test_shares_are_all_there_is_and_keep_a_models_tests_together():
    def of(number):
        name = conftest.EVERY[number % len(conftest.EVERY)]
        params = [{"name": name}, {"vlm": name, "n": 3}, {"n": number}, {}][number % 4]
        return item(number, **params)

    items = [of(number) for number in range(240)]
    assert chosen(items) == items
    shares = [chosen(items, f"{turn}/5") for turn in range(331, 336)]
    names = [each.nodeid for share in shares for each in share]
    assert sorted(names) == sorted(each.nodeid for each in items)
    for model in conftest.EVERY:
        counts = [sum(model in each.callspec.params.values() for each in share) for share in shares]
        assert sum(count > 0 for count in counts) <= 1
    assert min(map(len, shares)) > len(items) / 10
