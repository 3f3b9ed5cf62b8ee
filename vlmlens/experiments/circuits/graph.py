"""The graph of a language model: every writer and every reader, split by place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from vlmlens.checks import shown
from vlmlens.datasets import Pair
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.experiments.circuits.nodes import Names, Node, meant, readers, writers
from vlmlens.experiments.given import as_samples
from vlmlens.experiments.readings import answered
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: What users hand over: pairs of samples that differ by one edit.
Pairs: TypeAlias = Pair | Sequence[Pair | tuple[Sample, Sample]]


def as_pairs(given: Any, answers: Any = None) -> list[tuple[Sample, Sample]]:
    """Clean and corrupted samples, of pairs or of tuples, with the answers that were given.

    Raises:
        InputError: what is neither.
        DataError: none at all.
    """
    several = [given] if isinstance(given, Pair) else given
    if isinstance(several, str | Sample) or not isinstance(several, Sequence):
        raise InputError(f"pairs={shown(given)}: {_WANTED}")
    found = []
    for one in several:
        two = (one.clean, one.corrupted) if isinstance(one, Pair) else one
        if not (isinstance(two, tuple) and len(two) == 2):
            raise InputError(f"pairs hold {shown(one)}: {_WANTED}")
        found.append(two)
    clean, corrupted = (as_samples([pair[side] for pair in found], "pairs") for side in (0, 1))
    made = answered(list(zip(clean, corrupted, strict=True)), answers)
    return [(one, other) for one, other in made if other is not None]


_WANTED = "a list of (clean, corrupted) samples is wanted, or of what counterfactual_pairs draws"


@dataclass(frozen=True)
class Graph:
    """What writes and what reads, every head by itself, the embeddings by what they are of.

    Attributes:
        writers: in the order of a pass.
        readers: the same.
        grouped: how many query heads share a key-value head.
    """

    writers: tuple[Node, ...]
    readers: tuple[Node, ...]
    grouped: int = 1

    @classmethod
    def of(cls, model: HookedVLM, writing: Names = "*", reading: Names = "*") -> "Graph":
        """The graph of a model, or some of it, by names and patterns.

        Raises:
            UnsupportedModelError: a model whose stream is no sum of what nodes write, or some of
                whose writers or readers no point shows.
            InputError: names that mean no node.
        """
        if "stream" in model.family.unlike:
            raise UnsupportedModelError(
                f"{model.family.model_type}'s stream is no sum of what nodes write "
                f"({model.family.unlike['stream']}), so it has no edges: patch the points "
                "themselves, with sweep or PatchFrom"
            )
        read = readers(model)
        whole = [node.layer for node in read if node.kind == "attention"]
        written = [
            node
            for node in writers(model)
            if node.kind != "embed" and (node.kind != "attention" or node.layer in whole)
        ]
        _refuse_gaps(model, written, read)
        counts = [
            max((node.head for node in read if node.side == side), default=0) + 1 for side in "qk"
        ]
        return cls(
            _some(writing, written, "writers"),
            _some(reading, read, "readers"),
            counts[0] // counts[1],
        )

    @property
    def feeds(self) -> Bool[np.ndarray, "writer reader"]:
        """Whether what each writes is in the stream that each reads."""
        return np.array([[one.feeds(other) for other in self.readers] for one in self.writers])

    def there(
        self,
        masks: Bool[np.ndarray, "place sample pos"],
        layouts: Sequence[TokenLayout],
        read: Bool[np.ndarray, "sample pos"],
    ) -> Bool[np.ndarray, "sample place writer reader"]:
        """Which edges a sample has at a place: both ends stand there, and one comes before."""
        seen = np.stack([layout.mask("vision") for layout in layouts])
        parts = {"image": masks & seen, "deepstack": masks & seen, "text": masks & ~seen}
        writes = [parts.get(node.kind, masks).any(-1) for node in self.writers]
        ends = {"logits": masks & read}
        reads = [ends.get(node.kind, masks).any(-1) for node in self.readers]
        sides = [np.stack(own, -1).transpose(1, 0, 2) for own in (writes, reads)]
        return sides[0][..., :, None] & sides[1][..., None, :] & self.feeds


def _some(names: Names, there: Sequence[Node], what: str) -> tuple[Node, ...]:
    """The nodes that are meant, in the order of a pass, each by itself."""
    found = meant(names, there, what)
    if several := [name for name, nodes in found.items() if len(nodes) > 1]:
        raise InputError(f"{what}: {several[0]} are several nodes, and an edge has one at each end")
    return tuple(node for node in there if node.name in found)


def _refuse_gaps(model: HookedVLM, written: Sequence[Node], read: Sequence[Node]) -> None:
    """Refuse a model of which a part reads or writes the stream where no point is."""
    for layer in range(model.layers):
        for kinds, what in ((("head", "attention"), "attention"), (("mlp",), "MLP")):
            own = [
                any(node.layer == layer and node.kind in kinds for node in nodes)
                for nodes in (written, read)
            ]
            if not all(own):
                point = f"blocks.{layer}.{('hook_attn_out', 'hook_mlp_out')[what == 'MLP']}"
                why = model.absent.get(point, "it has no points for what it reads and writes")
                raise UnsupportedModelError(
                    f"block {layer} of {model.family.model_type} is no {what} that edges could "
                    f"lead to: {why}. path_patch, sweep and attribution_patching work"
                )
