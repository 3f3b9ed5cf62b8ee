"""Data sets: functions that give samples, lazy in their images. No torch here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from vlmlens import moved
from vlmlens.annotations import checked
from vlmlens.checks import found_at
from vlmlens.datasets import shapes
from vlmlens.datasets.benchmarks import BENCHMARKS, asked_for, published, recognised
from vlmlens.datasets.cutouts import photo_pairs
from vlmlens.datasets.draw import drawn
from vlmlens.datasets.fetching import fetch_set
from vlmlens.datasets.files import check_pictures
from vlmlens.datasets.folders import NAMES, image_folder, left_out, table_of, ways_to_ask
from vlmlens.datasets.reading import ENDINGS
from vlmlens.datasets.shapes import shapes_2d
from vlmlens.datasets.shapes.pairs import Pair, counterfactual_pairs
from vlmlens.datasets.shapes.parquet import is_published, read_parquet, write_parquet
from vlmlens.datasets.tables import read_table
from vlmlens.errors import DataError
from vlmlens.graders import GRADERS, Rule
from vlmlens.picture import at_home
from vlmlens.sample import Sample

moved.already("vlmlens.datasets.shapes_2d", shapes)

__all__ = [
    "BENCHMARKS",
    "DATASETS",
    "Pair",
    "check_pictures",
    "counterfactual_pairs",
    "fetch_set",
    "image_folder",
    "left_out",
    "load",
    "photo_pairs",
    "read_parquet",
    "read_table",
    "rule_of_set",
    "shapes_2d",
    "write_parquet",
]

DATASETS: dict[str, Callable[..., list[Sample]]] = {
    "shapes-2d": shapes_2d,
    "image-folder": image_folder,
    "parquet": read_parquet,
    "table": read_table,
}


@checked
def load(
    data: str | Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    question: str | None = None,
    prompt: str = "",
    columns: Mapping[str, str] | str | None = None,
    check: bool = True,
) -> list[Sample]:
    """Samples of a data set, given as people name it on a command line.

    Args:
        data: ``"shapes-2d"``, a folder of images, a table of questions (``.csv``, ``.tsv``,
            ``.json``, ``.jsonl``, ``.parquet``), or a published set by its name, with a split and
            the folder of its files: ``"pope"``, ``"pope:random@FOLDER"``.
        samples: at most how many; by default all of a folder or file, and 600 of shapes-2d.
            Of more, as many are drawn by the seed and kept in their order; of pairs and sets of
            questions that count as one, whole ones.
        seed: what shapes-2d draws its scenes by, and what chooses among too many samples.
        question: what is asked of each image of a folder that holds no table of questions.
        prompt: which of a published set's own ways to ask; by default its first.
        columns: what holds what in a table of one's own: ``{"question": "text"}``, or
            ``"question=text,answer=label"``; see ``read_table``.
        check: read every image of a folder or table once, so that what is missing or damaged is
            named now.

    Raises:
        DataError: there is no such data set, it holds nothing that can be used, or it asks its
            own questions and another one is given.
        ImageError: it names images that cannot be read.

    Examples:
        >>> found = vl.datasets.load("shapes-2d", samples=3)
        >>> found[0].question, found[0].answer
        ('What color is at the top?', 'green')
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
    if columns is not None and (published is not None or data == "shapes-2d"):
        raise DataError(f"columns={columns!r} are of a table of your own; {data} is none")
    if published is not None:
        benchmark, split, folder = published
        return drawn(benchmark.load(folder, split, prompt), samples, seed)
    if data == "shapes-2d":
        return shapes_2d(seed=seed) if samples is None else shapes_2d(samples, seed=seed)
    if here == "folder":
        chosen = drawn(_folder(path, question, columns), samples, seed)
    elif here and path.suffix.lower() in ENDINGS:
        chosen = _file(path, samples, seed, columns)
    else:
        raise _unknown(data, here)
    if check:
        check_pictures(chosen)
    return chosen


@checked
def rule_of_set(data: str | Path) -> Rule:
    """What grades the answers to a set's questions: a published set's own rule, else ``letter``.

    Args:
        data: as for ``load``.

    Examples:
        >>> vl.datasets.rule_of_set("pope:random").name, vl.datasets.rule_of_set("mine/").name
        ('yes_no', 'letter')
    """
    named = published(data)
    return (named and named[0].rule) or GRADERS["letter"]


def _folder(
    path: Path, question: str | None, columns: Mapping[str, str] | str | None
) -> list[Sample]:
    published = recognised(path)
    advice = published and (
        f"It looks like {published.title} as it is published: ask for it as {published.name}@{path}"
    )
    table = table_of(path) if advice and question is None and columns is None else None
    if table is not None and table.name not in NAMES:
        raise DataError(f"{table} is not read so. {ways_to_ask(path)}. {advice}")
    try:
        return image_folder(path, question=question, columns=columns, check=False)
    except DataError as error:
        if advice is None:
            raise
        raise DataError(f"{error}. {advice}") from error


def _file(
    path: Path, samples: int | None, seed: int, columns: Mapping[str, str] | str | None
) -> list[Sample]:
    if path.suffix.lower() != ".parquet" or not is_published(path):
        return drawn(read_table(path, columns=columns), samples, seed)
    if columns is not None:
        raise DataError(f"{path} is in the columns of 2DS, which are known: leave columns= out")
    return read_parquet(path, samples=samples, seed=seed)


def _unknown(data: str | Path, here: str) -> DataError:
    state = "is a file of no kind that we read" if here else "is not there"
    return DataError(
        f"no data set {str(data)!r}: as a path, it {state}. There is: shapes-2d, the path of a "
        "folder of images (with a table of questions, if you like), that of a table of questions "
        f"({', '.join(ENDINGS)}), and published sets: " + ", ".join(BENCHMARKS)
    )
