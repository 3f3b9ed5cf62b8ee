"""The page of short answers: every block runs by itself, after the page's beginning."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.pages

PAGE = Path(__file__).parents[1] / "docs" / "how_do_i.md"
HEAD, *BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def begun():
    names: dict = {}
    exec(compile(HEAD, str(PAGE), "exec"), names)
    yield names
    names["model"].close()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_answer_runs_by_itself(number, begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(begun)
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number + 1}", "exec"), dict(begun))
    assert begun == before  # nothing that the next answer could lean on


def test_every_block_was_found():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```") == 2 * (1 + len(BLOCKS)) and len(BLOCKS) > 20
