"""What experiments take, from what one pass takes: operations, and weights that are read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vlmlens.planning.counted import Counted

#: Keys of a batch of cells: so many rows go through the model at once (``model.resume``).
KEYS = 2**15
#: What a sweep goes over at every layer -> what that is.
SWEEPS: Mapping[str, str] = {
    "last": "layers x last token",
    "heads": "layers x heads, last token",
    "rows": "layers x image rows",
}


@dataclass(frozen=True)
class Job:
    """What is to be done, and what it takes.

    Attributes:
        name: of it.
        operations: multiplications and additions.
        read: bytes of weights that are read.

    Examples:
        >>> from vlmlens.planning import Card, Job
        >>> job = Job("a pass", operations=9_000_000_000_000, read=14_000_000_000)
        >>> round(job.seconds(Card(tflops=150, bandwidth=1500)), 3)
        0.06
    """

    name: str
    operations: int
    read: int

    def seconds(self, card: "Card") -> float:
        """How long it takes where a card does nothing else: arithmetic or reading, the slower."""
        return max(self.operations / (1e12 * card.tflops), self.read / (1e9 * card.bandwidth))


@dataclass(frozen=True)
class Card:
    """What a GPU sustains.

    Attributes:
        tflops: tera-operations a second, in products of matrices.
        bandwidth: gigabytes a second, from its memory.
        memory: of it, in GiB.

    Examples:
        >>> from vlmlens.planning import Card
        >>> Card(memory=24)
        Card(tflops=150.0, bandwidth=1500.0, memory=24)
    """

    tflops: int | float = 150.0
    bandwidth: int | float = 1500.0
    memory: int | float = 80.0


@dataclass(frozen=True)
class Costs:
    """What one pass takes, taken apart.

    Attributes:
        counted: the whole pass over a prompt, its logits at every position.
        layers: blocks of the language model.
        heads: of each.
        length: positions of the prompt.
        rows: where each row of the image begins in it.
        weights: bytes of all weights.
        blocks: of those, the bytes of the language model's blocks.

    Examples:
        >>> from vlmlens.planning import Costs, Counted
        >>> counted = Counted({"tower": 50, "blocks": 800, "head": 80}, {"blocks": 200}, 0)
        >>> costs = Costs(counted, layers=2, heads=1, length=8, rows=(0, 4), weights=9, blocks=8)
        >>> costs.seen, costs.word, costs.above(0, 0), costs.above(1, 4)  # half of half
        (50, 10, 800, 200)
        >>> costs.psi(permutations=1, tokens=1).operations  # tower once, two prompts and words
        1670
    """

    counted: Counted
    layers: int
    heads: int
    length: int
    rows: tuple[int, ...]
    weights: int
    blocks: int

    @property
    def seen(self) -> int:
        """Operations of tower and projector."""
        parts = self.counted.operations
        return parts.get("tower", 0) + parts.get("projector", 0)

    @property
    def word(self) -> int:
        """Operations of one position's logits."""
        return self.counted.operations.get("head", 0) // self.length

    def above(self, layer: int, first: int, length: int | None = None) -> int:
        """Operations of the blocks from a layer on, for the positions from ``first`` on.

        Two for each weight and position, and four channels' worth for every query and key.
        """
        length = self.length if length is None else length
        attention = self.counted.attention.get("blocks", 0)
        rest = self.counted.operations.get("blocks", 0) - attention
        depth, size = self.layers - layer, length - first
        each = rest * size / self.length + attention * size * length / self.length**2
        return round(depth / self.layers * each)

    def clean(self) -> Job:
        """A pass over the prompt."""
        return Job("a pass", self.counted.total, self.weights)

    def psi(self, permutations: int, tokens: int) -> Job:
        """PSI of one sample: the tower once, then a prompt and an answer for every shuffle."""
        steps = sum(
            self.above(0, self.length + step, self.length + step + 1) + self.word
            for step in range(tokens - 1)
        )
        every = 1 + permutations
        each = self.above(0, 0) + self.word + steps
        name = f"PSI, {permutations} permutations, {tokens} tokens"
        read = self.weights - self.blocks + every * tokens * self.blocks
        return Job(name, self.seen + every * each, read)

    def sweep(self, over: str) -> Job:
        """A sweep of two pictures: their passes, and of every cell what its edit can change."""
        cells = list(self._cells(over))
        done = sum(number * self.above(layer, first) for layer, first, number in cells)
        done += sum(number for *_, number in cells) * self.word
        keys = sum(number for *_, number in cells) * self.length
        batches = max(-(-keys // KEYS), 1)
        read = 2 * self.weights + batches * self.blocks
        clean = self.seen + self.above(0, 0) + self.word
        return Job(f"sweep, {SWEEPS[over]}", 2 * clean + done, read)

    def _cells(self, over: str) -> Iterator[tuple[int, int, int]]:
        """Layer, first position that may change, and how many such cells there are."""
        for layer in range(self.layers):
            if over == "rows":
                yield from ((layer, first, 1) for first in self.rows)
            else:
                yield layer, self.length - 1, self.heads if over == "heads" else 1
