"""Harvesting a data set into a folder."""

from collections.abc import Sequence
from pathlib import Path

from vlmlens.annotations import checked
from vlmlens.experiments.activations.harvested import Harvest
from vlmlens.experiments.activations.harvesting import Harvesting
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import MAX_FAILED, Experiment
from vlmlens.experiments.progress import Progress, telling
from vlmlens.interventions import Intervention, as_edits, label
from vlmlens.model import HookedVLM
from vlmlens.positions import Positions
from vlmlens.sample import Sample


@checked
def harvest(
    model: HookedVLM,
    samples: Sequence[Sample],
    points: str | Sequence[str],
    *,
    folder: Path | str,
    rows: Positions | None = None,
    dtype: str = "float16",
    edits: Sequence[Intervention] = (),
    system: str | None = None,
    batch: int = 32,
    max_failed: int | float = MAX_FAILED,
    allow_nonfinite: bool = False,
    executor: Executor = None,
    progress: Progress = True,
) -> Harvest:
    """Keep activations of chosen positions on disk, with what every position is.

    What is finished is kept, sample by sample: after a kill the same call goes on, and so do
    several processes on one folder. Memory holds a batch, and what is being written.

    Args:
        model: an open model.
        samples: what it is asked.
        points: a point that has a row for every position, or several, or patterns:
            ``"blocks.*.hook_resid_post"``; or points of the tower and the projector alone.
        folder: where; ``Harvest(folder)`` reads it, and so does anything that reads Parquet.
        rows: positions that are kept, such as ``"vision"`` or ``"last"``; None: the whole prompt.
        dtype: of what is kept: ``"float16"``, ``"float32"``, or ``"bfloat16"``, which is read back
            as float32, bit for bit what a model in bfloat16 made.
        edits: interventions that are on meanwhile.
        system: a system prompt.
        batch: samples a pass.
        max_failed: how many samples may fail, as in ``Experiment``.
        allow_nonfinite: keep activations that are NaN or infinite, too; otherwise such a sample
            fails.
        executor: who computes, as in ``Experiment.run``. With a ``Shard``, what is in the folder
            by then is returned.
        progress: show a bar, or lines where there is no terminal; or a function of ``Event``.

    Returns:
        What the folder holds.

    Raises:
        InputError: points without positions, another dtype, values that it does not hold.
        DataError: a folder that cannot be written into; too many samples failed.

    Examples:
        >>> found = vl.experiments.harvest(
        ...     model, samples[:2], "blocks.2.hook_resid_post", folder="acts", rows="vision"
        ... )
        >>> found
        Harvest(2 samples, 128 tokens: blocks.2.hook_resid_post)
        >>> found.counts.tolist(), found.samples.tolist() == sorted(s.id for s in samples[:2])
        ([64, 64], True)
    """
    wanted = (points,) if isinstance(points, str) else tuple(points)
    how = Harvesting(system, wanted, rows, dtype, allow_nonfinite=allow_nonfinite)
    made = tuple(as_edits(edits))
    name = label(made)
    run = Experiment(model, samples, how, {name: made}, batch=batch, max_failed=max_failed)
    with telling(progress, "harvest") as tell:
        run.fill(folder, executor=executor, progress=tell)
    return Harvest(folder)
