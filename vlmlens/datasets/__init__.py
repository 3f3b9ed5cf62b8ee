"""Data sets: functions that give samples, lazy in their images. No torch here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlmlens.datasets.image_folder import image_folder
from vlmlens.datasets.shapes_2d import shapes_2d
from vlmlens.datasets.shapes_2d.pairs import Pair, counterfactual_pairs
from vlmlens.datasets.shapes_2d.parquet import read_parquet, write_parquet
from vlmlens.errors import DataError
from vlmlens.sample import Sample

__all__ = [
    "DATASETS",
    "Pair",
    "counterfactual_pairs",
    "image_folder",
    "load",
    "read_parquet",
    "shapes_2d",
    "write_parquet",
]

DATASETS: dict[str, Callable[..., list[Sample]]] = {
    "shapes-2d": shapes_2d,
    "image-folder": image_folder,
    "parquet": read_parquet,
}


def load(
    data: str | Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    question: str = "Describe the image.",
) -> list[Sample]:
    """Samples of a data set, given as people name it on a command line.

    Args:
        data: ``"shapes-2d"``, a folder of images, or a ``.parquet`` file.
        samples: at most how many; by default all of a folder or file, and 600 of shapes-2d.
            Of more, as many are drawn by the seed and kept in their order.
        seed: what shapes-2d draws its scenes by, and what chooses among too many samples.
        question: what is asked of each image of a folder that holds no table of questions.

    Raises:
        DataError: there is no such data set, or it holds nothing that can be used.
        ImageError: it names an image that cannot be read.
    """
    if samples is not None and samples < 1:
        raise DataError(f"{samples} samples asked for; ask for at least one, or leave it out")
    if data == "shapes-2d":
        return shapes_2d(seed=seed) if samples is None else shapes_2d(samples, seed=seed)
    path = Path(data)
    if path.is_dir():
        found = image_folder(path, question=question)
    elif path.suffix.lower() == ".parquet":
        found = read_parquet(path)
    else:
        state = "is a file of no kind that we read" if path.is_file() else "is not there"
        raise DataError(
            f"no data set {str(data)!r}: as a path, it {state}. There is: shapes-2d, the path of a "
            "folder of images (with a questions.csv or questions.jsonl, if you like), or that of "
            "a .parquet file in the columns of 2DS"
        )
    if samples is None or len(found) <= samples:
        return found
    if seed < 0:
        raise DataError(f"the seed {seed} is negative; take 0 or more")
    chosen = np.random.default_rng(seed).choice(len(found), samples, replace=False)
    return [found[i] for i in sorted(chosen)]
