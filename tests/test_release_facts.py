"""What a release says of itself agrees: versions, licences, the README as an index shows it."""

import datetime
import re
import tomllib
from pathlib import Path

import bounds
import pytest
from children import HOME
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def test_every_library_declares_its_oldest_version():
    asked = [*PROJECT["project"]["dependencies"]]
    for extra, lines in PROJECT["project"]["optional-dependencies"].items():
        asked += [] if extra in bounds.NOT_DIRECT else lines
    found = bounds.declared()
    assert len(found) == len(asked) > 30
    for line in asked:
        wanted = Requirement(line)
        oldest = found[canonicalize_name(wanted.name)]
        assert oldest in wanted.specifier, line
        assert f">={oldest}" in map(str, wanted.specifier), line


@pytest.mark.parametrize("line", ["einops", "einops<1", "einops==0.8", "einops~=0.8"])
def test_a_library_without_an_oldest_version_is_refused(line):
    with pytest.raises(ValueError, match=rf"'{line}' declares no oldest version"):
        bounds.oldest(["numpy>=2", line])


def test_what_is_installed_stands_beside_what_is_declared(tmp_path):
    packages = tmp_path / "newest" / "lib" / "python3.11" / "site-packages"
    for name, version in {"huggingface_hub": "2.4.0", "Jinja2": "3.1.6"}.items():
        told = packages / f"{name}-{version}.dist-info"
        told.mkdir(parents=True)
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    rows = [line.split() for line in bounds.table([tmp_path / "newest"]).splitlines()]
    assert rows[0] == ["declared", "newest"]
    assert ["huggingface-hub", f">={bounds.declared()['huggingface-hub']}", "2.4.0"] in rows
    assert ["jinja2", ">=3.1", "3.1.6"] in rows
    assert ["torch", ">=2.6", "-"] in rows


def test_licences_are_there():
    assert all(Path(HOME, file).is_file() for file in PROJECT["project"]["license-files"])
