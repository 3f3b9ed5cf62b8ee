"""2DS as a parquet file, in the columns of the published set ``user074/2DSyntheticDataset``."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from vlmlens.annotations import checked
from vlmlens.datasets.draw import places
from vlmlens.datasets.reading import Row
from vlmlens.datasets.reading.cells import choices_of
from vlmlens.datasets.shapes import Drawn, Entry
from vlmlens.errors import DataError, ImageError
from vlmlens.picture import Encoded, Picture, at_home, open_picture
from vlmlens.sample import Sample

#: What is read; the published set has ``objects`` too, which no sample needs.
IMAGE = "image_filename"
COLUMNS = ("entry_id", "test_category", IMAGE, "qa_pairs")
#: How many rows' images are in memory at once, asked about or not.
FEW = 16
#: How many rows are written together. Of a group that a row is wanted of, more may be in memory.
GROUP = 64


def is_published(path: Path) -> bool:
    """Whether a parquet file has the columns of 2DS, or is none that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return "qa_pairs" in pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return True  # which ``read_parquet`` then says


@checked
def read_parquet(path: str | Path, *, samples: int | None = None, seed: int = 0) -> list[Sample]:
    """The questions of a parquet file in the published set's columns, one sample each.

    A sample's category is its ``qa_category``, or else the row's ``test_category``; its id is
    the row's ``entry_id``, with the question's number behind it where the row asks several and
    the row's where another row has the same. Of the images, only those that are asked about are
    read, and they stay encoded until they are opened.

    Args:
        path: of the file.
        samples: at most how many; of more, as many are drawn and kept in their order.
        seed: what draws them.

    Raises:
        DataError: the file is missing, no parquet, lacks columns or holds no questions.
        ImageError: a row has no image, or names a file that is not there.

    Examples:
        >>> vl.datasets.write_parquet(samples, "shapes.parquet")
        >>> found = vl.datasets.read_parquet("shapes.parquet")
        >>> [each.answer for each in found] == [each.answer for each in samples]
        True
    """
    path = at_home(path)
    with _opened(path) as file:
        rows = file.read(columns=[name for name in COLUMNS if name != IMAGE]).to_pylist()
    ids = Counter(str(row["entry_id"]) for row in rows)
    asked: list[tuple[int, Sample]] = []
    for number, row in enumerate(rows):
        where = f"{path}, row {number}"
        name = str(row["entry_id"])
        name += f"@{number}" if ids[name] > 1 else ""
        asked += [(number, sample) for sample in questions(Row(where, row), name)]
    if not asked:
        raise DataError(f"{path} holds no questions: it has {len(rows)} rows, and none asks any")
    chosen = places([str(place) for place in range(len(asked))], samples, seed)
    asked = [asked[place] for place in chosen]
    images = _images(path, {number for number, _ in asked})
    return [replace(sample, images=(images[number],)) for number, sample in asked]


def questions(
    row: Row,
    name: str,
    images: tuple[Picture, ...] = (),
    groups: tuple[tuple[str, str], ...] = (),
) -> list[Sample]:
    """What one row asks, a sample each.

    Args:
        row: with ``qa_pairs`` and ``test_category``.
        name: of the row; a question's number is put behind it where there are several.
        images: of every sample.
        groups: of every sample.

    Raises:
        DataError: a question that is none, or choices that are none.
    """
    pairs = row["qa_pairs"] or []
    if not isinstance(pairs, list):
        raise DataError(f"{row.where}: qa_pairs is {pairs!r:.60}; it should be a list of questions")
    found = []
    for i, pair in enumerate(pairs):
        if not isinstance(pair, dict) or not isinstance(pair.get("question"), str):
            raise DataError(f"{row.where}: qa_pairs[{i}] has no question; there is: {pair!r}")
        found.append(
            Sample(
                question=pair["question"],
                images=images,
                answer=None if pair.get("answer") is None else str(pair["answer"]),
                choices=choices_of(pair.get("choices"), row.where),
                category=pair.get("qa_category") or row["test_category"] or "",
                id=name if len(pairs) == 1 else f"{name}-{i}",
                source=row.where,
                groups=groups,
            )
        )
    return found


