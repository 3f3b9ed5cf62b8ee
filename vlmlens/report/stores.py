"""A report from what lies on disk: a folder of results, or one file."""

from pathlib import Path

import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments import read
from vlmlens.picture import at_home
from vlmlens.report.page import build

RESULTS, PSI = "results.nc", "psi.nc"


def from_store(store: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of results that were kept, without any model.

    Args:
        store: a folder with ``results.nc`` and perhaps ``psi.nc``, as ``vlmlens diagnose``
            writes; or any netCDF file of measurements over ``sample``.
        path: of the page; by default ``report.html`` beside the results.

    Raises:
        DataError: there is nothing to report, or it does not open.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.cmb.NEEDS)
        >>> vl.probes.cross_modality_balance(run).to_netcdf("results.nc")
        >>> vl.report.from_store("results.nc").name
        'report.html'
    """
    store = at_home(store)
    if not store.exists():
        raise DataError(f"there is no {store}: a store is a folder with {RESULTS}, or a .nc file")
    file = store if store.is_file() else store / RESULTS
    if not file.is_file():
        files = len(list(store.rglob("results-*.parquet")))
        found = f"{files} files of finished results, but no {RESULTS}" if files else "no results"
        advice = "run the experiment again: it reads what is done and joins it" if files else ""
        raise DataError(f"{store} holds {found}. {advice}".rstrip(". ") + ".")
    table = file.with_name(PSI)
    psi: xr.Dataset | None = read(table) if store.is_dir() and table.is_file() else None
    return build(read(file), psi, Path(path) if path else file.with_name("report.html"))
