"""One trial: a copy of the tree with one fault in it, and what its tests say."""

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.fault import ROOT, Fault

#: Loaded once; every trial is forked from a process that holds them, and nothing of vlmlens.
HEAVY = [
    *("torch", "transformers", "transformer_lens", "scipy.stats", "sklearn"),
    *("pytest", "hypothesis", "jaxtyping", "beartype", "xarray", "pandas", "accelerate", "peft"),
    *("transformers.models.auto.modeling_auto", "transformers.models.llava.modeling_llava"),
]
NEEDED = ("vlmlens", "tests", "docs", "examples", "notebooks", "README.md", "pyproject.toml")
LIMIT = 1800.0  # seconds


@dataclass(frozen=True)
class Outcome:
    """What the tests said.

    Attributes:
        noticed: whether one failed, or none came to an end within the limit.
        by: the first that failed.
    """

    noticed: bool
    by: str = ""


class First:
    """A pytest plugin that remembers the first test that fails."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


@contextlib.contextmanager
def copied(tree: Path) -> Iterator[Path]:
    """A copy of what is needed of a tree, for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        for name in NEEDED:
            copy = shutil.copytree if (tree / name).is_dir() else shutil.copy2
            copy(tree / name, Path(folder) / name)
        yield Path(folder)


def tried(fault: Fault, sound: Path) -> Outcome:
    """Whether the tests of a fault notice it, in a copy of a tree that it is planted in.

    One that keeps a test from being run at all is not noticed.
    """
    with copied(sound) as place:
        fault.plant(place / "vlmlens")
        try:
            return outcome(place, fault.tests)
        except RuntimeError as error:
            return Outcome(False, str(error))


def outcome(place: Path, tests: tuple[str, ...]) -> Outcome:
    """What tests say in a tree; what Python compiles stays there, and copies of it start faster.

    Raises:
        RuntimeError: pytest could not run the tests at all.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    told = place / "told.txt"
    process = context.Process(target=_run, args=(place, tests, told))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join(LIMIT)
        return Outcome(True, f"no end within {LIMIT:.0f} s")
    code = process.exitcode
    said = told.read_text() if told.is_file() else ""
    # 1 is a test that failed; a file that does not import is no fault that a test noticed.
    if code not in (0, 1) or bool(code) != bool(said):
        raise RuntimeError(f"pytest ended with {code}\n{said}")
    return Outcome(code == 1, said)


def _run(place: Path, tests: tuple[str, ...], told: Path) -> None:
    os.chdir(place)
    sys.path[:] = [str(place), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    sys.dont_write_bytecode = False
    os.environ["PYTHONPATH"] = str(place)  # for commands that tests start
    for name in [name for name in sys.modules if name.split(".")[0] in ("vlmlens", "tests")]:
        del sys.modules[name]
    import pytest

    first = First()
    output = place / "output.txt"
    with output.open("w") as file, contextlib.redirect_stdout(file):
        code = pytest.main(
            [
                *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
                *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
                *(f"tests/{test}" for test in tests),
            ],
            plugins=[first],
        )
    told.write_text(first.failed if code in (0, 1) else output.read_text()[-3000:])
    os._exit(int(code))
