"""Whatever is passed at a public door: it works, or ends in one of our errors, never in another.

Annotations are not checked here, as they are not for users.
"""

import dataclasses

import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import build, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens import cli, experiments, positions
from vlmlens.errors import VLMLensError
from vlmlens.experiments.measures import Answering
from vlmlens.interventions import INTERVENTIONS, Edit, Scale, ZeroAblate

EXAMPLES = 15
bounded = settings(max_examples=EXAMPLES, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0)], ["Is it red?"])


@pytest.fixture(scope="module")
def kept(vlm, inputs):
    return vlm.prefill(inputs)


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
    *("[", "*", "free", "uniform", "eager", "\0", "é", "1"),
)
ODD = (
    *(None, object(), Ellipsis, b"x", 1j, np.zeros((2, 0)), np.zeros((2, 2)), torch.ones(3)),
    *(np.array(["last"]),),  # no functions: what a user's own raises is the user's
    *(np.array([None]), {}, {"layers": 1}, set(), range(3), range(0), range(-2, 9), slice(0, 2)),
    *(slice(None), slice("a"), vl.Where(layers=1), positions.Role("vision")),
    *(positions.Row(0), ~positions.Role("vision"), positions.Text("red"), Scale("hook_embed")),
    *(ZeroAblate("hook_embed"), vl.Save("hook_embed"), vl.Sample("Is it red?")),
)
words, odd = st.sampled_from(WORDS), st.sampled_from(ODD)
atoms = st.one_of(numbers, words, odd)
anything = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(st.integers(-2, 4), max_size=3).map(np.array),
        st.dictionaries(st.sampled_from(["layers", "a"]), inner, max_size=1),
        st.frozensets(st.integers(-1, 3), max_size=3),
    ),
    max_leaves=4,
)


def tried(call):
    """What a call gives, or None where it ended in one of our errors."""
    try:
        return call()
    except VLMLensError as error:
        assert str(error)
        return None


def some_of(names, values=anything):
    return st.dictionaries(st.sampled_from(sorted(names)), values, max_size=2)


WHERE = [item.name for item in dataclasses.fields(vl.Where)]


@bounded
@given(some_of([*WHERE, "layer"]))
def test_where(vlm, inputs, fields):
    where = tried(lambda: vl.Where(**fields))
    if where is None:
        return
    assert hash(where) == hash(vl.Where(**fields)) and repr(where)
    for point in ("hook_embed", "blocks.*.attn.hook_z", "blocks.*.attn.hook_attn_scores"):
        tried(lambda point=point: vlm.run(inputs, ZeroAblate(point, where), logits="last"))


SELECTIONS = (
    "At",
    "Box",
    "Cell",
    "Column",
    "Region",
    "Role",
    "Row",
    "Text",
    "AnyOf",
    "AllOf",
    "Not",
)


@bounded
@given(st.sampled_from(SELECTIONS), st.lists(anything, max_size=4))
def test_selections(inputs, name, values):
    kind = getattr(positions, name)
    names = [item.name for item in dataclasses.fields(kind)]
    required = [i.name for i in dataclasses.fields(kind) if i.default is dataclasses.MISSING]
    given_values = dict(zip(names, values, strict=False))
    if not set(required) <= set(given_values):
        return
    made = tried(lambda: kind(**given_values))
    if made is not None:
        repr(made), hash(made)
        tried(lambda: made.of(inputs.layouts[0]))


@bounded
@given(st.data())
def test_interventions(vlm, inputs, data):
    kind = data.draw(st.sampled_from(list(INTERVENTIONS.values())))
    names = [item.name for item in dataclasses.fields(kind)]
    fields = data.draw(some_of([*names, "layers"]))
    edit = tried(lambda: kind(**fields))
    if edit is not None:
        assert str(edit)
        tried(lambda: vlm.run(inputs, edit, logits="last"))


@bounded
@given(anything, anything, some_of(["logits", "attention", "grad", "banana"]))
def test_run(vlm, inputs, interventions, save, options):
    tried(lambda: vlm.run(inputs, interventions, **options))
    tried(lambda: vlm.run(inputs, save=save, **options))
    tried(lambda: vlm.run(save))


