"""Which files of a folder are pictures, and which are left out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from PIL import Image

from vlmlens.annotations import checked
from vlmlens.datasets.reading import Base64, InParquet
from vlmlens.errors import DataError, ImageError
from vlmlens.picture import Encoded, Picture, know_heif, open_picture, printable
from vlmlens.sample import Sample

#: Endings that make a file a picture, also one that cannot be read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: What Pillow recognises by its content alone, whatever the file is called; HEIF with a plugin.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "QOI")
#: Pictures that are bytes somewhere, which may be damaged.
STORED = (str, Path, Encoded, InParquet, Base64)
#: Endings that questions and answers are published under, packed or not; and, of other files,
#: words of their names that say as much.
SHEETS = (".csv", ".tsv", ".xls", ".xlsx", ".ods")
TABLES = (*SHEETS, ".json", ".jsonl", ".ndjson", ".parquet", ".arrow")
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
ASKING = ("question", "answer", "annotation", "caption")


@dataclass(frozen=True)
class Listing:
    """The visible files of a folder and of its subfolders, linked ones too.

    Attributes:
        pictures: in the order of their paths.
        tables: what may hold questions, and is no picture.
        others: what is neither; pictures that Pillow cannot open here are among them.
    """

    pictures: tuple[Path, ...]
    tables: tuple[Path, ...]
    others: tuple[Path, ...]


def listing(folder: Path) -> Listing:
    """Every visible file, by what it is: a picture by its ending or by its content."""
    found: tuple[list[Path], list[Path], list[Path]] = ([], [], [])
    for path in sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        if path.suffix.lower() in SUFFIXES or _is_picture(path):
            found[0].append(path)
        elif _is_table(path):
            found[1].append(path)
        else:
            found[2].append(path)
    return Listing(*map(tuple, found))


def named(paths: Sequence[Path], folder: Path, most: int = 5) -> str:
    """The first of some files by their names, and how many more there are."""
    names = ", ".join(printable(path.relative_to(folder)) for path in paths[:most])
    return names + (f" and {len(paths) - most} more" if len(paths) > most else "")


@checked
def check_pictures(samples: Iterable[Sample], *, most: int = 0) -> None:
    """Read all samples' pictures, each once, before a model is opened for them.

    Those that lie in files, by themselves or in tables; what is in memory or drawn is left.

    Args:
        samples: whose pictures.
        most: how many samples may have a picture that cannot be read.

    Raises:
        ImageError: names every file that is missing, empty or damaged, and where it is asked for.

    Examples:
        >>> from pathlib import Path
        >>> vl.datasets.check_pictures(samples)  # drawn: nothing to read
        >>> vl.datasets.check_pictures([vl.Sample("What is this?", images=(Path("gone.png"),))])
        Traceback (most recent call last):
            ...
        vlmlens.errors.ImageError: ...there is no image gone.png; ...
    """
    wrong: dict[Picture, str] = {}
    checked: set[Picture] = set()
    failed = 0
    for sample in samples:
        stored = [one for one in sample.images if isinstance(one, STORED)]
        for one in stored:
            if one in checked:
                continue
            checked.add(one)
            try:
                _check(Path(one)) if isinstance(one, str | Path) else open_picture(one)
            except Exception as error:  # Pillow's readers raise whatever they stumble over
                wrong[one] = f"{sample.source or sample.named()}: {error}"
        failed += any(one in wrong for one in stored)
    if failed > most:
        heading = f"{len(wrong)} images cannot be read: " if len(wrong) > 1 else ""
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise ImageError(heading + "; ".join(list(wrong.values())[:10]) + more)


def _check(path: Path) -> None:
    name = printable(path)
    if path.is_dir():
        raise ImageError(f"{name} is a folder; name the image in it")
    if not path.is_file():
        if path.is_symlink():
            raise ImageError(
                f"{name} is a link to {printable(path.readlink())}, which is not there; mend it or "
                "take it out"
            )
        files = list(path.parent.iterdir()) if path.parent.is_dir() else []
        there = {each.name.lower(): each.name for each in files if each.is_file()}
        near = get_close_matches(path.name.lower(), there, n=1)
        advice = f"did you mean {printable(there[near[0]])}?" if near else ""
        raise ImageError(
            f"there is no image {name}; {advice or 'correct its name or put it there'}"
        )
    if path.stat().st_size == 0:
        raise ImageError(f"the image {name} is empty; replace it or take it out")
    try:
        with Image.open(path) as image:
            image.verify()  # checksums, where a format has them
        with Image.open(path) as image:
            image.draft("RGB", (64, 64))  # a JPEG's end is found missing with less work
            image.load()
            deep = image.mode in ("I", "F")
        if deep:
            open_picture(path)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ImageError(
            f"{name} is no readable image ({error}); replace it or take it out"
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    """Every visible file below a folder; folders first, then what is linked and not among them."""
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], []
    while folders or links:
        here = (folders or links).pop(0)
        try:
            state = here.stat()
            inside = sorted(here.iterdir())
        except OSError as error:
            raise DataError(
                f"cannot read the folder {printable(here)}: {error.strerror}"
            ) from error
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        for path in inside:
            # macOS leaves a hidden "._cat.png", which is no image, beside each "cat.png".
            if path.name.startswith("."):
                continue
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            else:
                yield path


def _is_picture(path: Path) -> bool:
    Image.init()
    know_heif()
    try:
        if not path.is_file():
            return False
        with Image.open(path, formats=[kind for kind in FORMATS if kind in Image.OPEN]):
            return True
    except Exception:  # Pillow's readers raise whatever they stumble over
        return False


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    if name == "meta.json" and (path.parent / "results.nc").is_file():
        return False  # what `vlmlens diagnose --out` left there
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name.endswith(TABLES) or any(word in name for word in ASKING)


def plugin(left: Iterable[Path]) -> str:
    """What to install for the files that are left out, as the end of a sentence."""
    if "HEIF" in Image.OPEN or not any(p.suffix.lower() in (".heic", ".heif") for p in left):
        return ""
    return "; .heic is opened after pip install pillow-heif"
