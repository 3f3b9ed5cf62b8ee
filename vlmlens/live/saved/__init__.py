"""Saved maps in the live page: each cell is made again when it is chosen."""

from pathlib import Path
from typing import Any

import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments import Circuit
from vlmlens.experiments.pairs.maps import open_map
from vlmlens.experiments.pairs.told import ASKED
from vlmlens.live.saved.base import Saved
from vlmlens.live.saved.edges import SavedEdges
from vlmlens.live.saved.paths import SavedPaths
from vlmlens.live.saved.sweeps import SavedSweep
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample


def open_saved(
    model: HookedVLM,
    sample: Sample | None,
    second: Sample | None,
    sweep: Any = None,
    circuit: Any = None,
) -> Saved | None:
    """What was saved of a sweep or of a circuit, for this model; None where nothing was.

    Raises:
        InputError: both, or a table of something else, of another model or of other samples.
        DataError: no such file, or one that does not hold what a cell is made of.
    """
    if sweep is not None and circuit is not None:
        raise InputError("a page shows one map: pass sweep= or circuit=")
    if sweep is None and circuit is None:
        if second is not None:
            raise InputError("second= is the clean sample of sweep= or circuit=: pass one of them")
        return None
    if circuit is not None:
        if isinstance(circuit, str | Path) and Path(circuit).suffix == ".json":
            circuit = Circuit.from_json(circuit)
        if isinstance(circuit, Circuit):
            return SavedEdges(model, circuit, None, sample, second)
    given: Any = sweep if circuit is None else circuit
    table = open_map(given)
    kinds = {"sweep": {"layer"}, "paths": {"sender", "receiver"}, "edges": {"writer", "reader"}}
    kind = next((k for k in ("paths", "edges") if kinds[k] <= set(table.dims)), "sweep")
    _refuse_lacking(table)
    if kind == "sweep" and circuit is not None:
        raise InputError(
            "circuit= is a table of edges or of paths, or a Circuit: pass it as sweep="
        )
    if kind != "sweep" and circuit is None:
        raise InputError("sweep= is a table that sweep returned: pass this one as circuit=")
    if kind == "edges":
        return SavedEdges(model, Circuit.every(table), table, sample, second)
    return (SavedSweep if kind == "sweep" else SavedPaths)(model, table, sample, second)


def _refuse_lacking(table: xr.DataArray) -> None:
    if "sample" not in table.dims:
        raise InputError(
            "this table has no samples (a mean over them, perhaps), and no run has its values: "
            "pass the one that was measured"
        )
    if ASKED not in table.attrs:
        raise InputError(
            "this table does not say how it was made, as those of earlier versions: measure again "
            "(with the same folder=, nothing is computed anew), and save that"
        )
