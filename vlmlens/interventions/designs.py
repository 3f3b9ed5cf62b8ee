"""Ways to rearrange a grid of vision tokens."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from vlmlens.errors import EmptySelectionError, InputError

Grid = Int[np.ndarray, "row column"]
Order = Int[np.ndarray, " patch"]

#: Shuffles of any set of tokens: which of them change places with each other.
SHUFFLES: dict[str, Callable[[Order, Order], Order]] = {
    "free": lambda row, column: np.zeros_like(row),
    "within rows": lambda row, column: row,
    "within columns": lambda row, column: column,
}


def _blocks(grid: Grid, rng: np.random.Generator, block: tuple[int, int]) -> Grid:
    (rows, columns), (high, wide) = grid.shape, block
    if high < 1 or wide < 1 or rows % high or columns % wide:
        raise InputError(f"blocks of {high} x {wide} do not tile a grid of {rows} x {columns}")
    parts = grid.reshape(rows // high, high, columns // wide, wide).swapaxes(1, 2)
    mixed = rng.permutation(parts.reshape(-1, high, wide)).reshape(parts.shape)
    return mixed.swapaxes(1, 2).reshape(rows, columns)


#: Moves of a whole rectangle: what lies where afterwards, from what lay where.
MOVES: dict[str, Callable[[Grid, np.random.Generator, tuple[int, int]], Grid]] = {
    "rows": lambda grid, rng, block: grid[rng.permutation(len(grid))],
    "columns": lambda grid, rng, block: grid[:, rng.permutation(grid.shape[1])],
    "blocks": _blocks,
    "mirror": lambda grid, rng, block: grid[:, ::-1],
    "flip": lambda grid, rng, block: grid[::-1],
    "transpose": lambda grid, rng, block: grid.T,
    "rotate 90": lambda grid, rng, block: np.rot90(grid, -1),
    "rotate 180": lambda grid, rng, block: np.rot90(grid, 2),
    "rotate 270": lambda grid, rng, block: np.rot90(grid, 1),
}

DESIGNS = (*SHUFFLES, *MOVES)


def arrangement(
    design: str,
    row: Order,
    column: Order,
    rng: np.random.Generator,
    *,
    fraction: float = 1.0,
    block: tuple[int, int] = (2, 2),
) -> Order:
    """Which token takes each token's place.

    Args:
        design: a name of ``DESIGNS``.
        row: each token's row.
        column: its column; no two tokens share both.
        rng: draws what is random.
        fraction: for shuffles, the share of the tokens, drawn at random, that change places.
        block: for ``"blocks"``, rows and columns of one.

    Raises:
        InputError: a move of tokens that form no rectangle, or one that does not fit it.
        EmptySelectionError: fewer than two tokens would change places.
    """
    order = np.arange(len(row))
    if design in SHUFFLES:
        picked = order
        if fraction < 1:
            picked = np.sort(rng.choice(order, round(fraction * len(order)), replace=False))
        groups = SHUFFLES[design](row, column)[picked]
        sizes = np.unique(groups, return_counts=True)[1]
        if sizes.max(initial=0) < 2:
            raise EmptySelectionError(
                f"{design!r} has nothing to shuffle: {len(picked)} of {len(order)} tokens are "
                "meant, no two of which may change places"
            )
        for group in np.unique(groups):
            order[picked[groups == group]] = rng.permutation(picked[groups == group])
        return order
    if fraction < 1:
        raise InputError(f"fraction is for {', '.join(SHUFFLES)}; {design!r} moves every token")
    rows, columns = np.unique(row), np.unique(column)
    if len(rows) * len(columns) != len(order):
        raise InputError(
            f"{design!r} moves a rectangle; these {len(order)} tokens are none: shuffle them with "
            f"{', '.join(SHUFFLES)}"
        )
    sorting = np.lexsort((column, row))
    grid = sorting.reshape(len(rows), len(columns))
    moved = MOVES[design](grid, rng, block)
    if moved.shape != grid.shape:
        raise InputError(f"{design!r} makes {moved.shape} of {grid.shape}: it needs a square")
    order[sorting] = moved.reshape(-1)
    return order
