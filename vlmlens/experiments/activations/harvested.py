"""Harvest: activations in a folder, read when they are asked for."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from xarray.backends import BackendArray
from xarray.core import indexing

from vlmlens.checks import one_of
from vlmlens.errors import DataError, InputError
from vlmlens.experiments.activations.harvesting import BITS, COUNT, numbers
from vlmlens.experiments.activations.tokens import Tokens
from vlmlens.experiments.given import as_folder
from vlmlens.store.shards import CONDITION, KEY, NAMES, SAMPLE, checked, said_by


class Harvest:
    """Activations that ``harvest`` kept in a folder.

    Tokens come sample by sample, in the order of the samples' names. A file is read, and its
    checksum made sure of, when something of it is asked for; a few stay in memory.

    Args:
        folder: where they are.
        condition: which, where there are several in the folder: the label of its edits.

    Attributes:
        samples: names of the samples.
        counts: how many tokens each has.
        points: what is there of every token.

    Raises:
        DataError: nothing was harvested there; a damaged file.
        InputError: no such condition, or several and none is named.

    Examples:
        >>> found = vl.experiments.harvest(
        ...     model, samples[:2], "blocks.2.hook_resid_post", folder="acts", rows="vision"
        ... )
        >>> table = vl.experiments.Harvest("acts").dataset()
        >>> table["blocks.2.hook_resid_post"].dims, table.sizes["token"]
        (('token', 'd_model'), 128)
        >>> near = table.isel(token=slice(0, 2)).load()
        >>> near["sample"].values[0] == samples[0].id, near["column"].values.tolist()
        (True, [0, 1])
    """

    def __init__(self, folder: Path | str, condition: str | None = None):
        self.folder = as_folder(folder)
        self._files = [path for path in sorted(self.folder.glob(NAMES)) if not _failed(path)]
        if not self._files:
            raise DataError(f"{self.folder} holds no activations: vlmlens harvest keeps them there")
        where = self._condition(condition)
        names, keys, files, rows, counts = _index(self._files, where)
        if not len(names):
            raise DataError(f"{self.folder} holds no activations: vlmlens harvest keeps them there")
        order = np.lexsort((keys, names))
        fresh = np.ones(len(order), bool)
        fresh[1:] = keys[order][1:] != keys[order][:-1]
        order = order[fresh]
        self.samples = names[order]
        self.counts: Int[np.ndarray, " sample"] = counts[order]
        self._place: Int[np.ndarray, "sample 2"] = np.stack([files[order], rows[order]], 1)
        self._ends = np.cumsum(self.counts, dtype=np.int64)
        (self._told,) = _forms(self._files, where)
        self.points = [name for name in self._told if name.rpartition(".")[2].startswith("hook_")]
        self._file = lru_cache(maxsize=2)(lambda number: checked(self._files[number])[1])
        self._column = lru_cache(maxsize=8)(self._read)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"Harvest({len(self.samples)} samples, {len(self)} tokens: {', '.join(self.points)})"

    def dataset(self) -> xr.Dataset:
        """All of it as xarray, none of which is read before it is asked for.

        Returns:
            Every point over (token, ...), with the coordinates ``sample``, ``position``, ``role``,
            ``word``, ``image``, ``tile``, ``row``, ``column`` (token) and ``box`` (token, edge) in
            pixels of the original image.

        Examples:
            >>> found = vl.experiments.harvest(
            ...     model, samples[:2], "blocks.*.hook_mlp_out", folder="acts", dtype="float32"
            ... )
            >>> table = found.dataset()
            >>> last = table["blocks.3.hook_mlp_out"][-1]
            >>> last.shape, last["role"].item()
            ((128,), 'template')
        """
        names = xr.Variable("token", indexing.LazilyIndexedArray(_Lazy(self, SAMPLE, (), "U")))
        variables: dict[str, xr.Variable] = {}
        for name, told in self._told.items():
            dtype = "float32" if BITS in told["attrs"] else told["dtype"]
            lazy = _Lazy(self, name, tuple(told["shape"]), dtype)
            dims = ("token", *told["dims"][2:])
            variables[name] = xr.Variable(dims, indexing.LazilyIndexedArray(lazy))
        marks = {name: variables.pop(name) for name in list(variables) if name not in self.points}
        edges = ("edge", list(_edges(self._files[0])))
        return xr.Dataset(variables, {"sample": names, **marks, "edge": edges})

    def tensors(
        self, point: str, *, size: int = 4096, seed: int | None = 0, epochs: int = 1, mix: int = 4
    ) -> Iterable[Float[Tensor, "row ..."]]:
        """A point's rows as batches of tensors, for training.

        Args:
            point: which.
            size: rows a batch.
            seed: rows are shuffled within some files at a time, and files among each other; None
                keeps their order.
            epochs: how often all rows come, each time in another order.
            mix: how many files are in memory, and shuffled, at a time.

        Returns:
            A ``torch.utils.data.IterableDataset`` of (row, ...) tensors; a ``DataLoader`` with
            workers deals out the files.

        Examples:
            >>> found = vl.experiments.harvest(
            ...     model, samples[:2], "blocks.2.hook_resid_post", folder="acts", rows="vision"
            ... )
            >>> [tuple(rows.shape) for rows in found.tensors("blocks.2.hook_resid_post", size=100)]
            [(100, 128), (28, 128)]
        """
        one_of(point, "point", self.points)
        return Tokens(self, point, size, seed, epochs, mix)

    def files(self) -> list[int]:
        """The numbers of the files that hold any of it."""
        return np.unique(self._place[:, 0]).tolist()

    def of_file(self, number: int, name: str) -> Shaped[np.ndarray, "token ..."]:
        """All rows of a file, of the samples that are counted in it."""
        own = np.flatnonzero(self._place[:, 0] == number)
        return np.concatenate([self._of_sample(int(at), name) for at in own])

    def rows(self, name: str, start: int, stop: int) -> Shaped[np.ndarray, "token ..."]:
        """Some tokens, one after another."""
        first = int(np.searchsorted(self._ends, start, side="right"))
        parts = []
        for at in range(first, len(self.samples)):
            begin = int(self._ends[at] - self.counts[at])
            if begin >= stop:
                break
            parts.append(self._of_sample(at, name)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else self._of_sample(0, name)[:0]

    def _of_sample(self, at: int, name: str) -> Shaped[np.ndarray, "token ..."]:
        if name == SAMPLE:
            return np.repeat(self.samples[at : at + 1], self.counts[at])
        file, row = map(int, self._place[at])
        values, offsets = self._column(file, name)
        return values[offsets[row] : offsets[row + 1]]

    def _read(self, file: int, name: str) -> tuple[Any, Any]:
        """A file's column: all rows, and where each sample's begin."""
        column = self._file(file).read([name])[name].combine_chunks()
        told = self._told[name]
        each = max(int(np.prod(told["shape"])), 1)
        lengths = column.value_lengths().to_numpy() // each
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        flat = column.flatten()
        if told["dtype"] == "U":
            return np.array(flat.to_pylist(), str), offsets
        values = flat.to_numpy(zero_copy_only=False).astype(told["dtype"], copy=False)
        values = numbers(values, told["attrs"].get(BITS))
        return values.reshape(-1, *told["shape"]), offsets

    def _condition(self, label: str | None) -> str:
        """The key of the condition that is meant."""
        labels: dict[str, str] = {}
        for path in self._files:
            said = said_by(pq.ParquetFile(path), path)
            if _ragged(said):
                labels |= {key: str(own.get("label")) for key, own in said["conditions"].items()}
        if label is None and len(labels) == 1:
            return next(iter(labels))
        meant = [key for key, own in labels.items() if label in (own, key)]
        if len(meant) != 1:
            there = ", ".join(f"{own} ({key})" for key, own in labels.items()) or "none"
            raise InputError(f"condition={label!r}: {self.folder} holds {there}; name one of them")
        return meant[0]


class _Lazy(BackendArray):
    """One column, over (token, ...)."""

    def __init__(self, harvest: Harvest, name: str, shape: Sequence[int], dtype: str):
        self._harvest, self._name = harvest, name
        self.shape = (len(harvest), *shape)
        self.dtype = np.dtype(object if dtype == "U" else dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        basic = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, basic, self._get)

    def _get(self, key: tuple[Any, ...]) -> Any:
        first, *rest = key
        if isinstance(first, slice):
            wanted = range(*first.indices(self.shape[0]))
            low, high = (min(wanted), max(wanted) + 1) if wanted else (0, 0)
            found = self._harvest.rows(self._name, low, high)
            found = found[slice(None, None, wanted.step)]
        else:
            found = self._harvest.rows(self._name, int(first), int(first) + 1)[0]
        found = found.astype(self.dtype, copy=False) if hasattr(found, "astype") else found
        inside = tuple(rest) if not isinstance(first, slice) else (slice(None), *rest)
        return np.asarray(found, self.dtype)[inside] if rest else np.asarray(found, self.dtype)


def _index(files: Sequence[Path], condition: str) -> tuple[Any, Any, Any, Any, Any]:
    """Of every result: the sample's name and key, its file, its row there, how many tokens."""
    found: list[list[Any]] = [[], [], [], [], []]
    for number, path in enumerate(files):
        file = pq.ParquetFile(path)
        if not _ragged(said_by(file, path)):
            continue
        table = file.read([CONDITION, KEY, SAMPLE, COUNT])
        own = np.array(table[CONDITION].cast(pa.string()).to_pylist()) == condition
        rows = np.flatnonzero(own)
        some = table.take(pa.array(rows))
        parts = (
            np.array(some[SAMPLE].to_pylist(), str),
            np.array([key.hex() for key in some[KEY].to_pylist()], str),
            np.full(len(rows), number, np.int32),
            rows.astype(np.int32),
            some[COUNT].to_numpy().astype(np.int64),
        )
        for each, part in zip(found, parts, strict=True):
            each.append(part)
    return tuple(np.concatenate(each) if each else np.array([]) for each in found)  # type: ignore


def _forms(files: Sequence[Path], condition: str) -> Iterator[dict[str, dict[str, Any]]]:
    """What the columns are; the same in every file of one condition."""
    for path in files:
        said = said_by(pq.ParquetFile(path), path)
        if condition in said["conditions"] and _ragged(said):
            columns = json.loads(said["form"])["columns"]
            yield {told["name"]: told for told in columns if told.get("ragged")}
            return


def _edges(path: Path) -> list[str]:
    form = json.loads(said_by(pq.ParquetFile(path), path)["form"])
    return next(told["values"] for told in form["fixed"] if told["name"] == "edge")


def _ragged(said: dict[str, Any]) -> bool:
    return any(told.get("ragged") for told in json.loads(said["form"])["columns"])


def _failed(path: Path) -> bool:
    return bool(said_by(pq.ParquetFile(path), path)["failed"])
