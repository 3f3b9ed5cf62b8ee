"""What a release says of itself agrees: versions, licences, the README as an index shows it."""

import datetime
import re
import tomllib
from pathlib import Path

from children import HOME

import vlmlens

PROJECT = tomllib.loads(Path(HOME, "pyproject.toml").read_text())
README = Path(HOME, "README.md").read_text()
CITED = Path(HOME, "CITATION.cff").read_text()


def shown():
    """The README after the substitutions of the build."""
    text = README
    for one in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    return text


def test_what_is_cited_is_this_version():
    (version,) = re.findall(r"^version: (.*)$", CITED, re.MULTILINE)
    (date,) = re.findall(r'^date-released: "(.*)"$', CITED, re.MULTILINE)
    assert version == vlmlens.__version__
    assert datetime.date.fromisoformat(date).year >= 2025


def test_an_index_shows_no_link_that_leads_nowhere():
    links = re.findall(r"\]\(([^)]*)\)", shown())
    assert links and all(link.startswith("https://") for link in links), links
    assert "![" not in shown()
    kept = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", "", README).split()
    assert len(shown().split()) > 0.9 * len(kept)


def test_pythons_that_are_named_are_tried():
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
    (tried,) = re.findall(r"^PYTHONS \?= (.*)$", Path(HOME, "Makefile").read_text(), re.MULTILINE)
    assert named[0] == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert set(named) <= set(tried.split())
    assert all(version in README for version in named)


def test_licences_are_there():
    assert all(Path(HOME, file).is_file() for file in PROJECT["project"]["license-files"])
