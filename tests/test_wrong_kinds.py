"""What is no model, no run, no table where one is wanted is refused, by every public function."""

from functools import cache
from inspect import Parameter, isfunction, signature, unwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from as_users import as_users

import vlmlens as vl
from vlmlens import datasets, evaluation, experiments, planning, plots, probes, report, zoo
from vlmlens.classes import fits, in_words
from vlmlens.errors import InputError, VLMLensError

PLACES = (datasets, evaluation, experiments, planning, plots, probes, report, zoo)
WRONG = {
    "an array": np.ones((3, 4)),
    "a tensor": torch.ones(3),
    "nothing": None,
    "a number": 3,
    "a list of numbers": [1],
    "a mapping": {"a": 1},
    "something else": SimpleNamespace(),
    "a class": vl.Run,
}
#: Functions of figures whose arguments are checked by their annotations.
CHECKED = ("dark", "export", "feature", "write_features")
#: What takes anything, or is told from what is inside.
ANYTHING = {
    "planning.weighing": "any torch module",
    "probes.direction_words": "any model with an unembedding",
}
PUBLIC = {
    f"{place.__name__.removeprefix('vlmlens.')}.{name}": getattr(place, name)
    for place in PLACES
    for name in place.__all__
    if isfunction(getattr(place, name))
}


@cache
def build_shapes():
    return vl.HookedVLM.from_pretrained("shapes-base")


def first(function):
    """The first parameter that has to be given."""
    taken = signature(function).parameters.values()
    wanted = [p for p in taken if p.default is p.empty]
    return next((p for p in wanted if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)), None)


def classes():
    """Every parameter of every public function that is to be of a class of ours.

    Figures have their own words for what they draw, and a law of their own.
    """
    return [
        (name, p.name)
        for name, function in PUBLIC.items()
        for p in signature(function).parameters.values()
        if not fits(SimpleNamespace(), p.annotation)
        and p.kind != Parameter.VAR_POSITIONAL
        and (not name.startswith("plots.") or name.removeprefix("plots.") in CHECKED)
    ]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if first(f) and n not in ANYTHING])
def test_the_first_argument_is_looked_at_before_it_is_looked_into(name, wrong):
    wanted = first(PUBLIC[name])
    if fits(WRONG[wrong], wanted.annotation) and "Iterable" in str(wanted.annotation):
        pytest.skip("a collection, as wanted")
    rest = {
        p.name: object()
        for p in signature(PUBLIC[name]).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    with as_users(), pytest.raises(VLMLensError):
        PUBLIC[name](**rest | {wanted.name: WRONG[wrong]})


@pytest.mark.parametrize(("name", "parameter"), classes())
def test_arguments_of_our_classes_are_checked_by_name(name, parameter):
    with as_users(), pytest.raises(InputError, match=parameter):
        PUBLIC[name](**{parameter: SimpleNamespace()})


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "a mapping"])
@pytest.mark.parametrize(
    "call",
    [
        lambda vlm, x: vlm.stream(x),
        lambda vlm, x: vlm.matching(x),
        lambda vlm, x: vlm.depth(x),
        lambda vlm, x: vlm.inputs(vl.datasets.shapes_2d(1)).same_images(x),
        lambda vlm, x: vl.datasets.shapes_2d(1)[0].after(x if isinstance(x, list) else [x]),
    ],
)
def test_so_do_methods(call, wrong):
    vlm = build_shapes()
    with as_users(), pytest.raises(VLMLensError):
        call(vlm, WRONG[wrong])


def test_every_class_of_ours_is_found():
    found = classes()
    assert len(found) > 100
    assert {"probes.cross_modality_balance", "experiments.sweep", "report.build"} <= {
        name for name, _ in found
    }


def test_messages_say_what_is_wanted_and_what_came():
    with pytest.raises(InputError) as told:
        probes.cross_modality_balance("shapes-base")
    assert str(told.value) == (
        "run='shapes-base': cross_modality_balance(...) takes a run, as model.run(...) returns or "
        "a generation, as model.generate(...) returns; this is a str"
    )
    assert in_words(vl.Run | None) == ["a run, as model.run(...) returns", "None"]


def test_a_function_that_is_checked_is_itself_underneath():
    assert unwrap(probes.cross_modality_balance).__name__ == "cross_modality_balance"
