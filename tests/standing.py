"""What has to stand when tokens are dropped: every number, and what every selection means."""

import numpy as np
import pytest

import vlmlens as vl
from vlmlens.errors import EmptySelectionError
from vlmlens.interventions import DropTokens
from vlmlens.positions import Cell, Column, Frame, Region, Row, chosen

#: Selections of a grid, and of frames.
ON_A_GRID = (Row(0), Row(-1), Row(0.5), Column(0), Column(-1), Cell(0, 0), Region((0.0, 0.5)))
OF_FRAMES = (Frame(0), Frame(-1), Frame(0.5), Frame((0, -1)) & Row(-1))


def counted(layout):
    """Everything that a layout counts of its images and videos."""
    images = range(layout.images)
    grids = [[layout.grid(n, t) for t in range(layout.tiles(n))] for n in images]
    videos = range(layout.videos)
    return grids, [(layout.shown_as(v), layout.frames(v)) for v in videos]


def selections(layout):
    """Every kind of selection of what a sample shows, image by image and video by video."""
    of_one = [Region(image=n) for n in range(layout.images)]
    frames = OF_FRAMES if layout.videos else ()
    return (*ON_A_GRID, *of_one, *frames, *(Frame(0, video=v) for v in range(layout.videos)))


def dropped(vlm, given, gone):
    """The layout without these tokens, of inputs of one sample."""
    return DropTokens(where=vl.Where(positions=gone)).prepare(given).layouts[0]


def first_tokens(layout):
    """The first token of every image and of every video, by their indices."""
    marks = [layout.image == n for n in range(layout.images)]
    marks += [layout.video == v for v in range(layout.videos)]
    own = np.flatnonzero(~layout.mask("pad"))
    return sorted({int(np.searchsorted(own, np.flatnonzero(mark)[0])) for mark in marks})


def all_stands(vlm, given):
    """The law: nothing is counted otherwise, and no selection means anything else than before."""
    whole = given.layouts[0]
    for gone in (*selections(whole), *first_tokens(whole), "vision"):
        out, left = chosen(whole, gone), dropped(vlm, given, gone)
        assert np.array_equal(left.mask("pad") & ~whole.mask("pad"), out), gone
        assert counted(left) == counted(whole), gone
        for asked in selections(whole):
            meant = asked.of(whole) & ~out
            if meant.any():
                assert np.array_equal(asked.of(left), meant), (gone, asked)
            else:
                with pytest.raises(EmptySelectionError):
                    asked.of(left)
