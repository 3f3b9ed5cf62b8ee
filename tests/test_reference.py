"""The pages of the API reference hold every public name, each on one page."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from test_docstrings import PREAMBLE, PUBLIC

import vlmlens

DOCS = Path(__file__).parents[1] / "docs"
NAMES = Counter(
    name
    for page in sorted((DOCS / "reference").glob("*.md"))
    for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
)


def test_every_public_name_is_on_a_page():
    missing = PUBLIC.keys() - NAMES.keys()
    assert not missing, f"no page of docs/reference/ has {sorted(missing)}"


def test_nothing_is_there_twice():
    values = Counter()
    for name in NAMES.elements():
        package, _, last = name.rpartition(".")
        values[getattr(import_module(package), last)] += 1
    assert [value for value, times in values.items() if times > 1] == []


def test_the_reference_shows_what_stands_before_each_example():
    page = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    assert f"```python{PREAMBLE}```" in page


SOURCES = sorted(Path(vlmlens.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("heading", ["Example", "Argument", "Parameters", "Return", "Raise"])
def test_sections_of_docstrings_are_called_as_the_reference_reads_them(heading):
    """Under any other heading `>>>` would be shown as a quotation of a quotation."""
    wrong = re.compile(rf"^ +{heading}:$", re.MULTILINE)
    found = [path.name for path in SOURCES if wrong.search(path.read_text(encoding="utf-8"))]
    assert not found, f"{heading}: is called Examples, Args, Returns or Raises in {found}"
