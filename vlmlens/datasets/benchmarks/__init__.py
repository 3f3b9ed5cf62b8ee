"""Published sets, one a file, as data: how it is asked, and which of the ``graders`` scores it."""

import os
from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.benchmarks.blink import BLINK
from vlmlens.datasets.benchmarks.coco_captions import COCO_CAPTIONS
from vlmlens.datasets.benchmarks.cv_bench import CV_BENCH
from vlmlens.datasets.benchmarks.emb_spatial import EMB_SPATIAL
from vlmlens.datasets.benchmarks.gqa import GQA
from vlmlens.datasets.benchmarks.mmvp import MMVP
from vlmlens.datasets.benchmarks.pope import POPE
from vlmlens.datasets.benchmarks.real_world_qa import REAL_WORLD_QA
from vlmlens.datasets.benchmarks.spatial_bench import SPATIAL_BENCH
from vlmlens.datasets.benchmarks.spatial_eval import SPATIAL_EVAL
from vlmlens.datasets.benchmarks.spatial_mm import SPATIAL_MM
from vlmlens.datasets.benchmarks.two_ds import TWO_DS
from vlmlens.datasets.benchmarks.vqa_v2 import VQA_V2
from vlmlens.datasets.benchmarks.vsr import VSR
from vlmlens.datasets.benchmarks.whatsup import WHATSUP
from vlmlens.picture import at_home

__all__ = ["BENCHMARKS", "Benchmark", "Prompt", "asked_for", "published", "recognised"]

#: Every published set by its name.
BENCHMARKS: dict[str, Benchmark] = {
    found.name: found
    for found in (
        POPE, MMVP, GQA, CV_BENCH, VQA_V2, VSR, WHATSUP, BLINK, SPATIAL_EVAL, SPATIAL_MM,
        SPATIAL_BENCH, EMB_SPATIAL, REAL_WORLD_QA, COCO_CAPTIONS, TWO_DS,
    )
}  # fmt: skip


def recognised(folder: Path) -> Benchmark | None:
    """The set that a folder holds as it is published, if its files tell.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.datasets.benchmarks import recognised
        >>> recognised(Path()) is None
        True
        >>> Path("coco_pope_random.json").touch()
        >>> recognised(Path()).name
        'pope'
    """
    found = [each for each in BENCHMARKS.values() if each.is_in(folder)]
    return found[0] if len(found) == 1 else None


def asked_for(data: str) -> tuple[Benchmark, str, Path] | None:
    """The set, the split and the folder that a text asks for; None where it names no set.

    ``pope``, ``pope:random`` or ``pope:random@FOLDER``. Without a folder, the files are in one of
    the set's name, below the folder that the environment variable VLMLENS_DATA names, or ``data``.

    Examples:
        >>> from vlmlens.datasets.benchmarks import asked_for
        >>> benchmark, split, folder = asked_for("pope:random@files/pope")
        >>> benchmark.name, split, folder.name
        ('pope', 'random', 'pope')
        >>> asked_for("shapes-2d") is None
        True
    """
    text, _, folder = data.partition("@")
    name, _, split = text.partition(":")
    if name not in BENCHMARKS:
        return None
    root = Path(os.environ.get("VLMLENS_DATA") or "data")
    return BENCHMARKS[name], split, Path(folder) if folder else root / name


def published(data: str | Path) -> tuple[Benchmark, str, Path] | None:
    """The same, of what may also be a path: what is there under that name comes first.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.datasets.benchmarks import published
        >>> published("pope")[0].name
        'pope'
        >>> Path("pope").mkdir()
        >>> published("pope") is None
        True
    """
    return None if at_home(data).exists() else asked_for(str(data))