@checked
def write_parquet(samples: Iterable[Sample | Entry], path: str | Path) -> None:
    """Write samples of one image each, a row for each, as ``read_parquet`` reads them.

    ``objects`` tells the shapes of scenes of our own, in fractions of the picture, and is empty
    for other images. Each of ``qa_pairs`` also holds the ``choices``, which the published set
    lacks: without them, what is read back would be scored as free text.

    Raises:
        DataError: no samples, one with no image or several, or a folder that is not there.

    Examples:
        >>> vl.datasets.write_parquet(samples, "shapes.parquet")
        >>> len(vl.datasets.read_parquet("shapes.parquet"))
        4
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(s.sample() if isinstance(s, Entry) else s, n) for n, s in enumerate(samples)]
    if not rows:
        raise DataError(f"no samples to write to {path}")
    if not Path(path).parent.is_dir():
        raise DataError(f"cannot write {path}: there is no folder {Path(path).parent}; make it")
    text, number = pa.string(), pa.float64()
    shape = {"shape": text, "color": text, "x": number, "y": number, "radius": number}
    pair = {"question": text, "answer": text, "qa_category": text, "choices": pa.list_(text)}
    schema = pa.schema(
        {
            "entry_id": text,
            "test_category": text,
            "image_filename": pa.struct({"bytes": pa.binary(), "path": text}),
            "objects": pa.list_(pa.struct(shape)),
            "qa_pairs": pa.list_(pa.struct(pair)),
        }
    )
    # In groups, so that a few rows can be read without the images of all others.
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=GROUP)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, read bit by bit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        state = "it is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"cannot read the parquet file {path}: {state}")
    try:
        with pq.ParquetFile(path, buffer_size=2**20) as file:
            there = file.schema_arrow.names
            if missing := [column for column in COLUMNS if column not in there]:
                raise DataError(
                    f"{path} has no column {', '.join(missing)}; there is: {', '.join(there)}"
                )
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no readable parquet file ({error}); if it was cloned without git-lfs, it "
            "is only a pointer: fetch it with git lfs pull"
        ) from error


def _images(path: Path, wanted: set[int]) -> dict[int, Picture]:
    """The pictures of some rows; the others pass by a few at a time."""
    found: dict[int, Picture] = {}
    row = 0
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            after = row + file.metadata.row_group(group).num_rows
            if wanted.isdisjoint(range(row, after)):
                row = after
                continue
            for few in file.iter_batches(FEW, row_groups=[group], columns=[IMAGE]):
                for value in few.column(0):
                    if row in wanted:
                        found[row] = _picture(value.as_py(), path.parent, f"{path}, row {row}")
                    row += 1
    return found


def _picture(image: Any, folder: Path, where: str) -> Picture:
    """The picture of an image struct, of plain bytes, or of a path relative to the folder."""
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes) and image:
        return Encoded(image, where)
    if not isinstance(image, str) or not image:
        raise ImageError(f"{where}: image_filename holds neither bytes nor a path")
    if not (folder / image).is_file():
        raise ImageError(f"{where}: there is no image {folder / image}")
    return folder / image


def _row(sample: Sample, number: int) -> dict[str, Any]:
    name = sample.id or f"{number:05d}"
    if len(sample.images) != 1:
        raise DataError(f"sample {name} has {len(sample.images)} images; a row holds exactly one")
    (image,) = sample.images
    png = BytesIO()
    open_picture(image).save(png, "PNG")
    return {
        "entry_id": name,
        "test_category": sample.category,
        "image_filename": {"bytes": png.getvalue(), "path": f"{name}.png"},
        "objects": [asdict(s) for s in image.scene.shapes] if isinstance(image, Drawn) else [],
        "qa_pairs": [
            {
                "question": sample.question,
                "answer": sample.answer,
                "qa_category": sample.category,
                "choices": list(sample.choices),
            }
        ],
    }
