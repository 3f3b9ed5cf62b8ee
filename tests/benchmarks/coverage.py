"""What intervals cover and how often tests reject, by simulation: ``make coverage``.

Every row draws many data sets of which the truth is known. An interval of 95 % should hold it in
.95 of them; a test at .05 should reject in .05, and a corrected map should hold a finding in no
more. Rows that are done are kept, so that a second call goes on where the first stopped; the
table goes into docs/statistics.md.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats

from vlmlens import draws, estimates
from vlmlens.probes import dose, dose_response, position_sensitivity_index, psi
from vlmlens.probes import statistics as st
from vlmlens.probes.statistics import between, clusters, intervals, maps, paired, redrawn
from vlmlens.study import paired as models
from vlmlens.study.paired import CONDITIONS, compared

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "statistics.md"
BEGIN, END = "<!-- coverage -->\n", "<!-- /coverage -->"
#: Where the numbers come from: a row is done again once one of these has changed.
SOURCES = (draws, estimates, models, maps, redrawn, intervals, clusters, paired, psi, dose)
SOURCES += (between,)
CELLS = 32
CHANCE = 0.2  # of guessing, in simulated answers
SETS = "data sets"
NORMAL = stats.norm

Draw = Callable[[np.random.Generator], np.ndarray]
SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "lognormal": lambda rng, size: rng.lognormal(size=size) - np.exp(0.5),
}
#: How many questions each picture has.
PICTURES: dict[str, list[int]] = {
    "12 questions": [1] * 12,
    "40 questions": [1] * 40,
    "240 questions": [1] * 240,
    "10 pictures x 4": [4] * 10,
    "60 pictures x 4": [4] * 60,
    "10 pictures of 1 to 12": [1, 2, 3, 4, 12] * 2,
    "60 pictures of 1 to 12": [1, 2, 3, 4, 12] * 12,
}


@dataclass(frozen=True)
class Row:
    """One simulation: what is claimed, of what data, and one data set's answers to it.

    Attributes:
        what: the method.
        data: the distribution and the number of draws.
        nominal: what the share should be.
        sets: how many data sets.
        once: from a generator, names of claims -> whether each came true.
    """

    what: str
    data: str
    nominal: float
    sets: int
    once: Callable[[np.random.Generator], Mapping[str, bool]]

    def measured(self, sets: int | None = None) -> dict[str, float]:
        """Shares of data sets in which the claims came true."""
        count = self.sets if sets is None else min(sets, self.sets)
        rng = np.random.default_rng(0)
        found = [self.once(rng) for _ in range(count)]
        shares = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        return {SETS: count} | shares


def array(x: np.ndarray, *dims: str, **coords: object) -> xr.DataArray:
    """Values with names."""
    return xr.DataArray(x, dims=dims, coords=coords)


def mapped(draw: Draw, pictures: list[int] | None = None, *, flips: bool = True):
    """Whether a map in which nothing differs holds a finding, by test and correction."""

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        x = array(draw(rng), "sample", "cell")
        if pictures:
            x = x.assign_coords(picture=("sample", np.repeat(np.arange(len(pictures)), pictures)))
        seed = int(rng.integers(2**31))
        ways = [("mean", "max"), ("mean", "fdr"), *([("exchange", "max")] if flips else [])]
        return {
            f"{test}, {correction}": bool(
                st.map_test(x, test=test, correction=correction, permutations=299, seed=seed)[
                    "significant"
                ].any()
            )
            for test, correction in ways
        }

    return once


def clustered(shape: str, n: int):
    """Whether a grid in which nothing differs holds a cluster."""

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        x = SHAPES[shape](rng, (n, 8, 8))
        x = x + np.roll(x, 1, 1) + np.roll(x, 1, 2)
        found = st.cluster_test(array(x, "sample", "row", "column"), permutations=199)
        return {"clusters": bool((found["p"] < 0.05).any())}

    return once


def mean_covered(draw: Draw, truth: float):
    """Whether the interval of a mean holds the true one; 40 cells at once."""

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        found = st.mean_map(array(draw(rng), "sample", "cell"))
        return {"mean_map": np.mean((found["low"] <= truth) & (truth <= found["high"]))}  # type: ignore[dict-item]

    return once


def answers(
    rng: np.random.Generator, pictures: list[int], intact: float, shuffled: float, shuffles: int
) -> xr.DataArray:
    """Right and wrong answers whose questions share what is hard about their picture."""
    own = np.repeat(np.arange(len(pictures)), pictures)
    n = len(own)

    def hard() -> np.ndarray:
        return (rng.normal(size=len(pictures))[own] + rng.normal(size=n)) / np.sqrt(2)

    plain = hard()
    moved = 0.6 * plain + 0.8 * hard()
    columns = [plain < NORMAL.ppf(intact)]
    for _ in range(shuffles):
        noise = rng.normal(size=n)
        columns.append(np.sqrt(0.7) * moved + np.sqrt(0.3) * noise < NORMAL.ppf(shuffled))
    names = ["original", *(f"seed {k}" for k in range(shuffles))]
    x = array(np.array(columns, dtype=float).T, "sample", "permutation", permutation=names)
    return x.assign_coords(picture=("sample", own), chance=("sample", np.full(n, CHANCE)))


def psi_covered(pictures: list[int], intact: float, shuffled: float):
    """Whether the intervals of PSI, in both forms, and of both accuracies hold the true ones."""
    truth = {
        "psi": 100 * (1 - shuffled / intact),
        "accuracy": intact,
        "accuracy_permuted": shuffled,
        "psi_corrected": 100 * (intact - shuffled) / (intact - CHANCE),
    }

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        found = position_sensitivity_index(answers(rng, pictures, intact, shuffled, 5))
        return {
            name: bool(found[f"{name}_low"][0] <= true <= found[f"{name}_high"][0])
            for name, true in truth.items()
        }

    return once


def differing(pictures: list[int]):
    """Whether the intervals of two models' differences hold the true ones."""
    one, other = (0.9, 0.7), (0.8, 0.5)
    psi = [100 * (1 - shuffled / intact) for intact, shuffled in (one, other)]
    truth = {"accuracy": other[0] - one[0], "psi": psi[1] - psi[0]}

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        found = compared(*two_models(rng, pictures, one, other)).isel(kind=0)
        return {
            name: bool(found[f"{name}_low"] <= true <= found[f"{name}_high"])
            for name, true in truth.items()
        }

    return once


