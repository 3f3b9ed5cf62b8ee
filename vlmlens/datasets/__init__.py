"""Data sets: functions that give samples, lazy in their images. No torch here."""

from collections.abc import Callable
from pathlib import Path

from vlmlens import moved
from vlmlens.checks import found_at, told
from vlmlens.datasets import shapes
from vlmlens.datasets.benchmarks import BENCHMARKS, asked_for, recognised
from vlmlens.datasets.draw import drawn
from vlmlens.datasets.files import check_pictures
from vlmlens.datasets.folders import image_folder, left_out
from vlmlens.datasets.shapes import shapes_2d
from vlmlens.datasets.shapes.pairs import Pair, counterfactual_pairs
from vlmlens.datasets.shapes.parquet import read_parquet, write_parquet
from vlmlens.errors import DataError
from vlmlens.picture import at_home
from vlmlens.sample import Sample

moved.already("vlmlens.datasets.shapes_2d", shapes)

__all__ = [
    "BENCHMARKS",
    "DATASETS",
    "Pair",
    "check_pictures",
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


@told
def load(
    data: str | Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    question: str | None = None,
    prompt: str = "",
    check: bool = True,
) -> list[Sample]:
    """Samples of a data set, given as people name it on a command line.

    Args:
        data: ``"shapes-2d"``, a folder of images, a ``.parquet`` file, or a published set by its
            name, with a split and the folder of its files: ``"pope"``, ``"pope:random@FOLDER"``.
        samples: at most how many; by default all of a folder or file, and 600 of shapes-2d.
            Of more, as many are drawn by the seed and kept in their order.
        seed: what shapes-2d draws its scenes by, and what chooses among too many samples.
        question: what is asked of each image of a folder that holds no table of questions.
        prompt: which of a published set's own ways to ask; by default its first.
        check: read every image of a folder or parquet file once, so that what is missing or damaged
            is named now.

    Raises:
        DataError: there is no such data set, it holds nothing that can be used, or it asks its
            own questions and another one is given.
        ImageError: it names images that cannot be read.
    """
    drawn([], samples, seed)  # says what is wrong with the number
    path = at_home(data)
    here = found_at(path)
    published = None if here else asked_for(str(data))
    own = data == "shapes-2d" or here == "file" or published is not None
    if question is not None and own and here != "folder":
        raise DataError(f"{data} asks its own questions: {question!r} would be asked of no image")
    if prompt and published is None:
        raise DataError(f"prompt={prompt!r} is a way to ask a published set; {data} is none")
    if published is not None:
        benchmark, split, folder = published
        return drawn(benchmark.load(folder, split, prompt), samples, seed)
    if data == "shapes-2d":
        return shapes_2d(seed=seed) if samples is None else shapes_2d(samples, seed=seed)
    if path.suffix.lower() == ".parquet" and here != "folder":
        chosen = read_parquet(path, samples=samples, seed=seed)
        if check:
            check_pictures(chosen)
        return chosen
    if here == "folder":
        try:
            found = image_folder(path, question=question, check=False)
        except DataError as error:
            if (benchmark := recognised(path)) is None:
                raise
            raise DataError(
                f"{error}. It looks like {benchmark.title} as it is published: ask for it as "
                f"{benchmark.name}@{path}"
            ) from error
        chosen = drawn(found, samples, seed)
        if check:
            check_pictures(chosen)
        return chosen
    state = "is a file of no kind that we read" if here else "is not there"
    raise DataError(
        f"no data set {str(data)!r}: as a path, it {state}. There is: shapes-2d, the path of a "
        "folder of images (with a questions.csv or questions.jsonl, if you like), that of "
        "a .parquet file in the columns of 2DS, and published sets: " + ", ".join(BENCHMARKS)
    )
