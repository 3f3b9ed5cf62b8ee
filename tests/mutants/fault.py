"""Fault: one line of vlmlens, wrong; and the tests that should notice."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fault:
    """One change of the source that gives wrong numbers, or wrong words, without a word.

    Attributes:
        name: what is wrong, in a few words.
        file: below ``vlmlens/``.
        old: text that stands in it exactly once.
        new: what is put in its place.
        tests: what pytest is asked to run: files of ``tests/``, or tests in them.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def check(self) -> None:
        """That the fault can still be done.

        Raises:
            ValueError: its text is not there, or more than once; a test is not there.
        """
        source = (ROOT / "vlmlens" / self.file).read_text()
        if (found := source.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {self.file} holds {found} times {self.old!r}")
        for test in self.tests:
            name, _, function = test.partition("::")
            path = ROOT / "tests" / name
            if not path.is_file() or (function and f"def {function}(" not in path.read_text()):
                raise ValueError(f"{self.name}: there is no tests/{test}")

    def plant(self, package: Path) -> None:
        """Make the change in a copy of the package."""
        path = package / self.file
        path.write_text(path.read_text().replace(self.old, self.new))
