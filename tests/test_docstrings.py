"""Every public name says how it is used: an example in its docstring, which runs as it stands.

An example may use the names of ``PREAMBLE`` without a word, and nothing else that it has not made.
"""

import doctest
import importlib
import inspect
import pkgutil
from functools import cache
from importlib.util import find_spec

import pytest

import vlmlens

#: What stands before each example; the page of conventions says the same.
PREAMBLE = """
import numpy as np
import torch
import vlmlens as vl

model = vl.HookedVLM.from_pretrained("shapes-base")
samples = vl.datasets.load("shapes-2d")[:4]
sample = samples[0]
"""
#: Examples that measure everything there is; they run where what is slow runs.
SLOW = ("vlmlens.experiments.diagnose_all", "vlmlens.study.measured")
#: Packages whose names are still to be shown in use.
NOT_YET = ("vlmlens.store",)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public():
    """``package.name`` -> the class or function, once each, under the shortest path."""
    names = [module.name for module in pkgutil.walk_packages(vlmlens.__path__, "vlmlens.")]
    found, seen = {}, set()
    for name in sorted(["vlmlens", *names], key=lambda name: (name.count("."), name)):
        if name.endswith("__main__"):
            continue
        package = importlib.import_module(name)
        if not hasattr(package, "__path__"):
            continue
        for each in sorted(getattr(package, "__all__", ())):
            value = getattr(package, each)
            if (inspect.isclass(value) or inspect.isroutine(value)) and id(value) not in seen:
                seen.add(id(value))
                found[f"{name}.{each}"] = value
    return found


#: What stands in modules that are imported only when they are asked for.
INTEROP = ("native.places", "nnsight.TracedVLM", "transformer_lens.to_bridge")
PUBLIC = public()
for each in INTEROP:
    module, _, name = each.partition(".")
    if module == "transformer_lens" or find_spec("nnsight"):
        home = importlib.import_module(f"vlmlens.interop.{module}")
        PUBLIC[f"vlmlens.interop.{each}"] = getattr(home, name)


def methods():
    """``package.Class.method`` of the classes of ``vlmlens`` itself and of points.

    What stands in for torch's own methods of a module is torch's to explain.
    """
    for name in [*(each for each in PUBLIC if each.count(".") == 1), "vlmlens.points.Point"]:
        home, _, last = name.rpartition(".")
        kind = getattr(importlib.import_module(home), last)
        for each in dir(kind) if inspect.isclass(kind) else ():
            held = inspect.getattr_static(kind, each)
            held = getattr(held, "__func__", held)
            own = inspect.isfunction(held) and held.__module__.startswith("vlmlens")
            if own and not each.startswith("_") and held.__qualname__.endswith(f".{each}"):
                yield f"{name}.{each}", held


METHODS = dict(methods())


@cache
def names():
    made = {}
    exec(PREAMBLE, made)
    return made


def examples(value):
    found = doctest.DocTestFinder(exclude_empty=True).find(value, value.__name__, globs={})
    return [test for test in found if test.examples]


#: What is run; a class's own methods with it, and those of its bases by themselves.
RUN = PUBLIC | {
    name: held
    for name, held in METHODS.items()
    if held.__qualname__.partition(".")[0] != name.split(".")[-2]
}


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith(NOT_YET)])
def test_every_public_name_has_an_example(name):
    assert ">>>" in (PUBLIC[name].__doc__ or ""), f"{name} shows no use of itself"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_example(name):
    assert ">>>" in (METHODS[name].__doc__ or ""), f"{name} shows no use of itself"


SHOWN = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name, value in RUN.items()
    if examples(value)
]


@pytest.mark.pages
@pytest.mark.parametrize("name", SHOWN)
def test_every_example_runs(name, tmp_path, monkeypatch):
    for number, test in enumerate(examples(RUN[name])):
        (folder := tmp_path / str(number)).mkdir()  # each finds an empty one
        monkeypatch.chdir(folder)
        test.globs = dict(names())
        said = []
        doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=said.append)
        assert not said, "".join(said)
