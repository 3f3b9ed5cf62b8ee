"""Links of the README lead to files of the repository; `make docs` checks those of the pages."""

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
README = (HOME / "README.md").read_text(encoding="utf-8")


@pytest.mark.pages
def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert len(links) > 10
    assert [link for link in links if not (HOME / link.partition("#")[0]).exists()] == []
    for link in links:
        path, _, anchor = link.partition("#")
        titles = (
            re.findall(r"^#+ (.+)$", (HOME / path).read_text(encoding="utf-8"), re.MULTILINE)
            if anchor
            else []
        )
        assert not anchor or anchor in [title.lower().replace(" ", "-") for title in titles], link
