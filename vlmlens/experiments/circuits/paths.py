"""Every path between some senders and some receivers, of one pair after another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.experiments.circuits.nodes import Node, norm_of
from vlmlens.experiments.circuits.writes import change, points_of
from vlmlens.experiments.pairs.pieces import Both, CellWork, Plan
from vlmlens.experiments.pairs.swept import settled
from vlmlens.experiments.pairs.told import ASKED, PAIR, asked_told, pair_told
from vlmlens.experiments.readings import AnyScore, Reading, readings_of, units_of
from vlmlens.identity import unit
from vlmlens.interventions import PatchFrom
from vlmlens.interventions.stored import refuse_misaligned
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM, Prefill
from vlmlens.model.reading.finite import broken, watching
from vlmlens.select import Where

_BROKEN = "the score of its last position is"
#: Paths of one sender that are resumed together.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of paths.

    Attributes:
        senders: nodes that act as one, by their label.
        receivers: the same of what reads.
        sent: where senders write what they wrote in the clean run.
        received: where receivers read it.
        score: a number of logits, or its name.
        system: a system prompt.
        normalized: whether effects are shares of what the whole corruption does.
    """

    senders: Mapping[str, tuple[Node, ...]]
    receivers: Mapping[str, tuple[Node, ...]]
    sent: Where
    received: Where
    score: AnyScore
    system: str | None
    normalized: bool

    @property
    def how(self) -> dict[str, Any]:
        """All but the nodes."""
        return {name: each for name, each in vars(self).items() if not isinstance(each, Mapping)}


@dataclass(frozen=True, eq=False)
class Side:
    """The runs that one reading compares.

    Attributes:
        reading: what is read.
        source: the run to take from.
        base: the run to edit.
        sent: where senders write what they wrote in the clean run, answer or none.
        received: where receivers read it.
        logits: of the clean and of the corrupted run, at the positions that are read.
    """

    reading: Reading
    source: Prefill
    base: Prefill
    sent: Where
    received: Where
    logits: tuple[Float[Tensor, "row vocab"], Float[Tensor, "row vocab"]]


