"""Every setting of another machine has its turn, where the processor can have it."""

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
