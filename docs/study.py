"""Write docs/study.md and its figures from the stored results: ``python docs/study.py``.

No model is needed. The results in ``docs/study`` come from
``python -m vlmlens.study RUNS``; figures need Chromium or Chrome, and kaleido.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jinja2 import Environment, FileSystemLoader

from vlmlens import plots
from vlmlens.datasets.shapes import CATEGORIES, entries
from vlmlens.probes.psi import ORIGINAL
from vlmlens.probes.statistics import mean_map
from vlmlens.study import (
    by_kind,
    condition_table,
    difference_table,
    dose_table,
    each_run,
    psi_table,
)
from vlmlens.study.arms import NAMES, POSITIONS, SCALES, cells_of, seeds_of
from vlmlens.study.conditions import ABLATIONS, BLIND, TURNS
from vlmlens.study.measuring import ASKED, LOOKED, SEED, SIZE
from vlmlens.study.pooling import ITEM, KINDS, pooled
from vlmlens.study.runs import stored

DOCS = Path(__file__).parent
RESULTS, FIGURES, PAGE = DOCS / "study", DOCS / "images" / "study", DOCS / "study.md"
PLACES = CATEGORIES  # the paper's six; object, count and exist ask for no place
FORMS = ("edge", "quadrant", "neighbour", "side", "yes_no")
DIGITS = 3


class Study:
    """The stored results, and every table and figure of the page as a method."""

    def __init__(self, folder: Path = RESULTS):
        self.found = stored(folder)
        self.answers = self.found["answers"]
        models = [str(m) for m in self.answers["model"].values]
        self.seeds, self.cells = seeds_of(models), cells_of(models)
        self.grouped = by_kind(self.answers)

    @cached_property
    def psi(self) -> xr.Dataset:
        return psi_table(self.answers, self.seeds)

    @cached_property
    def kinds(self) -> xr.Dataset:
        return psi_table(self.grouped, self.seeds)

    @cached_property
    def nine(self) -> xr.Dataset:
        return psi_table(self.grouped, {" ".join(cell): m for cell, m in self.cells.items()})

    @cached_property
    def edited(self) -> xr.Dataset:
        return condition_table(self.grouped, self.seeds, (*ABLATIONS, *TURNS, *BLIND))

    @cached_property
    def doses(self) -> xr.Dataset:
        return dose_table(self.answers, self.seeds, PLACES)

    # ---------------------------------------------------------------- tables

    def accuracy(self) -> str:
        rows = []
        for table, category in self._rows():
            here = table.sel(category=category)
            cells = [
                f"{_estimate(here.sel(arm=arm), 'accuracy')}{self._each(arm, 'accuracy', category)}"
                for arm in self.seeds
            ]
            rows.append([category, f"{float(here['chance'][0]):.2f}", *cells])
        return _table(["category", "chance", *self._names()], rows)

    def forms(self) -> str:
        """Accuracy by form of question, seeds pooled; intervals are over questions."""
        asked = self._asked()
        rows = []
        for form in FORMS:
            here = self.answers.isel(sample=asked == form)
            found = [
                mean_map(pooled(here, models).sel(condition=ORIGINAL, drop=True), scene=ITEM)
                for models in self.seeds.values()
            ]
            cells = [_estimate(each, "mean", low="low") for each in found]
            rows.append([form, str(here.sizes["sample"]), *cells])
        return _table(["form", "questions", *self._names()], rows)

    def share(self, form: str) -> str:
        """How many of the questions about relative places have a form."""
        relative = self.grouped["category"].values == "relative"
        return f"{int((self._asked() == form).sum())} of {int(relative.sum())}"

    def _asked(self) -> np.ndarray:
        """(sample,): the form of every question."""
        size = self.answers.sizes["sample"]
        found = {e.id: e.question.form for e in entries(size, seed=SEED, categories=ASKED)}
        return np.array(
            [found[str(s).removesuffix(f"-{SIZE}px")] for s in self.answers["sample"].values]
        )

    def position_sensitivity(self) -> str:
        rows = []
        for table, category in self._rows():
            here = table.sel(category=category)
            cells = [
                f"{_estimate(here.sel(arm=arm), 'psi', 0)}{self._each(arm, 'psi', category, 0)}"
                for arm in self.seeds
            ]
            rows.append([category, *cells])
        return _table(["PSI, %", *self._names()], rows)

    def dose(self) -> str:
        rows = [
            [f"{100 * float(dose):g} %"]
            + [
                _estimate(self.doses.sel(arm=arm, dose=dose), "mean", low="low")
                for arm in self.seeds
            ]
            for dose in self.doses["dose"].values
        ]
        slopes = [_estimate(self.doses.sel(arm=arm), "slope") for arm in self.seeds]
        return _table(["tokens shuffled", *self._names()], [*rows, ["slope", *slopes]])

    def edits(self, names: tuple[str, ...], kind: str) -> str:
        """Accuracy under each condition, and in parentheses what share of it was lost, in %."""
        intact = [_estimate(self.kinds.sel(arm=a, category=kind), "accuracy") for a in self.seeds]
        rows = [["intact", *intact]]
        for name in names:
            here = self.edited.sel(control=name, category=kind)
            cells = []
            for arm in self.seeds:
                left = float(here.sel(arm=arm)["accuracy_permuted"])
                cells.append(f"{left:.3f} ({_estimate(here.sel(arm=arm), 'psi', 0)})")
            rows.append([name, *cells])
        return _table([kind, *self._names()], rows)

    def causal(self) -> str:
        return "\n\n".join(self.edits((*ABLATIONS, *TURNS), kind) for kind in KINDS)

    def blind(self) -> str:
        return self.edits(BLIND, "overall")

    def lengths(self) -> str:
        tokens, inside = self.found["tokens"], self.found["inside"]
        rows = []
        for arm, models in self.seeds.items():
            for model in models:
                here = tokens.sel(model=model)
                vision, words = (float(here["median"].sel(role=r)) for r in ("vision", "table"))
                ratio = inside["norm_ratio"].sel(model=model).values
                rows.append(
                    [
                        NAMES[arm],
                        model[-1],
                        f"{vision:.2f}",
                        f"{words:.2f}",
                        f"{vision / words:.1f}x",
                    ]
                    + [f"{r:.2f}" for r in ratio]
                )
        labels = [f"depth {d}" for d in inside["depth"].values]
        head = ["arm", "seed", "vision", "words", "gap", *labels]
        return _table(head, rows)

    def inside(self) -> str:
        rows = []
        inside, places = self.found["inside"], self.found["places"]
        for arm, models in self.seeds.items():
            for model in models:
                here = inside.sel(model=model)
                read = places["accuracy"].sel(model=model).isel(layer=0)
                rows.append(
                    [
                        NAMES[arm],
                        model[-1],
                        f"{float(here['cmb'].mean()):.3f}",
                        f"{float(here['cmb_uniform'].mean()):.3f}",
                        f"{float(here['abs_delta_g_v'].mean()):.4f}",
                        f"{float(here['delta_alpha_v'].mean()):+.1e}",
                        f"{float(read.sel(label='row')):.2f}",
                        f"{float(read.sel(label='column')):.2f}",
                    ]
                )
        head = ["arm", "seed", "CMB", "CMB if even", "mean abs. delta g_V", "mean delta alpha_V"]
        return _table([*head, "row read off", "column read off"], rows)

    def grid(self) -> str:
        """The nine cells of scale and position, as far as they are trained."""
        rows = []
        for cell, models in self.cells.items():
            here, tokens = self.nine.sel(arm=" ".join(cell)), self.found["tokens"]["median"]
            long = tokens.sel(model=models, role="vision") / tokens.sel(model=models, role="table")
            read = self.found["places"]["accuracy"].sel(model=models).isel(layer=0).mean("model")
            rows.append(
                [*cell, str(len(models)), f"{_range(long, 0)}x"]
                + [f"{float(read.sel(label=x)):.2f}" for x in ("row", "column")]
                + [_estimate(here.sel(category=c), "accuracy", 2) for c in KINDS]
                + [_estimate(here.sel(category=c), "psi", 0) for c in KINDS]
            )
        head = ["tower", "projector", "seeds", "norm gap", "row", "column", *KINDS]
        return _table([*head, *(f"PSI {kind}" for kind in KINDS)], rows)

    def untrained(self) -> str:
        """Which of the nine cells are not there, in a sentence; nothing if all are."""
        named = {(p, s) for p in POSITIONS for s in SCALES} - set(self.cells)
        missing = ", ".join(f"{p} {s}" for p, s in sorted(named))
        return f"Not trained yet: {missing}. The commands below go on with them." if missing else ""

    @property
    def each(self) -> int:
        """Questions a category."""
        return int((self.answers["category"] == "object").sum())

    @property
    def looked(self) -> int:
        """Questions whose pictures were looked into."""
        return LOOKED

    # ---------------------------------------------------------------- figures in the verdicts

    def right(self, arm: str, kind: str) -> str:
        return _estimate(self.kinds.sel(arm=arm, category=kind), "accuracy", 2)

    def better(self, arm: str, kind: str, than: str = "base") -> str:
        """By how much an arm is right more often than another, question by question."""
        apart = difference_table(self.grouped, self.seeds[arm], self.seeds[than])
        return _estimate(apart.sel(category=kind), "mean", 2, low="low")

    def longer(self, position: str, kind: str, scale: str = "x30") -> str:
        """The same of a projector that begins longer against one that does not."""
        long, short = self.cells[position, scale], self.cells[position, "x1"]
        apart = difference_table(self.grouped, long, short)
        return _estimate(apart.sel(category=kind), "mean", 2, low="low")

    def cell_order(self, position: str, scale: str, kind: str) -> str:
        return _estimate(self.nine.sel(arm=f"{position} {scale}", category=kind), "psi", 0)

    def scale_gap(self, scale: str) -> str:
        """How many times longer than words vision tokens are, whatever the tower."""
        return self._gap(
            [m for cell, models in self.cells.items() if cell[1] == scale for m in models]
        )

    def scale_ratio(self, scale: str, depth: int) -> str:
        """How many times longer than the user's words they are at a depth, whatever the tower."""
        models = [m for cell, found in self.cells.items() if cell[1] == scale for m in found]
        return _range(self.found["inside"]["norm_ratio"].sel(model=models).isel(depth=depth), 1)

    def shuffled(self, position: str, scale: str) -> str:
        """Accuracy on absolute places, tokens shuffled."""
        here = self.nine.sel(arm=f"{position} {scale}", category="absolute")
        return f"{float(here['accuracy_permuted']):.2f}"

    def turned(self, arm: str, layer: int) -> str:
        """Abs. delta g_V of a layer, mean over its heads."""
        values = self.found["inside"]["abs_delta_g_v"].sel(model=self.seeds[arm]).isel(layer=layer)
        return _range(values.mean([d for d in values.dims if d != "model"]), 3)

    @property
    def models(self) -> int:
        """How many runs the stored results are of."""
        return self.answers.sizes["model"]

    def order(self, arm: str, kind: str) -> str:
        return _estimate(self.kinds.sel(arm=arm, category=kind), "psi", 0)

    def lost(self, condition: str, arm: str, kind: str) -> str:
        return _estimate(self.edited.sel(control=condition, arm=arm, category=kind), "psi", 0)

    def gap(self, arm: str) -> str:
        return self._gap(self.seeds[arm])

    def ratio(self, arm: str, depth: int) -> str:
        inside = self.found["inside"]["norm_ratio"]
        return _range(inside.sel(model=self.seeds[arm]).isel(depth=depth), 1)

    def mean(self, name: str, arm: str, digits: int = 2) -> str:
        values = self.found["inside"][name].sel(model=self.seeds[arm])
        return _range(values.mean([d for d in values.dims if d != "model"]), digits)

    # ---------------------------------------------------------------- figures

    def figures(self) -> Iterator[tuple[str, go.Figure]]:
        for arm in self.seeds:
            yield f"psi-{arm}", plots.psi(self.psi.sel(arm=arm), title=NAMES[arm])
        doses = self.doses[["mean", "low", "high", "n"]].assign_coords(arm=self._names())
        yield "dose", plots.dose(doses, by="arm", title="Questions about places, tokens shuffled")
        ratio = self._by_seed("norm_ratio")
        ratio.attrs = {"long_name": "norm of vision tokens / of the user's words"}
        yield "norms", plots.depth(ratio, by="arm", log=True)
        for name, title in (
            ("cmb", "Cross-modality balance"),
            ("abs_delta_g_v", "RoPE sensitivity |delta g_V|"),
        ):
            values = self._by_seed(name)
            values.attrs = {"long_name": title}
            yield name.replace("_", "-"), plots.depth(values, by="arm", title=title)

    def _gap(self, models: list[str]) -> str:
        median = self.found["tokens"]["median"].sel(model=models)
        return _range(median.sel(role="vision") / median.sel(role="table"), 0)

    def _by_seed(self, name: str) -> xr.DataArray:
        """(arm, sample, layer or depth): a seed is a sample, so bands are intervals over seeds."""
        parts = []
        for models in self.seeds.values():
            own = self.found["inside"][name].sel(model=models).rename(model="sample")
            parts.append(own.assign_coords(sample=range(len(models))))
        return xr.concat(
            parts, "arm", join="outer", coords="minimal", compat="override"
        ).assign_coords(arm=self._names())

    def _rows(self) -> list[tuple[xr.Dataset, str]]:
        """Overall, the three kinds of question, then every category: which table has it."""
        kinds = [(self.kinds, kind) for kind in ("overall", *KINDS)]
        return kinds + [
            (self.psi, c) for c in map(str, self.psi["category"].values) if c != "overall"
        ]

    def _names(self) -> list[str]:
        return [NAMES[arm] for arm in self.seeds]

    def _each(self, arm: str, name: str, category: str, digits: int = 2) -> str:
        single = each_run(self.grouped if category in KINDS else self.answers)
        values = single[name].sel(model=self.seeds[arm], category=category).values
        each = " ".join(f"{v:.{digits}f}" for v in np.atleast_1d(values))
        return f" ({each})" if len(self.seeds[arm]) > 1 else ""


def _estimate(row: xr.Dataset, name: str, digits: int = DIGITS, low: str = "") -> str:
    ends = (low, low.replace("low", "high")) if low else (f"{name}_low", f"{name}_high")
    value, *between = (float(row[n]) for n in (name, *ends))
    return f"{value:.{digits}f} [{between[0]:.{digits}f}, {between[1]:.{digits}f}]"


def _range(values: xr.DataArray, digits: int) -> str:
    """From the smallest seed to the largest."""
    ends = dict.fromkeys(f"{float(v):.{digits}f}" for v in (values.min(), values.max()))
    return " to ".join(ends)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(study: Study) -> str:
    """The page's text."""
    environment = Environment(
        loader=FileSystemLoader(RESULTS), autoescape=False, keep_trailing_newline=True
    )
    return environment.get_template("page.md").render(
        study=study, positions=POSITIONS, scales=SCALES, names=NAMES
    )


if __name__ == "__main__":
    whole = Study()
    for figure, drawn in whole.figures():
        print(plots.export(drawn, FIGURES / f"{figure}.png", width=760, scale=1.2))
    PAGE.write_text(page(whole))
    print(PAGE)
