"""Sweeps: one small edit after another, each at the price of what it can change."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.given import as_model
from vlmlens.experiments.pairs.running import as_pairs, over_pairs
from vlmlens.experiments.pairs.sweeping import Sweeping, Swept
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.scores import Score
from vlmlens.experiments.units import is_placed
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.select import Where


@checked
def sweep(
    model: HookedVLM,
    clean: Sample | Sequence[Sample],
    corrupted: Sample | Sequence[Sample] | None = None,
    point: str = "blocks.*.hook_resid_pre",
    *,
    over: str = "pos",
    where: Where = Where(),
    edit: Intervention | None = None,
    score: str | Score = "logit_difference",
    normalized: bool = True,
    system: str | None = None,
    folder: Path | str | None = None,
    progress: Progress = True,
    allow_nonfinite: bool = False,
    executor: Executor = None,
) -> xr.DataArray:
    """Edit every layer at every place, one at a time, and see what becomes of the answer.

    With ``corrupted``, the clean run's activation is patched into the corrupted run; s being the
    score of the last position's logits,

        effect = (s_patched - s_corrupted) / (s_clean - s_corrupted)

    which is 1 where the patch restores the clean answer and 0 where it does nothing. With ``edit``
    alone, that edit is made in the clean run, and the effect is s_edited - s_clean.

    A cell costs the blocks at and above its layer and the positions at and after its own, not a
    pass; tower and projector run once a picture, and pairs that share a picture one after the
    other share what comes before their questions as well.

    Args:
        model: an open model.
        clean: samples with answers.
        corrupted: their counterparts, one each, whose prompts align with them.
        point: a point of the language model, or one of every layer.
        over: what a cell edits of its layer: ``"pos"``, ``"role"``, ``"row"``, ``"column"`` or
            ``"cell"`` of the first image, ``"head"``.
        where: confines every cell: ``Where(positions="last")`` with ``over="head"``.
        edit: what is done in place of patching; its point and place are set cell by cell.
        score: ``"logit_difference"`` of the two answers' first tokens, ``"log_prob"`` of the clean
            one's, or a function from logits (cell vocab) to numbers (cell).
        normalized: divide by what the whole corruption does; False for score units.
        system: a system prompt.
        folder: keeps what is done; called again, only what is missing is computed.
        progress: show a bar of cells, or lines where there is no terminal; or a function of
            ``Event``.
        allow_nonfinite: go on where activations or scores are NaN or infinite; otherwise such a
            sample is refused, with the first point that is.
        executor: who computes, as in ``Experiment.run``. ``Shard(i, n)`` sweeps every n-th pair
            alone, whose map this then is; called with the same folder, and without one, all pairs
            are read. Workers of Ray or of a pool take some cells at a time.

    Returns:
        (sample, layer) and ``pos``, ``role``, ``row``, ``column``, (``row``, ``column``) or
        ``head``; coordinates ``clean`` and ``corrupted`` (sample), the two runs' scores. Over
        samples, ``statistics.mean_map`` gives means with intervals.

    Raises:
        InputError: nothing to patch from, samples that do not align, pairs that score alike.
        NonFiniteError: activations, or the score of a cell, that are NaN or infinite.

    Source:
        Meng et al. 2022, "Locating and Editing Factual Associations", arXiv:2202.05262; Zhang and
        Nanda 2023, "Towards Best Practices of Activation Patching", arXiv:2309.16042.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> effect = vl.experiments.sweep(
        ...     model, pair.clean, pair.corrupted, over="role", progress=False
        ... )
        >>> effect.dims, round(effect.sel(layer=0, role="vision").item(), 3)
        (('sample', 'layer', 'role'), 1.0)
    """
    as_model(model)
    if not isinstance(where, Where):
        raise InputError(f"where={shown(where)}: Where(...) is wanted")
    if edit is not None and not isinstance(edit, Intervention):
        raise InputError(f"edit={shown(edit)}: an intervention is wanted, such as ZeroAblate()")
    pairs = as_pairs(clean, corrupted)
    if corrupted is None and edit is None:
        raise InputError("pass corrupted samples, to patch clean activations into, or an edit=")
    if corrupted is not None and edit is not None:
        raise InputError(
            "corrupted samples are patched into, and an edit= is made in the clean run: pass one "
            "of the two"
        )
    if edit is not None and is_placed(edit):
        raise InputError(f"{edit} is placed cell by cell: say point= and where= of the sweep")
    asked = Swept(point, over, where, edit, score, system, normalized, allow_nonfinite)
    return over_pairs(Sweeping(model, asked), pairs, folder, executor, progress)
