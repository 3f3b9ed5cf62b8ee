"""What pyproject.toml declares of each library: the oldest versions as a file of constraints, and
what was tried as a table. ``make bounds`` runs it; it imports nothing that has to be installed.

    python tests/bounds.py                      # name==version, a line each, without torch
    python tests/bounds.py OLDEST NEWEST        # what is installed in two environments
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

PROJECT = tomllib.loads(Path(__file__).parent.with_name("pyproject.toml").read_text())["project"]
#: Extras that are made of others, and what only work on vlmlens needs.
NOT_DIRECT = ("all", "dev")
BOUND = re.compile(r"([\w.-]+)>=([\d.]+)")


def oldest(requirements: Iterable[str]) -> dict[str, str]:
    """The lower bound of each library; ``ValueError`` where one has none."""
    found = {}
    for requirement in requirements:
        bound = BOUND.match(requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} declares no oldest version: write NAME>=VERSION")
        found[_one_name(bound[1])] = bound[2]
    return found


def declared() -> dict[str, str]:
    """The oldest version of everything that vlmlens and its extras ask for."""
    extras = PROJECT["optional-dependencies"].items()
    own = [line for extra, lines in extras if extra not in NOT_DIRECT for line in lines]
    return oldest([*PROJECT["dependencies"], *own])


def installed(environment: Path) -> dict[str, str]:
    """Every distribution in an environment, with its version."""
    (packages,) = environment.glob("lib/python*/site-packages")
    return {_one_name(one.name): one.version for one in distributions(path=[str(packages)])}


def table(environments: Iterable[Path]) -> str:
    """Declared versions beside those in each environment; ``-`` where one is not installed."""
    places = list(environments)
    rows = [("", "declared", *(place.name for place in places))]
    have = [installed(place) for place in places]
    for name, version in declared().items():
        rows.append((name, f">={version}", *(each.get(name, "-") for each in have)))
    return "\n".join(" ".join(f"{cell:<17}" for cell in row).rstrip() for row in rows)


def _one_name(name: str) -> str:
    """A distribution's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    if sys.argv[1:]:
        print(table(map(Path, sys.argv[1:])))
    else:
        print(*(f"{n}=={v}" for n, v in declared().items() if n != "torch"), sep="\n")
