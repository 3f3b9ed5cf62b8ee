"""What a sample is one draw of; whose a module is."""

import sys

import pytest

import vlmlens as vl
from vlmlens.identity import unit
from vlmlens.identity.libraries import is_library


def test_questions_about_nothing_stand_each_by_themselves():
    asked = [vl.Sample("Is it?"), vl.Sample("Was it?"), vl.Sample("Is it?", id="again")]
    assert len({unit(sample) for sample in asked}) == 3
    assert unit(vl.Sample("Is it?")) == unit(asked[0])


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("imported", [True, False])
def test_a_module_is_a_librarys_where_it_lies_among_installed_ones(
    tmp_path, monkeypatch, installed, imported
):
    """Imported or not: what a function was unpickled from need not be."""
    name = f"lies_{'there' if installed else 'elsewhere'}_{'seen' if imported else 'unseen'}"
    (tmp_path / f"{name}.py").write_text("x = 1\n")
    if installed:
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    if imported:
        __import__(name)
    assert is_library(name) == installed
    assert (name in sys.modules) == imported
    sys.modules.pop(name, None)
