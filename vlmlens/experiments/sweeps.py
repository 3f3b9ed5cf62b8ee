"""Sweeps: one small edit after another, each at the price of what it can change."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import shown, whole
from vlmlens.errors import InputError
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import MAX_FAILED
from vlmlens.experiments.given import as_model
from vlmlens.experiments.pairs.running import How, as_pairs, over_maps
from vlmlens.experiments.pairs.sweeping import Sweeping
from vlmlens.experiments.pairs.swept import Swept
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.readings import Answers, AnyScore, answered
from vlmlens.experiments.units import Over, as_over, is_placed
from vlmlens.interventions import Intervention, as_edits
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
    over: Over = "pos",
    where: Where = Where(),
    edit: Intervention | None = None,
    corrupt: Intervention | Sequence[Intervention] = (),
    source_point: str | None = None,
    window: int = 1,
    score: AnyScore = "logit_difference",
    answers: Answers | None = None,
    normalized: bool = True,
    system: str | None = None,
    folder: Path | str | None = None,
    max_failed: int | float = MAX_FAILED,
    progress: Progress = True,
    allow_nonfinite: bool = False,
    executor: Executor = None,
) -> xr.DataArray:
    """Edit every layer at every place, one at a time, and see what becomes of the answer.

    With ``corrupted``, the clean run's activation is patched into the corrupted run; s being the
    score of the last position's logits,

        effect = (s_patched - s_corrupted) / (s_clean - s_corrupted)

    which is 1 where the patch restores the clean answer and 0 where it does nothing. With
    ``corrupt``, interventions take the place of the second sample: the corrupted run is the clean
    sample's under them. With ``edit`` alone, that edit is made in the clean run, and the effect is
    s_edited - s_clean.

    A cell costs the blocks at and above its layer and the positions at and after its own, not a
    pass; tower and projector run once a picture, and pairs that share a picture one after the
    other share what comes before their questions as well. Cells of the tower and the projector
    are whole passes; so are those of a corruption that changes more than ``hook_embed``, as far
    as that reaches.

    Args:
        model: an open model.
        clean: samples with answers.
        corrupted: their counterparts, one each, whose prompts align with them.
        point: a point, or one of every layer; of the language model, the tower or the projector.
        over: what a cell edits of its layer: ``"pos"``, ``"role"``, ``"row"``, ``"column"`` or
            ``"cell"`` of the first image, the same one of all its tiles or frames together;
            ``"tile"``, and ``("tile", "cell")`` for the cells of each; ``"head"``,
            ``"neuron"``, or ``"patch"``, a tower's own positions; all of it, ``"layer"``. At scores
            and patterns ``"query"``, ``"key"``,
            ``"query_role"``, ``"key_cell"`` and so on. Several at once, ``("head", "pos")``, for
            every combination.
        where: confines every cell: ``Where(positions="last")`` with ``over="head"``.
        edit: what is done in place of patching; its point and place are set cell by cell.
        corrupt: interventions that corrupt the clean sample's run, such as ``AddNoise`` on the
            image's embeddings.
        source_point: the point of the clean run that is patched in, where it is not the same one:
            a later block's for back-patching. A ``*`` stands for the cell's own layer. Without
            ``corrupted`` and ``corrupt`` it is patched into the clean run itself.
        window: how many layers a cell edits together, around its own.
        score: ``"logit_difference"`` of the two answers' first tokens, ``"log_prob"`` of the clean
            one's; ``"answer_log_prob"`` and ``"answer_difference"``, of all their tokens;
            ``"kl"``, from the clean run's distribution to the cell's; a function from the last
            position's logits (cell vocab) to numbers (cell), or a ``SampleScore``.
        answers: the right and the wrong answer, for all samples, or one such pair each; by default
            the two samples' own, or the two ``choices`` of the clean one.
        normalized: divide by what the whole corruption does; False for score units.
        system: a system prompt.
        folder: keeps what is done; called again, only what is missing is computed.
        max_failed: how many pairs may fail, as in ``Experiment``; they are left out by name.
        progress: show a bar of cells, or lines where there is no terminal; or a function of
            ``Event``.
        allow_nonfinite: go on where activations or scores are NaN or infinite; otherwise such a
            sample is refused, with the first point that is.
        executor: who computes, as in ``Experiment.run``. ``Shard(i, n)`` sweeps every n-th pair
            alone, whose map this then is; called with the same folder, and without one, all pairs
            are read. Workers of Ray or of a pool take some cells at a time.

    Returns:
        (sample, layer) and what is swept over, ``"cell"`` as (``row``, ``column``), NaN where a
        tile has no such cell; coordinates ``clean`` and ``corrupted`` (sample), the two runs'
        scores, and ``tiles``, how many are edited together, of rows, columns and cells. Over
        samples, ``statistics.mean_map`` gives means with intervals.
        Where pairs failed, the attribute ``failures`` lists them, as JSON.

    Raises:
        InputError: nothing to patch from, samples that do not align, pairs that score alike, units
            that the point does not have, answers that make no difference.
        DataError: more than ``max_failed`` pairs failed.
        NonFiniteError: activations, or the score of a cell, that are NaN or infinite.

    Source:
        Meng et al. 2022, "Locating and Editing Factual Associations", arXiv:2202.05262 (noise,
        windows of layers); Zhang and Nanda 2023, "Towards Best Practices of Activation Patching",
        arXiv:2309.16042; Biran et al. 2024, "Hopping Too Late", arXiv:2406.12775.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> effect = vl.experiments.sweep(
        ...     model, pair.clean, pair.corrupted, over="role", progress=False
        ... )
        >>> effect.dims, round(effect.sel(layer=0, role="vision").item(), 3)
        (('sample', 'layer', 'role'), 1.0)
        >>> noise = vl.interventions.AddNoise("hook_embed", vl.Where(positions="vision"))
        >>> effect = vl.experiments.sweep(
        ...     model, pair.clean, corrupt=noise, over=("head", "role"), window=2, score="kl",
        ...     point="blocks.*.attn.hook_z", progress=False,
        ... )  # fmt: skip
        >>> effect.dims
        ('sample', 'layer', 'head', 'role')
    """
    as_model(model)
    if not isinstance(where, Where):
        raise InputError(f"where={shown(where)}: Where(...) is wanted")
    if edit is not None and not isinstance(edit, Intervention):
        raise InputError(f"edit={shown(edit)}: an intervention is wanted, such as ZeroAblate()")
    corrupting = as_edits(corrupt)
    _refuse_ways(corrupted is not None, bool(corrupting), edit, source_point)
    pairs = answered(as_pairs(clean, corrupted), answers)
    asked = Swept(
        point,
        as_over(over),
        where,
        edit,
        corrupting,
        source_point,
        whole(window, "window", least=1),
        score,
        system,
        normalized,
        allow_nonfinite,
    )
    return over_maps(Sweeping(model, asked), pairs, How(folder, executor, progress, max_failed))


def _refuse_ways(
    corrupted: bool, corrupting: bool, edit: Intervention | None, source_point: str | None
) -> None:
    """Refuse what says nothing of what is done, or two things.

    Raises:
        InputError: says what to pass.
    """
    if corrupted and corrupting:
        raise InputError("corrupted samples, or interventions that corrupt=: pass one of the two")
    if not (corrupted or corrupting) and edit is None and source_point is None:
        raise InputError(
            "pass corrupted samples or corrupt=, to patch clean activations into, or an edit="
        )
    if (corrupted or corrupting or source_point is not None) and edit is not None:
        raise InputError(
            "an edit= is made in the clean run, in place of patching: pass it, or what is patched "
            "(corrupted samples, corrupt=, source_point=)"
        )
    if edit is not None and is_placed(edit):
        raise InputError(f"{edit} is placed cell by cell: say point= and where= of the sweep")