class Pathing(CellWork):
    """Pairs, and the paths that are patched in each.

    Args:
        model: an open model.
        asked: what is asked.

    Raises:
        InputError: there is no path.
    """

    name = "path patching"

    def __init__(self, model: HookedVLM, asked: Asked):
        super().__init__(model)
        self._asked = asked
        self._paths = [
            (row, column)
            for row, senders in enumerate(asked.senders.values())
            for column, receivers in enumerate(asked.receivers.values())
            if all(any(one.feeds(other) for other in receivers) for one in senders)
            and all(any(one.feeds(other) for one in senders) for other in receivers)
        ]
        if not self._paths:
            raise InputError(
                f"none of the senders {', '.join(asked.senders)} writes before any of the "
                f"receivers {', '.join(asked.receivers)} reads: there is no path"
            )
        self._pieces = self._cut()

    @property
    def how(self) -> tuple[Any, ...]:
        """Everything that decides over a path's score."""
        a = self._asked
        ends = tuple(a.senders.items()), tuple(a.receivers.items())  # their order counts
        return "paths", *ends, a.sent, a.received, a.score, a.system

    def plan(self, both: Both) -> Plan:
        """The same paths in every pair."""
        return Plan([sum(row in rows for row, _ in self._paths) for rows in self._pieces])

    def restores(self, both: Both) -> bool:
        """Whether effects are shares of what the corruption does."""
        return self._asked.normalized

    def runs(self, both: Both, first: Any | None) -> Sequence[Side]:
        """The runs to take from and to edit, with what nodes write and read, for each reading."""
        assert both[1] is not None
        (layout,) = self.model.inputs([both[1]], system=self._asked.system).layouts
        readings = readings_of(self._asked.score, self.model, *both, self._asked.system, layout)
        return [self._side(both, reading, layout) for reading in readings]

    def _side(self, both: Both, reading: Reading, layout: TokenLayout) -> Side:
        senders = [node for nodes in self._asked.senders.values() for node in nodes]
        receivers = [node for nodes in self._asked.receivers.values() for node in nodes]
        written = points_of(senders)
        read = [name for node in receivers for name in (node.point, node.stream)]
        runs = []
        for sample, points in zip(both, (written, [*written, *read]), strict=True):
            assert sample is not None
            given = reading.inputs(self.model, [sample], self._asked.system)
            with watching(self.model) as seen:
                runs.append(self.model.prefill(given, list(dict.fromkeys(points))))
            if seen.broken:
                name = sample.id or sample.question
                raise broken(self.model, name, given, (), _BROKEN)
        source, base = runs
        refuse_misaligned(source.saved, base.inputs.layouts, written[0], base.saved[written[0]])
        prompt = None if reading.answer is None else layout
        sent, received = (
            settled(where, prompt) for where in (self._asked.sent, self._asked.received)
        )
        logits = reading.rows(self.model, source), reading.rows(self.model, base)
        return Side(reading, source, base, sent, received, logits)

    def cells(self, both: Both, runs: Sequence[Side], number: int) -> xr.Dataset:
        """The scores of some senders' paths, and of the two runs."""
        scores, ends, whole = 0.0, np.zeros(2), 0
        for side in runs:
            found, measure, clean = [], side.reading.measure, side.logits[0]
            with torch.no_grad():
                own = np.array([float(measure(rows[None], clean)) for rows in side.logits])
                for edits in self.edits(side, self._pieces[number]):
                    resumed = self.model.resume(
                        side.base, edits, side.reading.positions, unseen=True
                    )
                    found.append(measure(resumed.logits, clean).float().cpu().numpy())
                    whole += len(resumed.whole)
            if not np.isfinite([*own, *np.concatenate(found)]).all():
                name = both[0].id or both[0].question
                raise broken(self.model, name, side.base.inputs, (), _BROKEN)
            scores = scores + side.reading.weight * np.concatenate(found)
            ends = ends + side.reading.weight * own
        top, floor = ends.tolist()
        return xr.Dataset({"score": ("cell", scores), "clean": top, "base": floor, "whole": whole})

    def labelled(self, both: Both, plan: Plan, tables: Sequence[xr.Dataset]) -> xr.DataArray:
        """Every path's effect, by sender and receiver."""
        asked, (clean, corrupted) = self._asked, both
        edited = corrupted or clean
        top, floor = (float(tables[0][name]) for name in ("clean", "base"))
        values = np.full((len(asked.senders), len(asked.receivers)), np.nan)
        scores = np.concatenate([table["score"].values for table in tables])
        values[tuple(np.transpose(self._paths))] = scores - floor
        if asked.normalized:
            values = values / (top - floor)
        return xr.DataArray(
            values[None],
            dims=("sample", "sender", "receiver"),
            coords={
                "sample": [edited.id or edited.question],
                "sender": list(asked.senders),
                "receiver": list(asked.receivers),
                "clean": ("sample", [top]),
                "corrupted": ("sample", [floor]),
                "question": ("sample", [edited.question]),
                "picture": ("sample", [unit(edited)]),
                PAIR: ("sample", [pair_told(both)]),
            },
            name="effect",
            attrs={
                "long_name": "share of the answer restored" if asked.normalized else "effect",
                "units": "1" if asked.normalized else units_of(asked.score),
                "source": "arXiv:2304.05969",
                "sent": repr(asked.sent),
                "received": repr(asked.received),
                ASKED: asked_told("paths", str(self.model.name), asked.how),
                "whole_passes": sum(int(table["whole"]) for table in tables),
            },
        )

    def _cut(self) -> list[list[int]]:
        """The senders of every piece: in order, until there are enough paths."""
        pieces: list[list[int]] = []
        count = self.most
        for row in range(len(self._asked.senders)):
            own = sum(each == row for each, _ in self._paths)
            if own and count >= self.most:
                pieces.append([])
                count = 0
            if own:
                pieces[-1].append(row)
                count += own
        return pieces

    def edits(self, side: Side, rows: Sequence[int]) -> Iterator[list[list[PatchFrom]]]:
        """The edits of some senders' paths, some paths of one sender at a time."""
        source, base = side.source, side.base
        for row in rows:
            senders = list(self._asked.senders.values())[row]
            moved: dict[tuple[Node, ...], Tensor] = {}
            columns = [column for own, column in self._paths if own == row]
            for start in range(0, len(columns), CHUNK):
                chunk = []
                for column in columns[start : start + CHUNK]:
                    receivers = list(self._asked.receivers.values())[column]
                    chunk.append([])
                    for reader in receivers:
                        before = tuple(node for node in senders if node.feeds(reader))
                        if before and before not in moved:
                            mask = _mask(side.sent, base)
                            moved[before] = change(
                                self.model, before, source.saved, base.saved, mask
                            )
                        if before:
                            chunk[-1].append(self._reading(side, reader, moved[before]))
                yield chunk

    def _reading(
        self, side: Side, reader: Node, moved: Float[Tensor, "batch pos d_model"]
    ) -> PatchFrom:
        """A receiver that reads a changed stream."""
        saved, heads = side.base.saved, reader.kind == "head"
        stream = saved[reader.point]
        patched = saved[reader.stream] + moved
        if reader.parallel:  # it reads what a norm makes, which attention reads as well
            with torch.no_grad():
                patched = norm_of(self.model, reader).forward(patched)
        return PatchFrom(
            point=reader.point,
            where=replace(side.received, heads=reader.head if heads else None),
            source=ActivationCache(
                {reader.point: patched[:, :, None].expand_as(stream) if heads else patched},
                {reader.point: saved.axes[reader.point]},
                saved.layouts,
                saved.model,
            ),
        )


def _mask(where: Where, base: Prefill) -> Bool[Tensor, "batch pos"]:
    """The positions that are meant; all, where none are named."""
    layouts = base.inputs.layouts
    shape = (len(layouts), len(layouts[0]))
    mask = where.mask(("batch", "pos"), shape, layouts)
    return torch.ones(shape, dtype=torch.bool) if mask is None else mask
