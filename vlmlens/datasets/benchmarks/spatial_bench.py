"""SpatialBench: positions, existence, counts, reach, size. Cai et al. 2024, arXiv:2406.13642."""

from pathlib import Path

from vlmlens.datasets.benchmarks.benchmark import Benchmark, Prompt
from vlmlens.datasets.reading import Row, lookup, rows
from vlmlens.errors import DataError
from vlmlens.sample import Sample

ORIGIN = (
    "the hub, RussRobin/SpatialBench (positional.json and the others, with the folders of their "
    "images), once its conditions are accepted there and HF_TOKEN is set"
)
KINDS = ("positional", "existence", "counting", "reach", "size")
#: Kinds whose neighbouring rows are a pair; those where each right answer of it counts, too.
PAIRED, BONUS = ("existence", "reach", "size"), ("reach", "size")


def read(folder: Path, split: str) -> list[Sample]:
    """One of the five files, or all that are there; the colour image of each row, not its depth."""
    wanted = KINDS if split == "all" else (split,)
    there = [kind for kind in wanted if (folder / f"{kind}.json").is_file()]
    for kind in wanted if not there else ():
        SPATIAL_BENCH.table(folder, f"{kind}.json")
    found = []
    for kind in there:
        mine = list(rows(folder / f"{kind}.json"))
        if kind in PAIRED and len(mine) % 2:
            raise DataError(f"{folder / kind}.json has {len(mine)} rows, and these are pairs")
        found += [_sample(row, folder, kind, number) for number, row in enumerate(mine)]
    return found


def _sample(row: Row, folder: Path, kind: str, number: int) -> Sample:
    named = row["image"]
    files = [named] if isinstance(named, str) else named
    if not isinstance(files, list) or not all(isinstance(each, str) for each in files) or not files:
        raise DataError(f"{row.where}: image is {named!r:.60}; it should name files")
    colour = [each for each in files if f"{kind}_d/" not in each] or files[:1]
    images = tuple(lookup(each, folder, ("", kind), ORIGIN, row.where) for each in colour)
    pair = f"{kind}-{number // 2}"
    groups = (("pair", pair),) if kind in PAIRED else ()
    groups += (("bonus", pair),) if kind in BONUS else ()
    answer = row.text("answer").strip()
    return Sample(row.text("question"), images, answer, (), kind, f"{kind}-{number}", groups=groups)


SPATIAL_BENCH = Benchmark(
    name="spatial-bench",
    title="SpatialBench",
    origin=ORIGIN,
    read=read,
    splits=("all", *KINDS),
    marks=("positional.json", "reach.json"),
    prompts={"bare": Prompt()},
    grader="spatial_bench",
    metrics=("pair_bonus", "pair_accuracy", "accuracy"),
    unit="pair",
    hub="RussRobin/SpatialBench",
    files=("{split}.json", "{split}/*"),
    licence="CC BY 4.0",
)
