"""Whatever somebody may pass: hypothesis' strategies, and what is made of a call with it.

``VLMLENS_FUZZ=3000`` tries so many, others every time; without it, a few, the same every time.
"""

import inspect
import os
from pathlib import Path

import numpy as np
import torch
from conftest import picture
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import vlmlens as vl
from vlmlens import positions
from vlmlens.errors import VLMLensError
from vlmlens.interventions import Scale, ZeroAblate

LONG = int(os.environ.get("VLMLENS_FUZZ", "0"))


def bounded(few: int):
    """So many examples, the same ones every time; or many, at random."""
    return settings(
        max_examples=LONG or few,
        deadline=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck) if LONG else [],
    )


class Whatever:
    """A class that takes everything."""

    def __init__(self, *args, **kwargs):
        pass

    def __repr__(self):
        return "Whatever()"


def gives_nothing(*args, **kwargs):
    return None


def gives_its_first(*args, **kwargs):
    return args[0] if args else None


def gives_a_word(*args, **kwargs):
    return "red"


def takes_nothing():
    return None


def takes_one(x):
    return x


def takes_five(a, b, c, d, e):
    return a


#: Functions that raise nothing of their own: what a user's raises is the user's.
FUNCTIONS = (
    *(gives_nothing, gives_its_first, gives_a_word, takes_nothing, takes_one, takes_five),
    *(Whatever, len, list, torch.numel, torch.nn.Identity(), str.upper),
)
numbers = st.one_of(
    st.integers(-3, 8),
    st.sampled_from([10**6, -(10**30), 2**63]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.integers(0, 3).map(np.int64),
    st.floats(0, 1).map(np.float32),
    st.integers(0, 3).map(torch.tensor),
    st.floats(0, 1).map(torch.tensor),
)
WORDS = (
    *("vision", "user", "last", "answer", "all", "visoin", "prefill", "decode", "", "hook_embed"),
    *("blocks.*.hook_resid_post", "blocks.1.attn.hook_pattern", "blocks.*.attn.hook_attn_scores"),
    *("[", "*", "free", "uniform", "eager", "\0", "é", "1", "\ud800", "<image>", "a" * 300),
)
ODD = (
    *(None, object(), Ellipsis, b"x", 1j, np.zeros((2, 0)), np.zeros((2, 2)), torch.ones(3)),
    *(np.array(["last"]), np.array([None]), np.array("2020-01-01", dtype="datetime64[D]")),
    *(torch.ones(3, device="meta"), torch.empty(0), torch.ones(1, dtype=torch.complex64)),
    *(torch.eye(2).to_sparse(), torch.zeros(2, 5, dtype=torch.long), NotImplemented, int, dict),
    *({}, {"layers": 1}, {1: 2}, set(), range(3), range(0), range(-2, 9), slice(0, 2)),
    *(slice(None), slice("a"), vl.Where(layers=1), positions.Role("vision"), Path("nowhere")),
    *(positions.Row(0), ~positions.Role("vision"), positions.Text("red"), Scale("hook_embed")),
    *(ZeroAblate("hook_embed"), vl.Save("hook_embed"), vl.Sample("Is it red?")),
    *(vl.Sample("Is it red?", (picture(0),), "red"), picture(0), vl.Where, vl.Sample, iter([1])),
)
odd = st.sampled_from((*ODD, *FUNCTIONS))
atoms = st.one_of(numbers, st.sampled_from(WORDS), odd)
anything = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(st.integers(-2, 4), max_size=3).map(np.array),
        st.dictionaries(st.sampled_from(["layers", "a", "hook_embed"]), inner, max_size=1),
        st.frozensets(st.integers(-1, 3), max_size=3),
    ),
    max_leaves=4,
)


def some_of(names, values=anything, most=2):
    """Values for some of these keywords."""
    return st.dictionaries(st.sampled_from(sorted(names)), values, max_size=most)


def keywords(function):
    """The keywords that a function takes, and one that it does not."""
    taken = inspect.signature(function).parameters.values()
    return [p.name for p in taken if p.kind == p.KEYWORD_ONLY] + ["banana"]


def tried(call):
    """What a call gives, or None where it ended in one of our errors."""
    try:
        return call()
    except VLMLensError as error:
        assert str(error)
        return None