@bounded
@given(anything, anything)
def test_transformer_lens_doors(vlm, inputs, names, option):
    tried(lambda: vlm(names))
    tried(lambda: vlm.run_with_cache(inputs, names))
    for keyword in ("return_type", "stop_at_layer", "remove_batch_dim", "device", "pos_slice"):
        tried(lambda keyword=keyword: vlm.run_with_cache(inputs, "hook_embed", **{keyword: option}))
    tried(lambda: vlm.run_with_hooks(inputs, fwd_hooks=names))
    tried(lambda: vlm.run_with_hooks(inputs, fwd_hooks=[(names, lambda x, hook: x)]))
    tried(lambda: vlm.run(inputs, save="hook_embed").saved[names])


GENERATE = ("interventions", "save", "max_new_tokens", "temperature", "seed", "stop", "answered")


@bounded
@given(some_of(GENERATE))
def test_generate(vlm, inputs, options):
    if isinstance(options.get("max_new_tokens"), int) and options["max_new_tokens"] > 3:
        return  # as many as that take their time
    tried(lambda: vlm.generate(inputs, **{"max_new_tokens": 1, **options}))


@bounded
@given(anything, anything)
def test_resume(vlm, inputs, kept, cells, wanted):
    tried(lambda: vlm.resume(kept, cells))
    tried(lambda: vlm.resume(kept, [[]], wanted))
    tried(lambda: vlm.resume(wanted, [[]]))
    tried(lambda: vlm.prefill(inputs, save=wanted))


@bounded
@given(anything, anything)
def test_inputs(vlm, samples, prompts):
    tried(lambda: vlm.inputs(samples))
    tried(lambda: vlm.inputs(samples, prompts))
    tried(lambda: vlm.inputs([picture(0)], prompts))
    tried(lambda: vlm.inputs(vl.Sample("?"), answers=samples))
    tried(lambda: vlm.inputs(vl.Sample("?"), system=samples))
    tried(lambda: vlm.inputs(vl.Sample("?"), padding=samples))


EXPERIMENT = ("samples", "interventions", "dimension", "batch", "max_failed", "names")


@bounded
@given(some_of(EXPERIMENT))
def test_experiment(vlm, options):
    given_options = {"samples": [vl.Sample("Is it red?", (picture(0),), "red")], **options}

    def run():
        measure = Answering(max_new_tokens=1)
        return experiments.Experiment(vlm, measure=measure, **given_options).run()

    tried(run)


@bounded
@given(st.sampled_from([None, 3.0, "x"]) | st.integers().map(lambda n: torch.ones(n % 3)))
def test_an_edit_that_returns_something_else(vlm, inputs, made):
    tried(lambda: vlm.run(inputs, Edit("hook_embed", by=lambda x: made), logits="last"))


FLAGS = ("--delta", "--samples", "--seed", "--batch", "--permutations", "--data", "--scoring")
FLAGS += (
    "--reference",
    "--max-failed",
    "--dtype",
    "--attention",
    "--revision",
    "--device",
    "--tiny",
)
VALUES = ("nan", "inf", "-1", "0", "1.5", "x", "", "nowhere", "é", "1e99", "/proc", "likelihood")


@bounded
@given(
    st.sampled_from(["diagnose", "check", "fetch", "models", "nothing", "--version"]),
    st.lists(st.tuples(st.sampled_from(FLAGS), st.sampled_from(VALUES)), max_size=3),
)
def test_the_command_line(tmp_path_factory, command, options):
    out = tmp_path_factory.mktemp("out") / "results"
    words = [command, *(word for pair in options for word in pair)]
    if command == "diagnose":  # no model is opened
        words += ["no-such-model", "--out", str(out)]
    if command == "check":
        words += ["no-such-model"]
    if command == "fetch":
        words += ["no-such-model"]
    found = CliRunner().invoke(cli.app, words)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code in (0, 1, 2)
    assert "Traceback" not in found.output
