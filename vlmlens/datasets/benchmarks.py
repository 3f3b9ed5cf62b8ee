"""The table of published sets."""

from pathlib import Path

from vlmlens.datasets.benchmark import Benchmark
from vlmlens.datasets.blink import BLINK
from vlmlens.datasets.coco_captions import COCO_CAPTIONS
from vlmlens.datasets.cv_bench import CV_BENCH
from vlmlens.datasets.emb_spatial import EMB_SPATIAL
from vlmlens.datasets.gqa import GQA
from vlmlens.datasets.mmvp import MMVP
from vlmlens.datasets.pope import POPE
from vlmlens.datasets.real_world_qa import REAL_WORLD_QA
from vlmlens.datasets.spatial_eval import SPATIAL_EVAL
from vlmlens.datasets.spatial_mm import SPATIAL_MM
from vlmlens.datasets.vqa_v2 import VQA_V2
from vlmlens.datasets.vsr import VSR
from vlmlens.datasets.whatsup import WHATSUP

BENCHMARKS: dict[str, Benchmark] = {
    found.name: found
    for found in (
        POPE, MMVP, GQA, CV_BENCH, VQA_V2, VSR, WHATSUP, BLINK, SPATIAL_EVAL, SPATIAL_MM,
        EMB_SPATIAL, REAL_WORLD_QA, COCO_CAPTIONS,
    )
}  # fmt: skip


def recognised(folder: Path) -> Benchmark | None:
    """The set that a folder holds as it is published, if its files tell."""
    found = [each for each in BENCHMARKS.values() if each.is_in(folder)]
    return found[0] if len(found) == 1 else None
