"""Small arrays for figures, of which every number is known."""

import numpy as np
import xarray as xr

EDGES = ("left", "top", "right", "bottom")


def attention(layers=2, heads=2, grid=(3, 3), words=("<s>", "left", "?", ":"), seed=0, size=90):
    """Made-up attention: a start token, then one image, then words; every row sums to 1."""
    patches = grid[0] * grid[1]
    keys = patches + len(words)
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(layers, heads, keys, keys)) * 2
    scores = np.where(np.tril(np.ones((keys, keys), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    row, column = np.divmod(np.arange(patches), grid[1])
    width, height = size / grid[1], size / grid[0]
    box = np.full((keys, 4), np.nan)
    box[1 : 1 + patches] = np.stack(
        [column * width, row * height, (column + 1) * width, (row + 1) * height], -1
    )

    def along(values):
        return ("key", np.concatenate([[-1], values, np.full(len(words) - 1, -1)]))

    roles = ["bos", *["vision"] * patches, *["user"] * (len(words) - 2), "template"]
    picture = rng.integers(60, 200, (size, size, 3), dtype=np.uint8)
    return xr.Dataset(
        {
            "attention": (
                ("layer", "head", "query", "key"),
                weights / weights.sum(-1, keepdims=True),
            ),
            "picture_0": (("y_0", "x_0", "rgb"), picture),
        },
        coords={
            "layer": np.arange(layers),
            "head": np.arange(heads),
            "query": np.arange(keys),
            "key": np.arange(keys),
            "token": ("key", [words[0], *["<image>"] * patches, *words[1:]]),
            "role": ("key", roles),
            "image": along(np.zeros(patches, int)),
            "tile": along(np.zeros(patches, int)),
            "row": along(row),
            "column": along(column),
            **{edge: ("key", box[:, i]) for i, edge in enumerate(EDGES)},
        },
        attrs={"question": "left?", "answer": "red"},
    )
