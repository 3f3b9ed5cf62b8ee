"""What a store's runs were asked for, and which of them are going on: for ``vlmlens status``."""

import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlmlens.identity import digest
from vlmlens.store.atomic import runs, whole
from vlmlens.store.shards import KEY, apart, as_keys, checked, packed, said_by

NAMES = "asked-*.parquet"


@dataclass(frozen=True, eq=False)
class Asked:
    """Samples that a run was asked for, under some conditions.

    Attributes:
        conditions: what they are, by their keys.
        keys: of the samples.
        unread: names of samples whose pictures could not be read.
    """

    conditions: Mapping[str, Mapping[str, Any]]
    keys: pa.Array
    unread: Sequence[str]


def note(
    folder: Path,
    asked: Mapping[str, tuple[Mapping[str, Any], Sequence[bytes] | pa.Array]],
    unread: Sequence[str],
) -> None:
    """Write down what a run is asked for: one file for conditions of the same samples.

    Args:
        folder: the store's.
        asked: of every condition's key, what it is, and the samples' keys.
        unread: names of samples whose pictures could not be read.
    """
    groups: dict[str, tuple[pa.Array, dict[str, Mapping[str, Any]]]] = {}
    for condition, (told, given) in asked.items():
        keys = as_keys(given)
        same = digest(*(memoryview(part) for part in keys.buffers() if part))
        groups.setdefault(same, (keys, {}))[1][condition] = told
    for keys, conditions in groups.values():
        table = pa.table({KEY: keys})
        told = {"unread": list(unread), **apart(conditions)}
        data = packed([table], table.schema, told, use_dictionary=False)
        path = folder / f"asked-{digest(memoryview(data))[:24]}.parquet"
        if not path.exists():
            whole(path, lambda part, data=data: part.write_bytes(data))


def noted(path: Path) -> Asked:
    """What was written down.

    Raises:
        DataError: the file is damaged, or not ours.
    """
    _, file = checked(path, "asked")
    told = said_by(file, path)
    return Asked(told["conditions"], file.read()[KEY].combine_chunks(), told["unread"])


class Running:
    """A run's sign in the folder, for others to see who writes; taken away when it ends.

    Args:
        folder: the store's.
    """

    def __init__(self, folder: Path):
        name = f".running.{socket.gethostname()}.{os.getpid()}.part"
        self._sign = folder / name
        self._sign.write_text(" ".join(sys.argv[:8]), encoding="utf-8", errors="replace")

    def close(self) -> None:
        """It has ended."""
        self._sign.unlink(missing_ok=True)


def running(folder: Path) -> Iterable[str]:
    """Who writes: host, process and command of every run that goes on."""
    for sign in sorted(folder.glob(".running.*.part")):
        host, _, pid = sign.name.removeprefix(".running.").removesuffix(".part").rpartition(".")
        if host != socket.gethostname() or runs(int(pid)):
            yield f"{host}, process {pid}: {sign.read_text(encoding='utf-8')}"
