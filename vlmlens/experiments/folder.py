"""The folder of a diagnosis: whose it is, and what is written into it."""

import json
import logging
from pathlib import Path
from typing import Any

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import DataError
from vlmlens.experiments.files import write
from vlmlens.experiments.given import as_folder
from vlmlens.identity import value
from vlmlens.store import make, whole

LOG = logging.getLogger(__name__)
META = "meta.json"


@checked
def claim(folder: Path | str, model: str) -> Path:
    """A folder for a model's results, before anything is computed.

    Raises:
        DataError: there can be no such folder, or it holds another model's results.

    Examples:
        >>> folder = vl.experiments.claim("results", model.name)
        >>> folder.is_dir()
        True
    """
    folder = as_folder(folder)
    make(folder)
    other = _meta(folder).get("model", model)
    if other != model:
        raise DataError(
            f"{folder} holds results of {other}, and {model} would replace a part of them; name "
            "another folder (--out), or remove that one"
        )
    return folder


def write_tables(
    results: xr.Dataset, tables: dict[str, xr.Dataset], folder: Path
) -> dict[str, Path]:
    """Write tables and ``meta.json``, each whole or not at all.

    What an earlier run left beside them of other data, settings or weights is removed, and said.

    Args:
        results: whose attributes the metadata are.
        tables: by name, ``results`` among them.
        folder: made if need be.

    Raises:
        DataError: another model's folder, or one that cannot be written into.
    """
    meta = dict(results.attrs)
    folder = claim(folder, str(meta.get("model", "")))
    before = _meta(folder)
    paths = {name: write(table, folder / f"{name}.nc") for name, table in tables.items()}
    meta["versions"] = json.loads(meta["versions"])
    meta |= {"tables": sorted(tables), "identity": _identity(results)}
    if before.get("identity") == meta["identity"]:
        meta["tables"] = sorted({*tables, *before["tables"]})
    for name in before.get("tables", []):
        if name not in meta["tables"]:
            LOG.warning("%s.nc was of another run, and is removed from %s", name, folder)
            (folder / f"{name}.nc").unlink(missing_ok=True)
    text = json.dumps(meta, indent=1, default=str)
    paths["meta"] = whole(folder / META, lambda part: part.write_text(text, encoding="utf-8"))
    return paths


def _identity(results: xr.Dataset) -> str:
    """What tables that belong together share: all but when and by which command they were made."""
    told = {k: str(v) for k, v in results.attrs.items() if k not in ("created", "command")}
    shown = [results[name].values.tolist() for name in ("sample", "picture") if name in results]
    return value((sorted(told.items()), shown))


def _meta(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
