"""Ways to rearrange a grid of vision tokens."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int

from vlmlens.errors import EmptySelectionError, InputError

Grid = Int[np.ndarray, "row column"]
Order = Int[np.ndarray, " patch"]
Frames = Int[np.ndarray, "frame place"]
#: Lines of a grid or frames of a video, as many as there are.
Lines = Int[np.ndarray, " _line"]
Missing = Bool[np.ndarray, "row column"]

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

#: Moves that draw lines of the grid, and so need every one of them.
DRAWN = ("rows", "columns", "blocks")

#: Along which axes a move goes, rows and columns; the others go along both.
ALONG = {
    **dict.fromkeys(("rows", "flip"), (True, False)),
    **dict.fromkeys(("columns", "mirror"), (False, True)),
}

#: What to do where places have no token.
LEFT = (
    f"Shuffle what is left with {', '.join(SHUFFLES)}, or keep every token (of a video of "
    "VideoLLaMA 3, videos_kwargs={'use_token_compression': False})"
)

#: Moves along a video's time, of a table of its tokens: what lies where afterwards.
TIMES: dict[str, Callable[[Frames, np.random.Generator], Frames]] = {
    "within frames": lambda table, rng: rng.permuted(table, axis=1),
    "across frames": lambda table, rng: rng.permuted(table, axis=0),
    "frames": lambda table, rng: table[rng.permutation(len(table))],
    "backward": lambda table, rng: table[::-1],
}

#: Those of them that move whole frames to the places of others.
WHOLE = ("frames", "backward")


def arrangement(
    design: str,
    row: Order,
    column: Order,
    rng: np.random.Generator,
    *,
    fraction: float = 1.0,
    block: tuple[int, int] = (2, 2),
    missing: Missing | None = None,
) -> Order:
    """Which token takes each token's place.

    Args:
        design: a name of ``DESIGNS``.
        row: each token's row.
        column: its column; no two tokens share both.
        rng: draws what is random.
        fraction: for shuffles, the share of the tokens, drawn at random, that change places.
        block: for ``"blocks"``, rows and columns of one.
        missing: the places of the whole grid that have no token; by default there are none. Rows
            and columns without any count: the mirror of a token lies where it would on the whole.

    Raises:
        InputError: a move of tokens that form no rectangle, one that does not fit it, or one that
            needs places without a token.
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
            f"{design!r} moves a rectangle; these {len(order)} tokens are none. {LEFT}"
        )
    lost = _lost(design, rows, columns, missing)
    if design in DRAWN:
        _refuse_lost(design, lost)
    down, across = (np.union1d(*lines) for lines in zip((rows, columns), lost, strict=True))
    grid = np.full((len(down), len(across)), -1)
    grid[np.searchsorted(down, row), np.searchsorted(across, column)] = order
    moved = MOVES[design](grid, rng, block)
    if moved.shape != grid.shape:
        raise InputError(f"{design!r} makes {moved.shape} of {grid.shape}: it needs a square")
    there = grid >= 0
    if not np.array_equal(moved >= 0, there):
        _refuse_lost(design, lost)
    order[grid[there]] = moved[there]
    return order


def _lost(design: str, rows: Lines, columns: Lines, missing: Missing | None) -> tuple[Lines, Lines]:
    """The rows and columns of the grid that hold none of some tokens' places, and that count."""
    if missing is None:
        return rows[:0], columns[:0]
    down, across = missing[:, columns].all(1), missing[rows].all(0)
    along = ALONG.get(design, (True, True))
    found = [
        np.flatnonzero(empty & counts) for empty, counts in zip((down, across), along, strict=True)
    ]
    return found[0], found[1]


def _refuse_lost(design: str, lost: tuple[Lines, Lines]) -> None:
    """Refuse a move that needs lines of the grid without tokens, where there are any."""
    named = [
        f"{what} {', '.join(map(str, own))}"
        for what, own in zip(("row", "column"), lost, strict=True)
        if len(own)
    ]
    if named:
        raise InputError(
            f"{design!r} needs places of the grid whose tokens are left out: "
            f"{' and '.join(named)}. {LEFT}"
        )


def over_time(
    design: str,
    frame: Order,
    row: Order,
    column: Order,
    rng: np.random.Generator,
    missing: Lines | None = None,
) -> Order:
    """Which token of a video takes each token's place.

    Args:
        design: a name of ``TIMES``.
        frame: each token's frame.
        row: its row there.
        column: its column; no two tokens share all three.
        rng: draws what is random.
        missing: the video's frames that have no token at these places; by default there are none.

    Raises:
        InputError: frames of which other places are meant than of the first, or a design that
            needs frames without a token.
        EmptySelectionError: fewer than two frames, or places, to move among.
    """
    order, frames = np.arange(len(frame)), np.unique(frame)
    sorting = np.lexsort((column, row, frame))
    places = [(row[own], column[own]) for own in (sorting[frame[sorting] == n] for n in frames)]
    if any(not np.array_equal(one, places[0]) for one in places):
        raise InputError(f"{design!r} moves tokens of the same places in every frame")
    table = sorting.reshape(len(frames), -1)
    if table.shape[design == "within frames"] < 2:
        raise EmptySelectionError(
            f"{design!r} has nothing to move: {table.shape[0]} frame(s) of {table.shape[1]} places"
        )
    lost = frames[:0] if missing is None else missing
    if design in WHOLE and len(lost):
        # As many lines as the video has frames, those without tokens too: which change places?
        every = np.union1d(frames, lost)
        still = np.isin(every, lost)
        if design == "frames" or not np.array_equal(still[::-1], still):
            raise InputError(
                f"{design!r} needs frames whose tokens are left out: {', '.join(map(str, lost))} "
                f"of this video. {LEFT}"
            )
    order[sorting] = TIMES[design](table, rng).reshape(-1)
    return order
