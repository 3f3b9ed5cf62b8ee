"""Import paths of earlier versions go on working, and say where a thing is now."""

import importlib
import inspect
import warnings

import pytest
from children import python

from vlmlens import datasets
from vlmlens.moved import MOVED, new_name


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_is_the_same_module(old):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = importlib.import_module(old)
    assert found is importlib.import_module(MOVED[old])
    assert all(MOVED[old] in str(warning.message) for warning in said)


@pytest.mark.pages
def test_what_docs_of_earlier_versions_imported():
    code = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from vlmlens.datasets.shapes_2d import Scene, entries
    from vlmlens.datasets.shapes_2d.pairs import counterfactual_pairs
    from vlmlens.model.residual import RESIDUAL
    from vlmlens.experiments.study.arms import NAMES
from vlmlens import datasets, study
assert counterfactual_pairs is datasets.counterfactual_pairs
assert callable(datasets.shapes_2d) and not hasattr(datasets.shapes_2d, "Scene")
assert study.arms.NAMES is NAMES
print(len(said), *sorted({str(w.category.__name__) for w in said}))
"""
    done = python(code)
    assert done.stdout.split()[-1] == "DeprecationWarning"
    assert int(done.stdout.split()[0]) >= 3


def test_the_function_of_that_name_is_not_hidden():
    importlib.import_module("vlmlens.datasets.shapes_2d")
    assert inspect.isfunction(datasets.shapes_2d)


def test_other_names_are_left_alone():
    assert new_name("vlmlens.model.hooked") == ""
    assert new_name("vlmlens.model.residuals") == ""
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("vlmlens.model.residuals")
