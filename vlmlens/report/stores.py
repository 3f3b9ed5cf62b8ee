"""A report from what lies on disk: a folder of results, or one file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import read
from vlmlens.picture import at_home
from vlmlens.report.page import build
from vlmlens.report.spreadsheets import FOLDER, write_tables
from vlmlens.report.thumbnails import Thumbnail

RESULTS, PSI = "results.nc", "psi.nc"
#: Tables of a diagnosis that its page draws on.
FURTHER = ("summary", "attended")


@checked
def from_store(store: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of results that were kept, and its tables, without any model.

    Args:
        store: a folder with ``results.nc`` and perhaps ``psi.nc`` and ``summary.nc``, as
            ``vlmlens diagnose`` writes; or any netCDF file of measurements over ``sample``.
        path: of the page; by default ``report.html`` beside the results. The numbers go into the
            folder ``tables`` beside it, as ``write_tables`` writes them.

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
    further = {name: file.with_name(f"{name}.nc") for name in FURTHER} if store.is_dir() else {}
    tables = {name: read(each) for name, each in further.items() if each.is_file()}
    page = Path(path) if path else file.with_name("report.html")
    return write_page(read(file), psi, page, tables=tables)


def write_page(
    results: xr.Dataset,
    psi: xr.Dataset | None,
    path: Path,
    pictures: Mapping[str, Sequence[Thumbnail]] | None = None,
    tables: Mapping[str, xr.Dataset] | None = None,
) -> Path:
    """Write the page, and beside it the tables that it links to; as ``build`` takes them."""
    if path.is_dir():
        raise InputError(f"the report is one file, but {path} is a folder: add a name ending .html")
    tests = (tables or {}).get("summary")
    files = write_tables(results, psi, path.parent / FOLDER, tests)
    return build(results, psi, path, pictures, tables=tables, files=files)
