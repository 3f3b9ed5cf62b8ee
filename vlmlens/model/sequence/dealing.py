"""Vision positions dealt to the grids of pictures and videos, in the order they stand in."""

from collections.abc import Sequence

import numpy as np

from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout
from vlmlens.view import View


def layout_of(
    roles: Sequence[str],
    tokens: Sequence[str],
    views: Sequence[tuple[View, ...]],
    sizes: Sequence[tuple[int, int] | None],
    kinds: Sequence[str] = (),
    order: Sequence[int] = (),
    videos: int = 0,
) -> TokenLayout:
    """A layout whose vision positions are dealt to the images' grids in order, row by row.

    Args:
        roles: of every position.
        tokens: every position's token as text.
        views: the grids of every picture, then the frames of every video.
        sizes: width and height of each; None where unknown.
        kinds: what is known of every position already.
        order: the numbers of pictures and videos as they stand in the sequence; by default
            pictures first.
        videos: how many of them are videos: the last ones.

    Raises:
        InputError: the number of vision positions is not that of the grids.
    """
    length = len(roles)
    vision = np.flatnonzero(np.array(roles) == "vision")
    counts = [sum(view.size for view in own) for own in views]
    if len(vision) != sum(counts):
        raise InputError(
            f"{len(vision)} vision positions, but {len(views)} image(s) with {counts} tokens"
        )
    image, tile, row, column, video, frame = (np.full(length, -1) for _ in range(6))
    box, seconds = np.full((length, 4), np.nan), np.full(length, np.nan)
    pictures = len(views) - videos
    kind = list(kinds) or [""] * length
    start = 0
    for number in order or range(len(views)):
        own, size = views[number], sizes[number]
        for which, view in enumerate(own):
            here = vision[start : start + view.size]
            image[here], tile[here] = number, which
            parts = [view.leading, view.size - view.registers]
            leading, own_grid, registers = np.split(here, parts)
            cells = np.arange(len(own_grid))
            across = view.columns + (view.newlines == "each")
            there = np.flatnonzero(view.kept or np.ones(view.rows * view.columns))
            ends = (
                cells % across == view.columns if view.newlines == "each" else cells >= len(there)
            )
            patches = own_grid[~ends]
            row[patches], column[patches] = np.divmod(there, view.columns)
            box[patches] = view.boxes(size)[there]
            if number >= pictures:  # what ends a video is of it, and of no frame
                video[here] = number - pictures
                of_it = np.concatenate([leading, patches])
                frame[of_it], seconds[of_it] = which, view.seconds
            for at in patches:
                kind[at] = "thumbnail" if view.thumbnail else "patch"
            for at in own_grid[ends]:
                kind[at] = "newline"
            for at in (*leading, *registers):
                kind[at] = "register"
            start += view.size
    texts, places = (tuple(roles), tuple(tokens)), (image, row, column, box, tile)
    ends = tuple(kind), tuple(sizes)
    return TokenLayout(*texts, *places, *ends, video=video, frame=frame, seconds=seconds)
