"""Undo and redo are steps along one line; edits move with their positions, or say why not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout
from vlmlens.live.edits import as_edit
from vlmlens.live.edits.tokens import exchange
from vlmlens.live.history import MOST, Held, History
from vlmlens.live.moving import carried, mapped
from vlmlens.sample import Sample

STEPS = st.lists(st.sampled_from(["do", "undo", "redo"]), max_size=30)


def begun():
    return History(Held(Sample("What?")))


@settings(max_examples=25)
@given(STEPS)
def test_undo_and_redo_are_steps_along_one_line(steps):
    history, line, at = begun(), [], 0
    line.append(history.now)
    for number, step in enumerate(steps):
        if step == "do":
            held = Held(Sample(f"What {number}?"))
            history, line = history.then(held), [*line[: at + 1], held]
            at += 1
        elif (step == "undo" and at == 0) or (step == "redo" and at == len(line) - 1):
            with pytest.raises(InputError, match=f"nothing to {step}"):
                history.undone() if step == "undo" else history.redone()
        else:
            history = history.undone() if step == "undo" else history.redone()
            at += 1 if step == "redo" else -1
        assert history.now is line[at]
        assert [*history.past, history.now, *reversed(history.future)] == line


def test_a_history_ends_somewhere():
    history = begun()
    for number in range(MOST + 5):
        history = history.then(Held(Sample(f"What {number}?")))
    assert len(history.past) == MOST


def layout(*words):
    """``#`` is a patch, each in a column of its own; capitals are the template's."""
    patches = np.array([word == "#" for word in words])
    column = np.where(patches, patches.cumsum() - 1, -1)
    roles = ["vision" if w == "#" else "template" if w.isupper() else "user" for w in words]
    return TokenLayout(
        tuple(roles),
        tuple(words),
        *(np.where(patches, 0, -1),) * 2,
        column,
        np.zeros((len(words), 4)),
    )


def test_positions_of_the_common_beginning_and_end_are_the_same():
    old, new = layout(*"S##what is redE"), layout(*"S##what was blueE")
    to = mapped(old, new)
    words = {old.tokens[at]: new.tokens[where] for at, where in to.items()}
    assert words == {word: word for word in words}
    assert to[len(old) - 1] == len(new) - 1 and to[1] == 1
    assert old.tokens.index("r") not in to
    assert mapped(old, old) == {at: at for at in range(len(old))}
    assert len(set(to.values())) == len(to)


def test_a_repeated_word_is_not_mapped_twice():
    to = mapped(layout("S", "a", "a"), layout("S", "a"))
    assert len(set(to.values())) == len(to) == 2


def test_edits_that_cannot_stay_are_named_with_the_reason():
    old, new = layout("S", "#", "#", "what", "red", "E"), layout("S", "#", "#", "what", "E")
    edits = [
        as_edit({"kind": "block", "queries": [5], "keys": [1, 2]}),
        as_edit({"kind": "block", "queries": [4], "keys": [1]}),
        as_edit({"kind": "heads", "heads": [[0, 1]]}),
        as_edit({"kind": "norms"}),
    ]
    kept, dropped = carried(edits, old, new)
    assert [type(edit).__name__ for edit in kept] == ["Block", "Heads", "Norms"]
    assert kept[0].queries == (4,) and kept[0].keys == (1, 2)
    assert [each["label"] for each in dropped] == [edits[1].label(old)]
    assert "'red' (position 4)" in dropped[0]["reason"]


def test_a_region_that_moves_changes_places_with_what_stands_there():
    row = layout("S", "#", "#", "#", "#", "E")
    among, order = exchange(row, 0, (1, 2), (0, 1))
    held = {at: among[order[place]] for place, at in enumerate(among)}
    assert held == {2: 1, 3: 2, 1: 3}  # position: whose content it gets
    assert exchange(row, 0, (1,), (0, 3)) == ((1, 4), (1, 0))
    with pytest.raises(InputError, match="out of the picture"):
        exchange(row, 0, (4,), (0, 1))


def test_other_cells_are_other_positions():
    old, new = layout("S", "#", "#", "what"), layout("S", "#", "what", "what")
    assert set(mapped(old, new)) == {0, 1, 3}
