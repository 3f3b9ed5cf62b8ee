"""Pictures that a table holds, or names."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from vlmlens.errors import DataError, ImageError
from vlmlens.picture import Encoded, state_of


@dataclass(frozen=True)
class InParquet:
    """A picture in a parquet file, read when somebody opens it.

    Attributes:
        path: the file.
        group: which of its row groups.
        row: of the group.
        column: where the pictures are, as ``{bytes, path}``.
        state: of the file, when its table was read: other questions may lie in it by now.
        name: what the file calls the picture.

    Examples:
        >>> from vlmlens.datasets.reading import rows
        >>> vl.datasets.write_parquet(samples, "shapes.parquet")
        >>> picture = next(rows("shapes.parquet"))["image_filename"]
        >>> type(picture).__name__, picture().size
        ('InParquet', (224, 224))
    """

    path: Path
    group: int
    row: int
    column: str
    state: tuple[int, ...] = field(repr=False, compare=False)
    name: str = ""

    def __call__(self) -> Image.Image:
        if not self.path.is_file() or state_of(self.path) != self.state:
            raise ImageError(f"{self.path} changed since its questions were read: read it again")
        cells = _column(self.path, self.state, self.group, self.column)
        data = cells[self.row].as_py()["bytes"]
        if data is None and not self.name:
            raise ImageError(
                f"{self.path}, row {self.row} of group {self.group}: {self.column} holds neither a "
                "picture nor the name of one; fill it in"
            )
        try:  # a picture may lie beside the file, which then knows its name only
            image = Image.open(self.path.parent / self.name if data is None else BytesIO(data))
            image.load()
        except Exception as error:  # Pillow's readers raise whatever they stumble over
            where = f"{self.path}, row {self.row} of group {self.group}"
            raise ImageError(f"cannot read the image {self.name} of {where}: {error}") from error
        return image


@dataclass(frozen=True)
class Base64:
    """A picture that a table holds as text, decoded when somebody opens it.

    Attributes:
        text: the file's bytes, in base64.
        name: what messages call it.

    Examples:
        >>> import base64, io
        >>> from vlmlens.datasets.reading import Base64
        >>> buffer = io.BytesIO()
        >>> sample.images[0]().save(buffer, "PNG")
        >>> picture = Base64(base64.b64encode(buffer.getvalue()).decode(), "row 1")
        >>> picture, picture().size
        (Base64(name='row 1'), (224, 224))
    """

    text: str = field(repr=False)
    name: str

    def __call__(self) -> Image.Image:
        try:
            data = base64.b64decode("".join(self.text.split()), validate=True)
        except ValueError as error:
            raise ImageError(f"the image of {self.name} is no base64: {error}") from error
        return Encoded(data, f"of {self.name}")()


@lru_cache(maxsize=2)  # neighbours are asked for one after the other
def _column(path: Path, state: tuple[int, ...], group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column])[column].combine_chunks()


def lookup(name: str, folder: Path, below: Iterable[str], origin: str, where: str) -> Path:
    """The file of a picture that a table names.

    Args:
        name: what the table calls it.
        folder: where the set lies.
        below: folders in it that the picture may be in; "" is the folder itself.
        origin: where such pictures come from, for those who lack them.
        where: the row, for the message.

    Raises:
        DataError: it is in none of them.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.datasets.reading import lookup
        >>> Path("val2014").mkdir()
        >>> Path("val2014/a.png").touch()
        >>> lookup("a.png", Path(), ("", "val2014"), "COCO", "row 1").as_posix()
        'val2014/a.png'
    """
    places = [folder / part / name for part in below]
    for place in places:
        if place.is_file():
            return place
    listed = " or ".join(str(place) for place in places)
    raise DataError(f"{where}: there is no picture {listed}; put it there: it comes from {origin}")
