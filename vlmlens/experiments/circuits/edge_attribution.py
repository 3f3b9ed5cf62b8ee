"""Edge attribution: what each writer tells each reader, at each place, from gradients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped

from vlmlens.annotations import checked
from vlmlens.checks import one_of, whole
from vlmlens.experiments.circuits.along import ALONG
from vlmlens.experiments.circuits.attributing import Asked, Attributing
from vlmlens.experiments.circuits.graph import Graph, Pairs, as_pairs
from vlmlens.experiments.circuits.nodes import Names
from vlmlens.experiments.circuits.places import REST, Places, as_places
from vlmlens.experiments.circuits.together import over_twins, pair_coords
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import MAX_FAILED
from vlmlens.experiments.given import as_batch, as_model
from vlmlens.experiments.pairs.running import How
from vlmlens.experiments.pairs.told import ASKED, asked_told
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.readings import Answers, AnyScore, units_of
from vlmlens.model import HookedVLM
from vlmlens.model.reuse.entering import refuse_hooks


@checked
def edges(
    model: HookedVLM,
    pairs: Pairs,
    score: AnyScore = "logit_difference",
    *,
    answers: Answers | None = None,
    steps: int = 8,
    along: str = "inputs",
    places: Places = (),
    writers: Names = "*",
    readers: Names = "*",
    normalized: bool = True,
    batch: int = 1,
    system: str | None = None,
    folder: Path | str | None = None,
    max_failed: int | float = MAX_FAILED,
    progress: Progress = True,
    executor: Executor = None,
) -> xr.DataArray:
    """What each writer tells each reader directly, at each place, to first order.

    With w what a writer adds to the residual stream at position p, x_r the stream that a reader
    reads there, s the score of the last position's logits (or of others, as it reads them),

        edge = sum over the place's p of (w_clean - w_corrupted) . d s / d x_r

    the gradient taken in the corrupted run (EAP), or averaged over m runs whose embeddings lie on
    the straight way from the corrupted to the clean ones (EAP-IG): t = (k - 1/2) / m, k = 1 ... m.
    It stands for what ``path_patch`` does to the answer with this sender and this receiver, for
    all edges together in a pass forward and back a step. With enough steps, all edges out of
    ``"image"``, ``"text"`` and ``"deepstack..."`` sum to s_clean - s_corrupted.

    What each node writes is kept once, and gradients block by block: memory grows with the number
    of nodes, never with that of edges times tokens.

    Args:
        model: an open model.
        pairs: samples that align, (clean, corrupted), such as ``datasets.counterfactual_pairs``.
        score: as ``sweep`` takes it: ``"logit_difference"`` of the two answers' first tokens,
            ``"log_prob"`` of the clean one's; ``"answer_log_prob"`` and ``"answer_difference"``, of
            all their tokens; ``"kl"``, from the clean run's distribution to the cell's; a function
            from the last position's logits (cell vocab) to numbers (cell), or a ``SampleScore``. A
            function has to have a gradient.
        answers: the right and the wrong answer, for all pairs, or one such pair each.
        steps: m; 0 takes the gradient in the corrupted run alone.
        along: what moves on the way: ``"inputs"``, or ``"reader"``, each reader's stream by itself,
            all else as in the corrupted run. Then all edges into a reader sum to what reading the
            clean stream does, and those into the logits to s_clean - s_corrupted; a step is as many
            passes as there are readers.
        places: splits nodes by where they write and read: roles, ``("vision", "last")``; positions
            by name, ``{"left": Column((0.0, 0.5))}``; functions from a sample to positions. A
            position in several is the first one's; what is in none is ``"rest"``. A head's query at
            ``last`` and its values at ``vision`` are then ``"L2H1.q@last"``, ``"L2H1.v@vision"``.
        writers: ``"image"`` and ``"text"`` (the embeddings), ``"deepstack1"`` (what a deep tower
            adds before block 1), ``"L0H3"``, ``"M0"``; patterns; a list of these.
        readers: ``"L2H1.q"``, ``".k"``, ``".v"``, ``"M2"``, ``"logits"``; likewise.
        normalized: divide by what the whole corruption does; False for score units.
        batch: pairs that are run together.
        system: a system prompt.
        folder: keeps every pair's edges; called again, only what is missing is computed.
        max_failed: how many pairs may fail, as in ``Experiment``; they are left out by name.
        progress: show a bar of pairs, or lines where there is no terminal; or a function of
            ``Event``.
        executor: who computes, as in ``Experiment.run``: ``Shard(i, n)`` does every n-th batch.

    Returns:
        (sample, writer, reader), NaN where a writer comes after the reader or is elsewhere;
        coordinates ``clean`` and ``corrupted`` (sample), the two runs' scores. Logits are read
        where the score reads them; an answer that is said is in the place ``"rest"``.
        ``Circuit.top`` makes a circuit of it, ``statistics.mean_map`` means.
        Where pairs failed, the attribute ``failures`` lists them, as JSON.

    Raises:
        InputError: names that mean no node, samples that do not align, pairs that score alike, a
            score without a gradient.
        UnsupportedModelError: a model whose stream is no sum of what nodes write.
        EmptySelectionError: a place that a sample does not have.
        DataError: more than ``max_failed`` pairs failed.
        NonFiniteError: a score, or an edge, that is NaN or infinite.

    Source:
        Syed et al. 2023, "Attribution Patching Outperforms Automated Circuit Discovery",
        arXiv:2310.10348; Hanna et al. 2024, "Have Faith in Faithfulness", arXiv:2403.17806.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(2, kind="swap")
        >>> found = vl.experiments.edges(model, pairs, places=("vision", "last"), progress=False)
        >>> found.dims, found.sizes["sample"]
        (('sample', 'writer', 'reader'), 2)
        >>> found.sel(writer="image@vision", reader="L0H1.v@vision").shape
        (2,)
        >>> bool(found.sel(writer="image@vision", reader="logits").isnull().all())
        True
    """
    as_model(model)
    refuse_hooks(model)
    one_of(along, "along", ALONG)
    given, m = as_pairs(pairs, answers), whole(steps, "steps", least=int(along == "reader"))
    graph, where = Graph.of(model, writers, readers), as_places(places)
    asked = Asked(graph, where, score, m, along, system, normalized)
    how = How(folder, executor, progress, max_failed)
    found = over_twins(Attributing(model, asked, as_batch(batch)), given, how)
    values = found["edge"].values
    if normalized:
        values = values / (found["clean"] - found["corrupted"]).values[:, None, None, None]
    names = [*where, REST] if where else [""]
    table = _labelled(values, graph, names, pair_coords(found)).assign_coords(grouped=graph.grouped)
    units = "1" if normalized else units_of(score)
    return table.assign_attrs(
        long_name="share of the answer restored" if normalized else "effect",
        units=units,
        source="arXiv:2403.17806" if m else "arXiv:2310.10348",
        steps=m,
        along=along,
        places=repr(where),
        **{ASKED: asked_told("edges", str(model.name), {"score": score, "system": system})},
        **found.attrs,
    )


def _labelled(
    values: Float[np.ndarray, "sample place writer reader"],
    graph: Graph,
    places: Sequence[str],
    coords: Mapping[str, tuple[str, Shaped[np.ndarray, " sample"]]],
) -> xr.DataArray:
    """A row for every writer at every place, a column for every reader; the logits have no place.

    What exists in no sample (an image among the words) is left out.
    """
    samples, count = len(values), len(places)
    inner = [at for at, node in enumerate(graph.readers) if node.kind != "logits"]
    grid = np.full((samples, len(graph.writers), count, len(inner), count), np.nan)
    for place in range(count):
        grid[:, :, place, :, place] = values[:, place][..., inner]
    found = grid.reshape(samples, len(graph.writers) * count, -1)
    writers = [(node.name, place) for node in graph.writers for place in places]
    readers = [(graph.readers[at].name, place) for at in inner for place in places]
    if len(inner) < len(graph.readers):
        ends = values[..., -1].transpose(0, 2, 1).reshape(samples, -1, 1)
        found, readers = np.concatenate([found, ends], -1), [*readers, ("logits", "")]
    sides: dict[str, Any] = {}
    for dim, named, rest in (("writer", writers, (0, 2)), ("reader", readers, (0, 1))):
        kept = np.flatnonzero(np.isfinite(found).any(rest))
        found = found.take(kept, ("writer", "reader").index(dim) + 1)
        there = [named[at] for at in kept]
        sides[dim] = [f"{name}@{place}" if place else name for name, place in there]
        sides[f"{dim}_node"] = (dim, [name for name, _ in there])
        sides[f"{dim}_place"] = (dim, [place for _, place in there])
    dims = ("sample", "writer", "reader")
    return xr.DataArray(found, dims=dims, coords={**coords, **sides}, name="edge")
