"""The page on the live explorer: what it shows runs, what it says of limits is so."""

import re
from pathlib import Path

import pytest

from vlmlens.live import asking, pictures

PAGE = (Path(__file__).parents[2] / "docs" / "explore.md").read_text(encoding="utf-8")


@pytest.mark.pages
def test_what_the_page_shows_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "explore.md", "exec"), names)
    assert names["view"].address.startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_the_page_says_what_the_limits_are():
    assert f"{pictures.MOST_BYTES // 2**20} MiB" in PAGE
    assert f"{pictures.MOST_PIXELS / 1e6:g} million pixels" in PAGE
    assert f"longer than {asking.QUICK:g} seconds" in PAGE
