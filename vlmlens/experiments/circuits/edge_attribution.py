"""Edge attribution: what each writer tells each reader, at each place, from gradients."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm.auto import tqdm

from vlmlens.annotations import checked
from vlmlens.checks import one_of, whole
from vlmlens.experiments.circuits.along import ALONG, Slopes, by_inputs, by_reader, moving
from vlmlens.experiments.circuits.graph import Graph, Pairs, as_pairs, last
from vlmlens.experiments.circuits.nodes import Names
from vlmlens.experiments.circuits.places import REST, Places, as_places, split
from vlmlens.experiments.circuits.twins import EMBED, Twins, merged, refuse_alike
from vlmlens.experiments.circuits.writes import change, points_of
from vlmlens.experiments.given import as_batch, as_model
from vlmlens.experiments.scores import UNITS, Score
from vlmlens.model import HookedVLM
from vlmlens.model.reuse.entering import refuse_hooks


@checked
def edges(
    model: HookedVLM,
    pairs: Pairs,
    score: str | Score = "logit_difference",
    *,
    steps: int = 8,
    along: str = "inputs",
    places: Places = (),
    writers: Names = "*",
    readers: Names = "*",
    normalized: bool = True,
    batch: int = 1,
    system: str | None = None,
    progress: bool = True,
) -> xr.DataArray:
    """What each writer tells each reader directly, at each place, to first order.

    With w what a writer adds to the residual stream at position p, x_r the stream that a reader
    reads there, s the score of the last position's logits,

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
        score: ``"logit_difference"`` of the two answers' first tokens, ``"log_prob"`` of the clean
            one's, or a function from logits (cell vocab) to numbers (cell), with a gradient.
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
        progress: show a bar.

    Returns:
        (sample, writer, reader), NaN where a writer comes after the reader or is elsewhere;
        coordinates ``clean`` and ``corrupted`` (sample), the two runs' scores. Logits are read at
        the last position. ``Circuit.top`` makes a circuit of it, ``statistics.mean_map`` means.

    Raises:
        InputError: names that mean no node, samples that do not align, pairs that score alike.
        UnsupportedModelError: a model whose stream is no sum of what nodes write.
        EmptySelectionError: a place that a sample does not have.
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
    given, m = as_pairs(pairs), whole(steps, "steps", least=int(along == "reader"))
    graph, where, size = Graph.of(model, writers, readers), as_places(places), as_batch(batch)
    found, labels = [], []
    bar = tqdm(total=len(given), desc="edges", disable=not progress)
    with model.reuse(), bar:
        for start in range(0, len(given), size):
            some = given[start : start + size]
            points = points_of([*graph.writers, *moving(model)])
            points += [node.stream for node in graph.readers] if along == "reader" else []
            twins = Twins.run(model, some, score, system, points)
            labels.append(twins.labels(twins.ends()))
            if normalized:
                refuse_alike(labels[-1])
            ways = by_reader if along == "reader" else by_inputs
            found.append(_values(twins, graph, where, ways(twins, graph.readers, m)))
            bar.update(len(some))
    names = [*where, REST] if where else [""]
    values = np.concatenate(found)
    coords = merged(labels)
    if normalized:
        values /= np.subtract(coords["clean"][1], coords["corrupted"][1])[:, None, None, None]
    table = _labelled(values, graph, names, coords).assign_coords(grouped=graph.grouped)
    units = "1" if normalized else UNITS.get(str(score), "score")
    return table.assign_attrs(
        long_name="share of the answer restored" if normalized else "effect",
        units=units,
        source="arXiv:2403.17806" if m else "arXiv:2310.10348",
        steps=m,
        along=along,
        places=repr(where),
    )


def _values(
    twins: Twins, graph: Graph, places: Mapping[str, Any], slopes: Iterator[Slopes]
) -> Float[np.ndarray, "sample place writer reader"]:
    """Every edge of every pair at every place, in units of the score; NaN where there is none."""
    model, base = twins.model, twins.base
    layouts = base.inputs.layouts
    masks = np.stack(list(split(places, [pair[1] for pair in twins.pairs], layouts).values()))
    there = graph.there(masks, layouts)
    everywhere = torch.ones(masks.shape[1:], dtype=torch.bool)
    device = base.saved[EMBED].device  # blocks may lie on several
    written = torch.stack(
        [
            change(model, [node], twins.source.saved, base.saved, everywhere).to(device)
            for node in graph.writers
        ]
    )
    found = np.zeros(there.shape)
    for read, grads, weight in slopes:
        columns = [graph.readers.index(node) for node in read]
        rows = int(graph.feeds[:, columns[0]].sum())  # those that write before come first
        own = there[..., columns[0]].any(-1)
        at = masks & last(layouts) if read[0].kind == "logits" else masks
        for sample, place in np.argwhere(own):
            here = torch.from_numpy(at[place, sample]).to(grads.device)
            told = _flat(written[:rows, sample].to(grads.device), here)
            heard = _flat(grads[:, sample], here)
            sums = (told @ heard.T).double().cpu().numpy()
            found[sample, place][np.ix_(range(rows), columns)] += weight * sums
    twins.refuse_broken(found)
    found[~there] = np.nan
    return found


def _flat(
    x: Float[Tensor, "node pos d_model"], here: Bool[Tensor, " pos"]
) -> Float[Tensor, "node term"]:
    """What counts of several nodes, in single precision at least."""
    kept = x[:, here].flatten(1)
    return kept.float() if kept.element_size() < 4 else kept


def _labelled(
    values: Float[np.ndarray, "sample place writer reader"],
    graph: Graph,
    places: Sequence[str],
    coords: Mapping[str, tuple[str, list]],
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
