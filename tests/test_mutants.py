"""Faults on purpose can still be planted: their text stands where they say it does, once."""

import pytest

from tests.mutants.faults import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_can_be_planted(fault):
    fault.check()
    assert fault.new != fault.old


def test_each_has_a_name_of_its_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
