"""Path patching: what one node sends another directly, everything else as it was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm.auto import tqdm

from vlmlens.annotations import checked
from vlmlens.cache import ActivationCache
from vlmlens.checks import shown
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.experiments.circuits.nodes import Names, Node, meant, norm_of, readers, writers
from vlmlens.experiments.circuits.writes import change, points_of
from vlmlens.experiments.effect_maps import joined
from vlmlens.experiments.given import as_model, as_samples
from vlmlens.experiments.scores import UNITS, Score, score_of
from vlmlens.identity import unit
from vlmlens.interventions import PatchFrom
from vlmlens.interventions.stored import refuse_misaligned
from vlmlens.model import HookedVLM, Prefill
from vlmlens.model.reading.finite import broken, watching
from vlmlens.sample import Sample
from vlmlens.select import Where

#: Paths of one sender that are resumed together.
CHUNK = 64


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
    score: str | Score = "logit_difference",
    normalized: bool = True,
    system: str | None = None,
    progress: bool = True,
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
        score: ``"logit_difference"`` of the two answers' first tokens, ``"log_prob"`` of the clean
            one's, or a function from logits (cell vocab) to numbers (cell).
        normalized: divide by what the whole corruption does; False for score units.
        system: a system prompt.
        progress: show a bar.

    Returns:
        (sample, sender, receiver), NaN where a sender comes after the receiver; coordinates
        ``clean`` and ``corrupted`` (sample), the two runs' scores. Over samples,
        ``statistics.mean_map`` gives means with intervals.

    Raises:
        InputError: names that mean no node, senders that feed no receiver, samples that do not
            align, pairs that score alike, a ``Where`` of more than positions.
        UnsupportedModelError: a model whose stream is no sum of what is written into it.
        EmptySelectionError: positions that a sample does not have.
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
    as_model(model)
    first, second = (
        (given,) if isinstance(given, Sample) else as_samples(given, what)
        for given, what in ((clean, "clean"), (corrupted, "corrupted"))
    )
    if len(second) != len(first):
        raise InputError(f"{len(first)} clean samples and {len(second)} corrupted: one each")
    for what, where in (("sent", sent), ("received", received)):
        if not isinstance(where, Where) or replace(where, positions=None) != Where():
            raise InputError(f"{what}={shown(where)}: Where(positions=...) and no more is wanted")
    if "stream" in model.family.unlike:
        raise UnsupportedModelError(
            f"{model.family.model_type}'s stream is no sum of what nodes write "
            f"({model.family.unlike['stream']}), so there are no direct paths: patch the points "
            "themselves, with sweep or PatchFrom"
        )
    paths = Paths(
        model,
        meant(senders, writers(model), "senders"),
        meant(receivers, readers(model), "receivers"),
        sent,
        received,
    )
    tables = []
    with model.reuse():
        for one, other in tqdm(
            list(zip(first, second, strict=True)), desc="path patching", disable=not progress
        ):
            scored = score_of(score, model, one, other, system)
            tables.append(paths.effects(one, other, scored, normalized, system))
    found = joined(tables)
    return found if normalized else found.assign_attrs(units=UNITS.get(str(score), "score"))


@dataclass(frozen=True)
class Paths:
    """Every path between some senders and some receivers.

    Attributes:
        model: the open model.
        senders: nodes that act as one, by their label.
        receivers: the same of what reads.
        sent: where senders write what they wrote in the clean run.
        received: where receivers read it.
    """

    model: HookedVLM
    senders: Mapping[str, tuple[Node, ...]]
    receivers: Mapping[str, tuple[Node, ...]]
    sent: Where
    received: Where
    cells: list[tuple[int, int]] = field(init=False)

    def __post_init__(self):
        cells = [
            (row, column)
            for row, senders in enumerate(self.senders.values())
            for column, receivers in enumerate(self.receivers.values())
            if all(any(one.feeds(other) for other in receivers) for one in senders)
            and all(any(one.feeds(other) for one in senders) for other in receivers)
        ]
        if not cells:
            raise InputError(
                f"none of the senders {', '.join(self.senders)} writes before any of the "
                f"receivers {', '.join(self.receivers)} reads: there is no path"
            )
        object.__setattr__(self, "cells", cells)

    def effects(
        self, clean: Sample, corrupted: Sample, score: Score, normalized: bool, system: str | None
    ) -> xr.DataArray:
        """The effect of every path in one pair."""
        source, base = self._runs(clean, corrupted, system)
        found, whole = [], 0
        with torch.no_grad():
            top, floor = float(score(source.logits)), float(score(base.logits))
            for edits in self._edits(source, base):
                resumed = self.model.resume(base, edits, unseen=True)
                found.append(score(resumed.logits[:, -1]).float().cpu().numpy())
                whole += len(resumed.whole)
        scores = np.concatenate(found)
        if not np.isfinite([top, floor, *scores]).all():
            name = clean.id or clean.question
            said = "the score of its last position is"
            raise broken(self.model, name, base.inputs, (), said)
        values = np.full((len(self.senders), len(self.receivers)), np.nan)
        values[tuple(np.transpose(self.cells))] = scores - floor
        if normalized:
            if np.isclose(top, floor, rtol=1e-4, atol=1e-5):
                raise InputError(
                    f"{clean.question!r}: the clean and the corrupted run score alike, {top:.4g}, "
                    "so there is nothing to restore; normalized=False"
                )
            values = values / (top - floor)
        return xr.DataArray(
            values[None],
            dims=("sample", "sender", "receiver"),
            coords={
                "sample": [corrupted.id or corrupted.question],
                "sender": list(self.senders),
                "receiver": list(self.receivers),
                "clean": ("sample", [top]),
                "corrupted": ("sample", [floor]),
                "question": ("sample", [corrupted.question]),
                "picture": ("sample", [unit(corrupted)]),
            },
            name="effect",
            attrs={
                "long_name": "share of the answer restored" if normalized else "effect",
                "units": "1" if normalized else "score",
                "source": "arXiv:2304.05969",
                "sent": repr(self.sent),
                "received": repr(self.received),
                "whole_passes": whole,
            },
        )

    def _runs(
        self, clean: Sample, corrupted: Sample, system: str | None
    ) -> tuple[Prefill, Prefill]:
        """The run to take from and the run to edit, with what nodes write and read there."""
        senders = [node for nodes in self.senders.values() for node in nodes]
        receivers = [node for nodes in self.receivers.values() for node in nodes]
        written = points_of(senders)
        read = [name for node in receivers for name in (node.point, node.stream)]
        runs = []
        for sample, points in ((clean, written), (corrupted, [*written, *read])):
            given = self.model.inputs([sample], system=system)
            with watching(self.model) as seen:
                runs.append(self.model.prefill(given, list(dict.fromkeys(points))))
            if seen.broken:
                name = sample.id or sample.question
                raise broken(self.model, name, given, (), "the score of its last position is")
        source, base = runs
        refuse_misaligned(source.saved, base.inputs.layouts, written[0], base.saved[written[0]])
        return source, base

    def _edits(self, source: Prefill, base: Prefill) -> Iterator[list[list[PatchFrom]]]:
        """The edits of all paths, some paths of one sender at a time."""
        for row, senders in enumerate(self.senders.values()):
            moved: dict[tuple[Node, ...], Tensor] = {}
            columns = [column for own, column in self.cells if own == row]
            for start in range(0, len(columns), CHUNK):
                chunk = []
                for column in columns[start : start + CHUNK]:
                    receivers = list(self.receivers.values())[column]
                    chunk.append([])
                    for reader in receivers:
                        before = tuple(node for node in senders if node.feeds(reader))
                        if before and before not in moved:
                            mask = self._where(base)
                            moved[before] = change(
                                self.model, before, source.saved, base.saved, mask
                            )
                        if before:
                            chunk[-1].append(self._reading(base, reader, moved[before]))
                yield chunk

    def _reading(
        self, base: Prefill, reader: Node, moved: Float[Tensor, "batch pos d_model"]
    ) -> PatchFrom:
        """A receiver that reads a changed stream."""
        saved, heads = base.saved, reader.kind == "head"
        stream = saved[reader.point]
        patched = saved[reader.stream] + moved
        if reader.parallel:  # it reads what a norm makes, which attention reads as well
            with torch.no_grad():
                patched = norm_of(self.model, reader).forward(patched)
        return PatchFrom(
            point=reader.point,
            where=replace(self.received, heads=reader.head if heads else None),
            source=ActivationCache(
                {reader.point: patched[:, :, None].expand_as(stream) if heads else patched},
                {reader.point: saved.axes[reader.point]},
                saved.layouts,
                saved.model,
            ),
        )

    def _where(self, base: Prefill) -> Bool[Tensor, "batch pos"]:
        layouts = base.inputs.layouts
        shape = (len(layouts), len(layouts[0]))
        mask = self.sent.mask(("batch", "pos"), shape, layouts)
        return torch.ones(shape, dtype=torch.bool) if mask is None else mask
