"""Data sets: functions that give samples, lazy in their images. No torch here."""

from collections.abc import Callable
from pathlib import Path

from vlmlens.datasets.draw import drawn
from vlmlens.datasets.files import check_pictures
from vlmlens.datasets.image_folder import image_folder, left_out
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
    "left_out",
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
    question: str | None = None,
    check: bool = True,
) -> list[Sample]:
    """Samples of a data set, given as people name it on a command line.

    Args:
        data: ``"shapes-2d"``, a folder of images, or a ``.parquet`` file.
        samples: at most how many; by default all of a folder or file, and 600 of shapes-2d.
            Of more, as many are drawn by the seed and kept in their order.
        seed: what shapes-2d draws its scenes by, and what chooses among too many samples.
        question: what is asked of each image of a folder that holds no table of questions.
        check: read every image of a folder once, so that what is missing or damaged is named now.

    Raises:
        DataError: there is no such data set, it holds nothing that can be used, or it asks its
            own questions and another one is given.
        ImageError: it names images that cannot be read.
    """
    drawn([], samples, seed)  # says what is wrong with the number
    path = Path(data)
    if question is not None and not path.is_dir() and (data == "shapes-2d" or path.is_file()):
        raise DataError(f"{data} asks its own questions: {question!r} would be asked of no image")
    if data == "shapes-2d":
        return shapes_2d(seed=seed) if samples is None else shapes_2d(samples, seed=seed)
    if path.suffix.lower() == ".parquet" and not path.is_dir():
        return read_parquet(path, samples=samples, seed=seed)
    if path.is_dir():
        chosen = drawn(image_folder(path, question=question, check=False), samples, seed)
        if check:
            check_pictures(chosen)
        return chosen
    state = "is a file of no kind that we read" if path.is_file() else "is not there"
    raise DataError(
        f"no data set {str(data)!r}: as a path, it {state}. There is: shapes-2d, the path of a "
        "folder of images (with a questions.csv or questions.jsonl, if you like), or that of "
        "a .parquet file in the columns of 2DS"
    )