def two_models(
    rng: np.random.Generator, pictures: list[int], *shares: tuple[float, float]
) -> list[xr.DataArray]:
    """Two models' answers, intact and shuffled: what is hard about a picture, all find hard."""
    own = np.repeat(np.arange(len(pictures)), pictures)
    shared = rng.normal(size=len(pictures))[own]
    models = []
    for pair in shares:
        columns = []
        for share in pair:
            hard = 0.8 * shared + 0.4 * rng.normal(size=len(pictures))[own]
            hard += np.sqrt(0.2) * rng.normal(size=len(own))
            columns.append((hard < NORMAL.ppf(share)).astype(float))
        coords = {"picture": ("sample", own), "category": ("sample", ["object"] * len(own))}
        models.append(
            array(np.array(columns), "condition", "sample", condition=list(CONDITIONS), **coords)
        )
    return models


def exchanged(pictures: list[int], shuffles: int):
    """Whether PSI's p is below .05 where the intact image is like its shuffles."""

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        own = np.repeat(np.arange(len(pictures)), pictures)
        easy = rng.beta(2, 0.7, len(pictures))[own]
        x = (rng.random((shuffles + 1, len(own))) < easy).astype(float).T
        names = ["original", *(f"seed {k}" for k in range(shuffles))]
        table = array(x, "sample", "permutation", permutation=names)
        table = table.assign_coords(picture=("sample", own))
        return {"p of PSI": float(position_sensitivity_index(table)["p_value"][0]) < 0.05}

    return once


def dosed(n: int, kind: str):
    """Slope's interval and p, and Page's p, where doses do nothing."""

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        if kind == "answers":
            x = (rng.random((n, 5)) < rng.beta(2, 1, (n, 1))).astype(float)
        else:
            x = SHAPES[kind](rng, (n, 5)) + rng.normal(size=(n, 1))
        seed = int(rng.integers(2**31))
        found = dose_response(
            array(x, "sample", "dose", dose=[0.0, 0.1, 0.25, 0.5, 1.0]), seed=seed
        )
        return {
            "slope covered": bool(found["slope_low"] <= 0 <= found["slope_high"]),
            "slope p": bool(found["slope_p"] < 0.05),
            "Page's p": bool(found["trend_p"] < 0.05),
        }

    return once


def powered(lost: float, gained: float):
    """Whether as many samples as are asked for see the flips."""
    n = st.samples_for_flips(lost, gained)

    def once(rng: np.random.Generator) -> Mapping[str, bool]:
        kind = rng.choice(3, n, p=[lost, gained, 1 - lost - gained])
        before, after = (kind != 1).astype(float), (kind != 0).astype(float)
        return {"flips": st.flips(before, after).p < 0.05}

    return once


def attention() -> np.ndarray:
    """CMB of the bundled model, (question, head), every head about its own mean."""
    from vlmlens import HookedVLM
    from vlmlens.datasets import shapes_2d
    from vlmlens.probes import cmb

    samples, found = shapes_2d(300), []
    with HookedVLM.from_pretrained("shapes-base") as model:
        for start in range(0, len(samples), 50):
            run = model.run(model.inputs(samples[start : start + 50]), save=cmb.NEEDS)
            found.append(cmb.cross_modality_balance(run).values)
    x = np.concatenate(found).astype(float).reshape(len(samples), -1)
    return x - x.mean(0)


