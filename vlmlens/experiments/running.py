"""Running an experiment before somebody's eyes."""

from pathlib import Path

import xarray as xr

from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.progress import Progress, telling


def run_shown(
    experiment: Experiment,
    folder: Path | str | None,
    progress: Progress,
    what: str,
    executor: Executor,
) -> xr.Dataset:
    """An experiment's table, with a bar of its results, or whatever else is told of them."""
    with telling(progress, what) as tell:
        return experiment.run(folder, executor=executor, progress=tell)
