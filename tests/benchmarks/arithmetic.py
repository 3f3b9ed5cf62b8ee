"""Counted operations: what a pass, or a part of one, has to multiply and add."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stack:
    """A stack of transformer blocks.

    Attributes:
        width: of the stream.
        inner: of the MLP.
        layers: how many blocks.
        projections: matrices of width x inner in the MLP: 3 where it is gated.
        keys: width of all keys together, and of all values.
    """

    width: int
    inner: int
    layers: int
    projections: int = 3
    keys: int = 0

    @property
    def weights(self) -> int:
        """Numbers in the matrices of one block."""
        attention = 2 * self.width**2 + 2 * self.width * (self.keys or self.width)
        return attention + self.projections * self.width * self.inner

    def block(self, size: int, first: int = 0) -> int:
        """Operations of one block for the positions from ``first`` on, of ``size`` in all.

        Two for each weight and position; in attention two each for score and mixture, of every
        query with every key up to its own.
        """
        pairs = (size * (size + 1) - first * (first + 1)) // 2
        return 2 * self.weights * (size - first) + 4 * self.width * pairs

    def cone(self, size: int, layer: int = 0, first: int = 0) -> int:
        """Operations of the blocks from ``layer`` on, for the positions from ``first`` on."""
        return (self.layers - layer) * self.block(size, first)
