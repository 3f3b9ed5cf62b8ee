"""One look at values: hashes of hashes, with cycles, and where an error is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vlmlens.errors import DataError
from vlmlens.identity.digests import digest
from vlmlens.identity.libraries import version

ATOMS = (type(None), bool, int, float, complex, type(...), type(NotImplemented), range, slice)


class Hasher(ABC):
    """How a look at values goes from one to the next; ``Content`` says how each kind is hashed."""

    def __init__(self, revision: str = "", vocabulary: bool = True) -> None:
        self.revision, self.vocabulary = revision, vocabulary
        self.own_code = self.by_row = False
        self.libraries: dict[str, str] = {}
        self._known: dict[int, str] = {}
        self._kept: list[Any] = []  # an id is an object's only while the object is there
        self._open: dict[int, int] = {}
        self._trail: list[str] = []

    def of(self, given: Any) -> str:
        """The hash of a value."""
        kind = type(given)
        if kind is str:
            return digest(b"str", given.encode("utf-8", "surrogatepass"))
        if kind is bytes or kind is bytearray:
            return digest(kind.__name__.encode(), given)
        if kind in ATOMS:
            return self.joined(kind.__name__, repr(given))
        known = self._known.get(id(given))
        if known is not None:
            return known
        if id(given) in self._open:  # it holds itself: known by how far up that was
            return self.joined("above", str(len(self._open) - self._open[id(given)]))
        self._open[id(given)] = len(self._open)
        try:
            made = self.read(given)
        finally:
            del self._open[id(given)]
        self._known[id(given)] = made
        self._kept.append(given)
        return made

    def joined(self, kind: str, *parts: str) -> str:
        """Some hashes as one."""
        return digest(kind.encode(), *(part.encode("utf-8", "surrogatepass") for part in parts))

    def named(self, pairs: Iterable[tuple[str, Any]]) -> list[str]:
        """Names and what they mean, in the order of the names."""
        parts = []
        for name, held in sorted(pairs, key=lambda pair: pair[0]):
            with self.at(name):
                parts += [name, self.of(held)]
        return parts

    def met(self, module: str) -> str:
        """The library that a module is of, whose version is noted down."""
        top = module.partition(".")[0]
        self.libraries[top] = version(top)
        return top

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Remember where this is, for what errors say."""
        self._trail.append(name)
        try:
            yield
        finally:
            self._trail.pop()

    @abstractmethod
    def read(self, given: Any) -> str:
        """The hash of a value that is neither an atom nor was met before."""

    def opaque(self, given: Any) -> DataError:
        """What is said of a value that holds nothing that can be read."""
        where = f" ({' > '.join(self._trail)})" if self._trail else ""
        text = repr(given)
        return DataError(
            f"{text[:200]}{where} is known by its address alone, so its results could not be found "
            "again; make it a frozen dataclass, a function or a value of plain parts, or run "
            "without a folder"
        )
