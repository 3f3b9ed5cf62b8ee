"""The numbers of a report as other programs read them: CSV and Parquet beside the page."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.plots.arrays import mean_interval
from vlmlens.report.others import AXES, corrected

#: The folder beside the page.
FOLDER = "tables"
#: Dimensions of measurements that no figure of the page draws.
EXTRA = {"to", "band", "quantile"}
#: What a sample's number is the mean over. Maps of rows and columns stand with the cells alone.
AVERAGED, MAPPED = ("layer", "head", "depth"), {"row", "column"}
STATISTICS = ("mean", "low", "high", "n", "p_corrected")


@checked
def write_tables(
    results: xr.Dataset,
    psi: xr.Dataset | None,
    folder: Path,
    tests: xr.Dataset | None = None,
) -> list[Path]:
    """Write a report's numbers as tables, each as CSV (UTF-8) and as Parquet.

    * ``answers``: a row for each sample and permutation, with question, right answer, what was
      said, whether it is right, and its log probability
    * ``samples``: a row for each sample; what has layers or heads is averaged over them, and
      roles, parts, bands and the like have a column each: ``norm[role=user]``
    * ``cells``: a row for each cell (layer, head, role ...) of every measurement, with its mean
      over samples, the 95 % interval, n, and p of the corrected test where there is one
    * ``categories``: accuracies and PSI, where there are any

    Args:
        results: what was measured, over ``sample``.
        psi: the table of accuracies and PSI by category, or None.
        folder: where they go; it is made, and tables of the same name are replaced.
        tests: means with corrected tests, as ``experiments.summarise`` returns.

    Returns:
        The files, those of one table side by side. Tables without rows are left out.

    Examples:
        >>> from pathlib import Path
        >>> run = model.run(model.inputs(samples), save=vl.probes.cmb.NEEDS)
        >>> results = vl.probes.cross_modality_balance(run).to_dataset()
        >>> files = vl.report.write_tables(results, None, Path("tables"))
        >>> [file.name for file in files]
        ['samples.csv', 'samples.parquet', 'cells.csv', 'cells.parquet']
    """
    made = {
        "answers": _answers(results),
        "samples": _samples(results),
        "cells": _cells(results, tests),
        "categories": pd.DataFrame() if psi is None else psi.to_dataframe().reset_index(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, table in made.items():
        if not len(table):
            continue
        csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
        table.to_csv(csv, index=False, encoding="utf-8", errors="backslashreplace")
        table.to_parquet(parquet, index=False)
        files += [csv, parquet]
    return files


def _answers(results: xr.Dataset) -> pd.DataFrame:
    """What was said of each sample under each permutation."""
    dims = ("sample", "permutation")
    names = [name for name, values in results.data_vars.items() if set(values.dims) == set(dims)]
    if not names:
        return pd.DataFrame()
    table: Any = _plain(results[names]).to_dataframe(dim_order=list(dims)).reset_index()
    return _as_written(table[[*dims, *(c for c in table if c not in dims)]])


def _samples(results: xr.Dataset) -> pd.DataFrame:
    """A number for each sample and measurement, or each role, part or band of it."""
    kept: dict[str, xr.DataArray] = {}
    for name, values in _measurements(results):
        if "permutation" not in values.dims and not MAPPED & set(values.dims):
            kept |= _columns(name, values.mean([dim for dim in AVERAGED if dim in values.dims]))
    if not kept:
        return pd.DataFrame()
    return _as_written(_plain(xr.Dataset(kept)).to_dataframe().reset_index())


def _columns(name: str, values: xr.DataArray) -> dict[str, xr.DataArray]:
    """A number for each sample, for each entry of all the other dimensions."""
    dims = [str(dim) for dim in values.dims if dim != "sample"]
    found = {}
    for at in product(*(range(values.sizes[dim]) for dim in dims)):
        entry = dict(zip(dims, at, strict=True))
        labels = [f"{dim}={values[dim].values[n]}" for dim, n in entry.items()]
        column = f"{name}[{', '.join(labels)}]" if labels else name
        found[column] = values.isel(entry, drop=True)
    return found


def _cells(results: xr.Dataset, tests: xr.Dataset | None) -> pd.DataFrame:
    """Every measurement's cells, one under the other."""
    parts = []
    for name, values in _measurements(results):
        found = mean_interval(values)
        test = corrected(tests, name)
        if test is not None:
            found["p_corrected"] = test["p_corrected"]
        kept = _plain(found)
        rows = kept.to_dataframe().reset_index() if found.dims else _one_row(kept)
        told = {"measurement": name, "title": str(values.attrs.get("long_name", ""))}
        told["units"] = str(values.attrs.get("units", ""))
        for at, (column, text) in enumerate(told.items()):
            rows.insert(at, column, text)
        dims = [str(dim) for dim in found.dims]
        rows[dims] = rows[dims].astype(str)  # layers and roles share their columns with others
        parts.append(rows[[c for c in rows if c in {*told, *dims, *STATISTICS}]])
    if not parts:
        return pd.DataFrame()
    table: Any = pd.concat(parts, ignore_index=True)
    numbers = [name for name in STATISTICS if name in table]
    return table[[*(c for c in table if c not in numbers), *numbers]]


def _one_row(found: xr.Dataset) -> pd.DataFrame:
    return pd.DataFrame({str(name): [values.item()] for name, values in found.items()})


def _measurements(results: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    """Every number over samples; infinite ones are absent."""
    for name, values in results.data_vars.items():
        numeric = values.dtype.kind in "fiub"
        if numeric and "sample" in values.dims and set(values.dims) <= AXES | EXTRA:
            values = values.astype(float)
            yield str(name), values.where(np.isfinite(values))


def _plain(table: xr.Dataset) -> xr.Dataset:
    """With labels where a dimension has none."""
    bare = [dim for dim in table.dims if dim not in table.coords]
    return table.assign_coords({dim: np.arange(table.sizes[dim]) for dim in bare})


def _as_written(table: pd.DataFrame) -> pd.DataFrame:
    """Text as text, so that columns of mixed kinds can be written."""
    for column in [name for name in table if table[name].dtype.kind == "O"]:
        table[column] = [None if v is None or v != v else str(v) for v in table[column]]
    return table