def rows(pool: np.ndarray | None = None) -> list[Row]:
    """Every simulation; those on real attention only where it is given."""
    made = []
    for name, shape in SHAPES.items():
        for n in (10, 20, 50):
            draw: Draw = lambda rng, n=n, shape=shape: shape(rng, (n, CELLS))  # noqa: E731
            made.append(Row("map_test", f"{name}, n = {n}", 0.05, 300, mapped(draw)))
    for n in () if pool is None else (10, 20, 50):
        draw = lambda rng, n=n, pool=pool: pool[rng.choice(len(pool), n)]  # noqa: E731
        made.append(Row("map_test", f"CMB of shapes-base, n = {n}", 0.05, 1000, mapped(draw)))
    for name in ("normal", "exponential"):
        own = np.repeat(np.arange(10), 4)
        draw = lambda rng, own=own, name=name: (  # noqa: E731
            SHAPES[name](rng, (10, CELLS))[own] + SHAPES[name](rng, (40, CELLS))
        )
        made.append(Row("map_test", f"{name}, 10 pictures x 4", 0.05, 300, mapped(draw, [4] * 10)))
    for name in SHAPES:
        for n in (10, 20):
            made.append(Row("cluster_test", f"{name}, n = {n}", 0.05, 200, clustered(name, n)))
    for name, shape in SHAPES.items():
        for n in (5, 10, 12, 20, 40, 240):
            draw = lambda rng, n=n, shape=shape: shape(rng, (n, 40))  # noqa: E731
            made.append(Row("mean_map", f"{name}, n = {n}", 0.95, 100, mean_covered(draw, 0.0)))
    for share in (0.1, 0.25, 0.5):
        for n in (5, 10, 12, 20, 40, 240):
            draw = lambda rng, n=n, share=share: (rng.random((n, 40)) < share).astype(float)  # noqa: E731
            what = f"answers, {share:g} right, n = {n}"
            made.append(Row("mean_map", what, 0.95, 100, mean_covered(draw, share)))
    for label, pictures in PICTURES.items():
        for intact, shuffled in ((0.9, 0.7), (0.75, 0.58), (0.95, 0.2)):
            what = f"accuracy {intact:g} to {shuffled:g}, {label}"
            once = psi_covered(pictures, intact, shuffled)
            made.append(Row("PSI", what, 0.95, 400, once))
    for label in ("12 questions", "40 questions", "10 pictures x 4", "60 pictures of 1 to 12"):
        once = differing(PICTURES[label])
        made.append(Row("two models", f"0.9 to 0.7, 0.8 to 0.5, {label}", 0.95, 400, once))
    for label in ("12 questions", "40 questions", "10 pictures x 4"):
        for shuffles in (1, 5):
            what = f"{label}, shuffles: {shuffles}"
            made.append(Row("PSI's p", what, 0.05, 500, exchanged(PICTURES[label], shuffles)))
    for kind in ("normal", "exponential", "answers"):
        for n in (12, 40):
            made.append(Row("dose_response", f"{kind}, n = {n}", 0.05, 500, dosed(n, kind)))
    for lost, gained in ((0.2, 0.05), (0.1, 0.02), (0.3, 0.1), (0.1, 0.0)):
        what = f"lost {lost:g}, gained {gained:g}"
        made.append(Row("samples_for_flips", what, 0.8, 2000, powered(lost, gained)))
    return made


def page(found: Mapping[str, Mapping[str, float]], made: list[Row]) -> str:
    """The rows as tables, one a method."""
    lines: list[str] = []
    for what in dict.fromkeys(row.what for row in made):
        mine = [row for row in made if row.what == what and _key(row) in found]
        if not mine:
            continue
        names = list(dict.fromkeys(name for row in mine for name in found[_key(row)]))
        lines += ["", f"`{what}`, nominal {_said(mine[0].nominal)}", ""]
        lines += [f"| data | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        for row in mine:
            cells = [_said(found[_key(row)].get(n, np.nan), 3) for n in names]
            lines.append(f"| {row.data} | {' | '.join(cells)} |")
    return "\n".join(lines).strip() + "\n"


def _said(share: float, digits: int = 2) -> str:
    """A share as it is written in statistics, .05; a number of data sets as it is."""
    return f"{share:.0f}" if share > 1 else f"{share:.{digits}f}".removeprefix("0")


def _key(row: Row) -> str:
    return f"{row.what}: {row.data}"


def _version() -> str:
    files = [Path(str(module.__file__)) for module in SOURCES] + [Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> None:
    """Simulate what is not done yet, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "coverage")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--sets", type=int, help="no more data sets a row than this")
    parser.add_argument("--no-write", action="store_true", help="leave the page as it is")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = given.folder / f"{_version()}.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    made = rows(attention() if given.only in "map_test" else None)
    for row in made:
        wanted = min(given.sets or row.sets, row.sets)
        done = found.get(_key(row), {}).get(SETS, 0)
        if done >= wanted or given.only not in _key(row):
            continue
        found[_key(row)] = row.measured(wanted)
        print(_key(row), found[_key(row)], file=sys.stderr, flush=True)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(found, indent=1))
        part.replace(kept)
    table = page(found, made)
    print(table)
    if not (given.no_write or given.only):
        text = PAGE.read_text()
        head, rest = text.split(BEGIN)
        PAGE.write_text(head + BEGIN + table + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
