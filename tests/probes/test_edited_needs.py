"""Probes of edited runs: what was asked for before an edit is read with the layouts after it."""

import pytest
from conftest import by_turns, picture
from edited import EDITS, Pooling
from test_saved_otherwise import ASKED, NAMED, needs_of, numbers, same

import vlmlens as vl
from vlmlens.errors import VLMLensError
from vlmlens.interventions import CompressVision
from vlmlens.zoo.tiny import build

SAMPLES = [
    vl.Sample("What color?", (picture(0), picture(1))),
    vl.Sample("Is it left?", (picture(2), picture(3))),
]


@pytest.fixture(scope="module", params=by_turns(["llava", "qwen2_5_vl"], ["llava"]))
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


def outcome(read):
    """Numbers, or why there are none."""
    try:
        return numbers(read())
    except VLMLensError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", ASKED)
def test_needs_hold_whatever_edits_do_to_the_inputs(vlm, name, edit):
    inputs, edit = vlm.inputs(SAMPLES), EDITS[edit]
    made = edit.prepare(inputs)
    pooling = ()  # the rest was done
    if isinstance(edit, CompressVision):
        pooling = (Pooling(rows=edit.rows, columns=edit.columns),)

    def read(given, edits, asked):
        needs = [NAMED[name](asked)] if name in NAMED else list(needs_of(name))
        return ASKED[name](vlm.run(given, edits, save=needs))

    found = outcome(lambda: read(inputs, edit, inputs))
    expected = outcome(lambda: read(made, pooling, made))
    if isinstance(found, str) or isinstance(expected, str):
        assert found == expected
    else:
        assert same(found, expected)
