"""Maps under the null: units drawn again from centred values, or signs flipped."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vlmlens.estimates import cautious_t

#: Numbers (map x cell) that are held at once.
HELD = 2_000_000
#: Relative slack within which two statistics are equal.
TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Null:
    """|z| of every cell of many maps in which nothing differs.

    Attributes:
        every: all cells of all maps, in chunks (map, cell), made anew at every iteration.
        exact: these are all the maps there can be, the data among them.
    """

    every: "Chunks"
    exact: bool

    @property
    def total(self) -> int:
        """How many maps; where they are drawn, the data count as one more."""
        return self.every.draws + (not self.exact)

    def topped(self, size: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """Share of maps whose largest cell reaches each size."""
        ordered = np.sort(np.concatenate([chunk.max(1) for chunk in self.every]))
        below = np.searchsorted(ordered, size * (1 - TIE) - TIE)
        return (len(ordered) - below + (not self.exact)) / self.total

    def reached(self, size: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """Share of maps in which the same cell reaches its size."""
        reached = np.zeros(size.shape)
        for chunk in self.every:
            reached += (chunk >= size * (1 - TIE) - TIE).sum(0)
        return (reached + (not self.exact)) / self.total

    def pooled(self, size: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """Share of all cells of all maps that reach each size."""
        order = np.argsort(size)
        bounds = size[order] * (1 - TIE) - TIE
        passed = np.zeros(len(size) + 1, dtype=int)
        for chunk in self.every:
            at = np.searchsorted(bounds, chunk.ravel(), side="right")
            passed += np.bincount(at, minlength=len(size) + 1)
        reached = passed[::-1].cumsum()[::-1][1:]  # of those with at least this many bounds below
        share = np.empty(len(size))
        share[order] = (reached + (not self.exact)) / (passed.sum() + (not self.exact))
        return share


@dataclass(frozen=True, eq=False)
class Chunks:
    """|z| (map, cell) of maps drawn from a seed, a chunk at a time."""

    x: Float[np.ndarray, "unit cell"]
    known: Float[np.ndarray, "unit cell"]
    draws: int
    seed: int
    signs: Float[np.ndarray, "map unit"] | None = None

    def __iter__(self) -> Iterator[Float[np.ndarray, "map cell"]]:
        rng = np.random.default_rng(self.seed)
        step = max(1, min(500, HELD // max(1, self.x.shape[1])))
        for start in range(0, self.draws, step):
            count = min(step, self.draws - start)
            if self.signs is not None:
                yield np.abs(self.signs[start : start + count] @ self.x)
            else:
                yield self._redrawn(rng, count)

    def _redrawn(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "map cell"]:
        units = len(self.x)
        even = np.full(units, 1 / units)
        weights = rng.multinomial(units, even, size=count).astype(float)
        n = np.full((count, 1), float(units)) if self.known.all() else weights @ self.known
        z = cautious_t(np.maximum(n, 1.0), *(weights @ self.x**k for k in (1, 2, 3)))
        return np.where(n > 1, np.abs(z), 0.0)


def redrawn(
    sums: Float[np.ndarray, "unit cell"],
    counts: Float[np.ndarray, "unit cell"],
    draws: int,
    seed: int,
) -> Null:
    """|z| of maps of units drawn with replacement from deviations about their own mean.

    Units that are drawn alone have no spread, and their z is infinite: that is why a test from
    few units finds little.
    """
    mean = sums.sum(0) / np.maximum(counts.sum(0), 1)
    centred = sums - mean * counts
    centred[np.abs(centred) <= 1e-12 * np.abs(sums).max(0, initial=0.0)] = 0.0
    return Null(Chunks(centred, (counts > 0).astype(float), draws, seed), exact=False)


def exchanged(
    sums: Float[np.ndarray, "unit cell"], draws: int, seed: int
) -> tuple[Float[np.ndarray, " cell"], Null]:
    """Every cell's z, and |z| of maps in which units' signs were flipped: all, or ``draws``."""
    units = len(sums)
    scale = np.sqrt((sums**2).sum(0))
    x = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
    exact = units < 31 and 2**units <= draws + 1
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=units)))
    else:
        signs = 2.0 * np.random.default_rng(seed).integers(0, 2, (draws, units)) - 1.0
    return x.sum(0), Null(Chunks(x, np.ones_like(x), len(signs), seed, signs), exact)
