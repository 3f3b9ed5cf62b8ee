"""Faithfulness: what is left of a model when only a circuit's edges carry the clean sample."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import one_of, shown
from vlmlens.draws import by_scene, units_of
from vlmlens.ends import read_end
from vlmlens.errors import InputError
from vlmlens.estimates import LEVEL, beware, ratio_interval
from vlmlens.experiments.circuits.circuit import Circuit, as_circuits
from vlmlens.experiments.circuits.graph import Graph, Pairs, as_pairs
from vlmlens.experiments.circuits.holding import Asked, Holding
from vlmlens.experiments.circuits.kept import Keep
from vlmlens.experiments.circuits.places import REST, Places, as_places
from vlmlens.experiments.circuits.together import over_twins, pair_coords
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import MAX_FAILED
from vlmlens.experiments.given import as_batch, as_model, as_samples
from vlmlens.experiments.pairs.running import How
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.readings import Answers, AnyScore
from vlmlens.experiments.readings import units_of as measured_in
from vlmlens.model import HookedVLM
from vlmlens.model.reuse.entering import refuse_hooks
from vlmlens.sample import Sample

KEPT = ("circuit", "rest")
OTHERS = ("corrupted", "mean")


@checked
def faithfulness(
    model: HookedVLM,
    circuits: Circuit | Sequence[Circuit] | Mapping[str, Circuit],
    pairs: Pairs,
    score: AnyScore = "logit_difference",
    *,
    answers: Answers | None = None,
    others: Literal["corrupted", "mean"] = "corrupted",
    means_of: Sequence[Sample] | None = None,
    places: Places | None = None,
    batch: int = 1,
    system: str | None = None,
    folder: Path | str | None = None,
    max_failed: int | float = MAX_FAILED,
    progress: Progress = True,
    executor: Executor = None,
) -> xr.Dataset:
    """How much of the answer a circuit restores alone, and how much everything but it does.

    A model is run on the clean sample while every edge outside the circuit carries what it carried
    in the corrupted run: a reader reads x_corrupted + sum over its kept edges of (w - w_corrupted),
    w being what the writer writes in this very run. With s the score, summed over pairs,

        faithfulness = sum(s_circuit - s_corrupted) / sum(s_clean - s_corrupted)
        completeness = 1 - sum(s_rest - s_corrupted) / sum(s_clean - s_corrupted)

    where s_rest is that of the run that keeps all edges but the circuit's. All edges have 1 in
    both, none have 0; either may be below 0 or above 1.

    With ``others="mean"``, every other edge carries the writer's mean over samples in place of
    what it carried in the corrupted run, and s_corrupted is s_none, of the run that keeps no edge:
    there every node writes its mean. The mean is position by position where a stretch of one
    role is as long in all samples, and looks at the same cells of the image; where it is not,
    positions have no counterparts, and all positions of the stretch share one mean.

    Args:
        model: an open model.
        circuits: one, several (a curve: ``[Circuit.top(found, n) for n in (10, 20, 50)]``), or
            several by name.
        pairs: as ``edges`` takes them; others than those that the circuit was found on say more.
        score: as ``sweep`` takes it.
        answers: the right and the wrong answer, for all pairs, or one such pair each.
        others: what all other edges carry: ``"corrupted"``, or ``"mean"``.
        means_of: samples that the mean is over; by default the corrupted ones of all ``pairs``.
        places: the places that circuits are split by, as ``edges`` was given them; by default
            their names are roles.
        batch: pairs that are run together.
        system: a system prompt.
        folder: keeps every pair's scores; called again, only what is missing is computed.
        max_failed: how many pairs may fail, as in ``Experiment``; they are left out by name.
        progress: show a bar of pairs, or lines where there is no terminal; or a function of
            ``Event``.
        executor: who computes, as in ``Experiment.run``: ``Shard(i, n)`` does every n-th batch.

    Returns:
        ``faithfulness`` and ``completeness`` (circuit) with ``..._low`` and ``..._high``, their
        95 % intervals (Fieller's, over pictures); ``score`` (kept, circuit, sample), ``kept`` being
        ``circuit`` and ``rest``. Coordinates ``edges`` (circuit), how many it has, ``clean`` and
        ``corrupted`` (sample); of means also ``none`` (sample), the score of no edge.
        Where pairs failed, the attribute ``failures`` lists them, as JSON.

    Raises:
        InputError: edges that this model does not have, circuits of other places, pairs that do not
            align, means over prompts that are built otherwise.
        UnsupportedModelError: as ``edges``.
        DataError: more than ``max_failed`` pairs failed.
        NonFiniteError: a score that is NaN or infinite.

    Source:
        Hanna et al. 2024, "Have Faith in Faithfulness", arXiv:2403.17806; Wang et al. 2022,
        arXiv:2211.00593, for completeness.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(2, kind="swap")
        >>> found = vl.experiments.edges(model, pairs, progress=False)
        >>> circuits = [vl.experiments.Circuit.top(found, n) for n in (0, 100, 532)]
        >>> held = vl.experiments.faithfulness(model, circuits, pairs, progress=False)
        >>> held.faithfulness.round(3).values[[0, -1]].tolist()
        [0.0, 1.0]
    """
    as_model(model)
    refuse_hooks(model)
    graph, own, given = Graph.of(model), as_circuits(circuits), as_pairs(pairs, answers)
    where = as_places(_places(own, places))
    keeps = tuple(_keep(graph, where, each) for each in own.values())
    asked = Asked(graph, where, keeps, score, system, _averaged(others, means_of, given))
    how = How(folder, executor, progress, max_failed)
    found = over_twins(Holding(model, asked, as_batch(batch)), given, how)
    table = xr.Dataset(
        {"score": (("kept", "circuit", "sample"), found["score"].values.transpose(2, 1, 0))},
        coords={
            "kept": list(KEPT),
            "circuit": list(own),
            "edges": ("circuit", [len(circuit) for circuit in own.values()]),
            **pair_coords(found),
            **({"none": ("sample", found["none"].values)} if "none" in found else {}),
        },
    )
    table["score"].attrs = {"long_name": "score", "units": measured_in(score)}
    return _shares(table).assign_attrs(found.attrs)


def _averaged(
    others: str, given: Sequence[Sample] | None, pairs: Sequence[tuple[Sample, Sample]]
) -> tuple[Sample, ...] | None:
    """The samples that means are over, if any are.

    Raises:
        InputError: samples, and no mean.
    """
    if one_of(others, "others", OTHERS) == "mean":
        return as_samples([pair[1] for pair in pairs] if given is None else given, "means_of")
    if given is not None:
        raise InputError("means_of= says what a mean is over: pass others='mean' as well")
    return None


def _places(circuits: Mapping[Any, Circuit], given: Places | None) -> Places:
    """What the circuits' places are."""
    (names, *others) = dict.fromkeys(circuit.places for circuit in circuits.values())
    if others:
        raise InputError(f"circuits are split by {names} and by {others[0]}: run them one by one")
    if given is None:
        return [name for name in names if name != REST]
    known = list(as_places(given))
    if known != [name for name in names if name != REST]:
        raise InputError(
            f"places={shown(given)}, but the circuits' places are {', '.join(names) or 'none'}: "
            "the same ones are wanted, in the same order, as edges was given them"
        )
    return given


def _keep(graph: Graph, places: Mapping[str, Any], circuit: Circuit) -> Keep:
    """The circuit's edges, place by place.

    Raises:
        InputError: an edge that the model does not have.
    """
    names = [*places, REST] if places else [""]
    rows = {node.name: at for at, node in enumerate(graph.writers)}
    columns = {node.name: at for at, node in enumerate(graph.readers)}
    keep = torch.zeros(len(names), len(rows), len(columns), dtype=torch.bool)
    for one, other in circuit.edges:
        writer, reader = one.partition("@")[0], other.partition("@")[0]
        at = (rows.get(writer, -1), columns.get(reader, -1))
        if min(at) < 0 or not graph.feeds[at]:
            lost = writer if at[0] < 0 else reader if at[1] < 0 else f"{one} -> {other}"
            raise InputError(
                f"this model has no {lost}: the circuit {circuit!r} is of another one, or of "
                "another graph"
            )
        keep[names.index(read_end(one).place), *at] = True
    return keep


def _shares(table: xr.Dataset) -> xr.Dataset:
    """Faithfulness and completeness with their intervals, over pictures."""
    floor = table["none"] if "none" in table.coords else table["corrupted"]
    gained = (table["score"] - floor).stack(cell=("kept", "circuit"))
    gained = gained.transpose("sample", "cell").reset_index("cell", drop=True)
    span = (table["clean"] - floor).expand_dims(cell=gained.sizes["cell"])
    pictures = {"picture": ("sample", table["picture"].values)}
    x, counts = by_scene(gained.drop_vars("picture", errors="ignore").assign_coords(pictures))
    y, _ = by_scene(span.transpose("sample", "cell").assign_coords(pictures))
    share = ratio_interval(x, y, counts > 0).reshape(3, 2, -1)
    complete = 1 - share[[0, 2, 1], 1]
    for name, own in (("faithfulness", share[:, 0]), ("completeness", complete)):
        for end, values in zip(("", "_low", "_high"), own, strict=True):
            table[f"{name}{end}"] = ("circuit", values)
            table[f"{name}{end}"].attrs = {"long_name": name, "units": "1"}
    unit, _ = units_of(table["score"].assign_coords(pictures))
    table.attrs = {
        "source": "arXiv:2403.17806",
        "interval": f"{LEVEL:.0%}, over {unit}s; Fieller's, Student's t and Hall's, the wider",
        "unit": unit,
        "n_units": len(x),
    }
    if note := beware(unit, len(x)):
        table.attrs["note"] = note
    return table
