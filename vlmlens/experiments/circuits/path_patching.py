"""Path patching: what one node sends another directly, everything else as it was."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import shown
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.experiments.circuits.nodes import Names, Node, meant, readers, writers
from vlmlens.experiments.circuits.paths import Asked, Pathing
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import MAX_FAILED
from vlmlens.experiments.given import as_model
from vlmlens.experiments.pairs.running import How, as_pairs, over_maps
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.readings import Answers, AnyScore, answered
from vlmlens.interventions import PatchFrom
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.select import Where


@checked
def path_patch(
    model: HookedVLM,
    clean: Sample | Sequence[Sample],
    corrupted: Sample | Sequence[Sample],
    senders: Names = "*",
    receivers: Names = "logits",
    *,
    sent: Where = Where(),
    received: Where = Where(),
    score: AnyScore = "logit_difference",
    answers: Answers | None = None,
    normalized: bool = True,
    system: str | None = None,
    folder: Path | str | None = None,
    max_failed: int | float = MAX_FAILED,
    progress: Progress = True,
    executor: Executor = None,
) -> xr.DataArray:
    """What each sender tells each receiver directly, in the answer.

    The corrupted run is run again with one thing changed: the receiver reads the residual stream
    as it would be, had the sender written what it wrote in the clean run, and every other head and
    MLP what it wrote in the corrupted one. With x the stream that the receiver reads there and w
    what the sender adds to it,

        read = x_corrupted + w_clean - w_corrupted

    What comes after the receiver is computed from that. With s the score,

        effect = (s_patched - s_corrupted) / (s_clean - s_corrupted)

    Receivers read through points of their own (``hook_q_input`` and its like), so that a pass is a
    receiver's causal cone, and no other pass is run to freeze what is between.

    Args:
        model: an open model.
        clean: samples with answers.
        corrupted: their counterparts, one each, whose prompts align with them.
        senders: ``"embed"`` or its parts ``"image"`` and ``"text"``, ``"L0H3"`` (a head), ``"A0"``
            (all heads of a block), ``"M0"`` (an MLP), ``"deepstack1"`` (what a deep tower adds
            before block 1); patterns such as ``"L*H*"``; a list, in which a tuple acts as one.
        receivers: ``"L2H1.q"``, ``".k"``, ``".v"`` (what a head's query, key, value reads; keys and
            values count key-value heads), ``"M2"``, ``"logits"``; patterns and lists likewise.
        sent: the positions at which senders write what they wrote in the clean run.
        received: the positions at which receivers read it: ``Where(positions="vision")``.
        score: as ``sweep`` takes it: ``"logit_difference"`` of the two answers' first tokens,
            ``"log_prob"`` of the clean one's; ``"answer_log_prob"`` and ``"answer_difference"``, of
            all their tokens; ``"kl"``, from the clean run's distribution to the cell's; a function
            from the last position's logits (cell vocab) to numbers (cell), or a ``SampleScore``.
        answers: the right and the wrong answer, for all samples, or one such pair each.
        normalized: divide by what the whole corruption does; False for score units.
        system: a system prompt.
        folder: keeps what is done; called again, only what is missing is computed.
        max_failed: how many pairs may fail, as in ``Experiment``; they are left out by name.
        progress: show a bar of paths, as in ``sweep``.
        executor: who computes, as there.

    Returns:
        (sample, sender, receiver), NaN where a sender comes after the receiver; coordinates
        ``clean`` and ``corrupted`` (sample), the two runs' scores. Over samples,
        ``statistics.mean_map`` gives means with intervals.
        Where pairs failed, the attribute ``failures`` lists them, as JSON.

    Raises:
        InputError: names that mean no node, senders that feed no receiver, samples that do not
            align, pairs that score alike, a ``Where`` of more than positions.
        UnsupportedModelError: a model whose stream is no sum of what is written into it.
        EmptySelectionError: positions that a sample does not have.
        DataError: more than ``max_failed`` pairs failed.
        NonFiniteError: activations, or a score, that are NaN or infinite.

    Source:
        Wang et al. 2022, "Interpretability in the Wild", arXiv:2211.00593; Goldowsky-Dill et al.
        2023, "Localizing Model Behavior with Path Patching", arXiv:2304.05969, whose direct path
        this is.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> effect = vl.experiments.path_patch(
        ...     model, pair.clean, pair.corrupted, "embed", ["L0H*.v", "M0"], progress=False
        ... )
        >>> effect.dims, effect["receiver"].values.tolist()
        (('sample', 'sender', 'receiver'), ['L0H0.v', 'L0H1.v', 'L0H2.v', 'L0H3.v', 'M0'])
        >>> # what all heads of block 1 send the third head of block 3 at the image, as values
        >>> at = vl.Where(positions="vision")
        >>> effect = vl.experiments.path_patch(
        ...     model, pair.clean, pair.corrupted, ["A1"], ["L3H2.v"], received=at, progress=False
        ... )
        >>> effect.shape
        (1, 1, 1)
    """
    pairs = answered(as_pairs(clean, corrupted), answers)
    ends = _ends(as_model(model), senders, receivers, sent, received)
    asked = Asked(*ends, sent, received, score, system, normalized)
    return over_maps(Pathing(model, asked), pairs, How(folder, executor, progress, max_failed))


@checked
def path_edits(
    model: HookedVLM,
    clean: Sample,
    corrupted: Sample,
    sender: str | tuple[str, ...],
    receiver: str | tuple[str, ...],
    *,
    sent: Where = Where(),
    received: Where = Where(),
    system: str | None = None,
) -> tuple[PatchFrom, ...]:
    """The edits that patch one path, for runs of the corrupted sample: what it answers then.

    Args:
        model: an open model.
        clean: the sample to take from.
        corrupted: its counterpart, whose runs the edits are for.
        sender: one node, or several in a tuple that act as one, as ``path_patch`` names them.
        receiver: the same of what reads.
        sent: the positions at which the sender writes what it wrote in the clean run.
        received: the positions at which the receiver reads it.
        system: a system prompt.

    Returns:
        A ``PatchFrom`` for every node that reads, which holds the stream it reads.

    Raises:
        InputError: as ``path_patch``; a name that means several nodes.
        UnsupportedModelError: a model whose stream is no sum of what is written into it.

    Source: as ``path_patch``.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> edits = vl.experiments.path_edits(
        ...     model, pair.clean, pair.corrupted, "image", "L1H2.v"
        ... )
        >>> [edit.point for edit in edits]
        ['blocks.1.hook_v_input']
        >>> logits = model.run(model.inputs([pair.corrupted]), edits).logits
    """
    (both,) = as_pairs(clean, corrupted)
    ends = _ends(as_model(model), [sender], [receiver], sent, received)
    for name, found in zip((sender, receiver), ends, strict=True):
        if len(found) > 1:
            raise InputError(
                f"{shown(name)} means {len(found)} nodes: name one, or several in a tuple"
            )
    # "kl" reads the prompt alone, whatever is known of the answers
    work = Pathing(model, Asked(*ends, sent, received, "kl", system, normalized=False))
    (side,) = work.runs(both, None)
    ((edits,),) = work.edits(side, [0])
    return tuple(edits)


def _ends(
    model: HookedVLM, senders: Names, receivers: Names, sent: Where, received: Where
) -> tuple[dict[str, tuple[Node, ...]], dict[str, tuple[Node, ...]]]:
    """The nodes that are meant, in a model that has paths.

    Raises:
        InputError: names that mean no node, a ``Where`` of more than positions.
        UnsupportedModelError: there are none.
    """
    for what, where in (("sent", sent), ("received", received)):
        if not isinstance(where, Where) or replace(where, positions=None) != Where():
            raise InputError(f"{what}={shown(where)}: Where(positions=...) and no more is wanted")
    if "stream" in model.family.unlike:
        raise UnsupportedModelError(
            f"{model.family.model_type}'s stream is no sum of what nodes write "
            f"({model.family.unlike['stream']}), so there are no direct paths: patch the points "
            "themselves, with sweep or PatchFrom"
        )
    return (
        meant(senders, writers(model), "senders"),
        meant(receivers, readers(model), "receivers"),
    )
