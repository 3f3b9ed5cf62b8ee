"""From trained runs to the study's stored results: four small tables over all models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments.files import read, write
from vlmlens.experiments.joining import joined
from vlmlens.model import HookedVLM
from vlmlens.study.measuring import TABLES, measured, study_samples


def finished(runs: Path) -> dict[str, Path]:
    """The model folders of the runs that are trained to the end, by the run's name."""
    return {path.parents[1].name: path.parent for path in sorted(runs.glob("*/model/config.json"))}


def measure_runs(runs: Path, out: Path, only: Sequence[str] = ()) -> dict[str, Path]:
    """Measure every finished run that is not measured yet, and store all results together.

    Args:
        runs: the folder that ``vlmlens.zoo.training.recipe.queue`` trains into; each run's own
            tables are kept beside its model.
        out: where the four joined tables go.
        only: names of runs; by default all that are finished.

    Raises:
        DataError: there is no finished run, or not the one that was named.
    """
    there = finished(runs)
    missing = sorted(set(only) - set(there))
    if missing or not there:
        raise DataError(
            f"no finished run {', '.join(missing) or 'at all'} in {runs}; there is: "
            f"{', '.join(there) or 'none'}; train with python -m vlmlens.zoo.training.recipe.queue"
        )
    samples = study_samples()
    parts: dict[str, list[xr.Dataset]] = {table: [] for table in TABLES}
    names = [name for name in there if not only or name in only]
    for name in names:
        with HookedVLM.from_pretrained(str(there[name])) as model:
            for table, found in measured(model, samples, runs / name / "study").items():
                parts[table].append(found.drop_attrs(deep=False))
    out.mkdir(parents=True, exist_ok=True)
    return {
        table: write(small(joined(found, "model", names)), out / f"{table}.nc")
        for table, found in parts.items()
    }


def small(table: xr.Dataset) -> xr.Dataset:
    """The same in less room: means and their intervals, answers as bytes, numbers as float32."""
    tests = ("_n", "_p", "_significant", "_effect")
    kept = table[[name for name in table if not str(name).endswith(tests)]]
    for name, values in kept.items():
        if name == "correct":
            kept[name] = values.astype(np.int8)
        elif values.dtype.kind == "f":
            kept[name] = values.round(2 if name == "log_prob" else 6).astype(np.float32)
        kept[name].encoding = {"zlib": True, "complevel": 9} if values.size > 4000 else {}
    return kept


def stored(folder: Path) -> dict[str, xr.Dataset]:
    """The four tables, by name."""
    return {table: read(folder / f"{table}.nc") for table in TABLES}
