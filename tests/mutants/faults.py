"""The faults, by the room that they are in."""

from tests.mutants.fault import Fault

FAULTS: tuple[Fault, ...] = (
    # What was seen to survive once: square grids, one picture a sample, no cap, no scenes, and
    # threefold position ids taken for one axis hid these.
    Fault(
        "the atlas counts rows by the number of columns",
        "probes/atlas.py",
        "y = (np.arange(shape[0]) + 0.5) / grids[:, :1]",
        "y = (np.arange(shape[0]) + 0.5) / grids[:, 1:]",
        ("probes/test_image.py",),
    ),
    Fault(
        "the atlas counts columns by the number of rows",
        "probes/atlas.py",
        "x = (np.arange(shape[1]) + 0.5) / grids[:, 1:]",
        "x = (np.arange(shape[1]) + 0.5) / grids[:, :1]",
        ("probes/test_image.py",),
    ),
    Fault(
        "gaps in threefold position ids are closed by the time axis alone",
        "interventions/prepare.py",
        "used = ids[:, sample, stays].unique()",
        "used = ids[0, sample, stays].unique()",
        ("interventions/test_sequence.py",),
    ),
    Fault(
        "a fraction of depth is rounded",
        "positions/written.py",
        "min(int(item * size), size - 1)",
        "min(round(item * size), size - 1)",
        ("test_positions.py",),
    ),
    Fault(
        "a raster of position ids is as wide as the grid is high",
        "interventions/move.py",
        "width = 1 + int(layout.column[",
        "width = 1 + int(layout.row[",
        ("interventions/test_turning.py",),
    ),
    Fault(
        "the slope of RoPE forgets the cap of the scores",
        "probes/turning.py",
        "speed = speed * (1 - (before / row.softcap) ** 2)",
        "speed = speed * 1",
        ("probes/test_rope.py",),
    ),
    Fault(
        "likeness to a patch counts rows by columns",
        "probes/similarity.py",
        "[row * columns + column]",
        "[column * columns + column]",
        ("probes/test_places.py",),
    ),
    Fault(
        "an answer is recited where one of its tokens is the likeliest",
        "probes/recited.py",
        "hit[index, said[1:]].all()",
        "hit[index, said[1:]].any()",
        ("probes/test_places.py",),
    ),
    Fault(
        "an answer is recited where its tokens are the least likely",
        "probes/recited.py",
        "logits[:, :-1].argmax(-1)",
        "logits[:, :-1].argmin(-1)",
        ("probes/test_places.py",),
    ),
    Fault(
        "values by position are laid on the grid by columns",
        "probes/attribution.py",
        "here.reshape(-1, rows, columns), dims=",
        "here.reshape(-1, columns, rows).swapaxes(1, 2), dims=",
        ("probes/test_places.py",),
    ),
    Fault(
        "boxes of one image name patches of another",
        "probes/linear.py",
        "layout.within(map(float, box), image))",
        "layout.within(map(float, box), 0))",
        ("probes/test_places.py",),
    ),
    Fault(
        "patches look at patches of other images",
        "probes/atlas.py",
        "weights = weights * same",
        "weights = weights * 1",
        ("probes/test_places.py",),
    ),
)
