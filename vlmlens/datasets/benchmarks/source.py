"""Source: where the files of a published set's split can be fetched."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlmlens.datasets.reading import rows
from vlmlens.errors import DataError

#: Addresses of pictures, and the names of their files below the set's folder.
Linked = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """A repository of the hub, and what is wanted of it.

    Attributes:
        repo: its name.
        files: that are wanted, as patterns.
        below: the folder in the set's own that they go into: files of two repositories may have
            one name.
        linked: the pictures that these files name by their addresses, once they are there; they
            are downloaded, too.

    Examples:
        >>> from vlmlens.datasets.benchmarks import BENCHMARKS
        >>> BENCHMARKS["vsr"].source("random-dev").repo
        'cambridgeltl/vsr_random'
    """

    repo: str
    files: tuple[str, ...]
    below: str = ""
    linked: Callable[[Path], Linked] | None = None


def links(table: str, address: str, name: str) -> Callable[[Path], Iterator[tuple[str, str]]]:
    """The pictures that the rows of a file name by their addresses, each once.

    Args:
        table: the file.
        address: the column that holds the address.
        name: the column that holds the name of the picture's file.
    """

    def found(folder: Path) -> Iterator[tuple[str, str]]:
        seen: set[str] = set()
        for row in rows(folder / table):
            where, file = row.text(address), row.text(name)
            if not where.startswith(("http://", "https://")):
                raise DataError(f"{row.where}: {address} is {where!r:.60}; it should be an address")
            if Path(file).name != file:
                raise DataError(f"{row.where}: {name} is {file!r:.60}; it should name a file")
            if file not in seen:
                seen.add(file)
                yield where, f"{where.rstrip('/').split('/')[-2]}/{file}"

    return found
