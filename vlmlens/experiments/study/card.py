"""The model card of an arm, from the study's stored results: no model is run."""

import csv
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, StrictUndefined

from vlmlens.experiments.study.arms import NAMES
from vlmlens.experiments.study.conditions import SHUFFLES
from vlmlens.experiments.study.measuring import EACH, SEED, study_samples
from vlmlens.probes.psi import ORIGINAL
from vlmlens.probes.statistics import proportion_interval


def table(answers: xr.Dataset, models: Sequence[str]) -> str:
    """One row a category: every seed's accuracy, and what is left without the picture's order."""
    head = ["category", "n", *(f"seed {name[-1]}" for name in models)]
    head += ["shuffled", "noise", "chance", "majority"]
    gold = {sample.id: sample.answer for sample in study_samples()}
    rows = []
    for category in dict.fromkeys(map(str, answers["category"].values)):
        here = answers.isel(sample=answers["category"].values == category)
        right, n = here["correct"].sel(model=list(models)), here.sizes["sample"]
        cells = [_share(int(right.sel(model=name, condition=ORIGINAL).sum()), n) for name in models]
        for condition in (list(SHUFFLES), "noise"):
            cells.append(f"{float(right.sel(condition=condition).mean()):.3f}")
        commonest = Counter(gold[str(s)] for s in here["sample"].values).most_common(1)[0][1]
        chance = float(here["chance"].mean())
        rows.append([category, str(n), *cells, f"{chance:.3f}", f"{commonest / n:.3f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def card(
    name: str,
    arm: str,
    answers: xr.Dataset,
    models: Sequence[str],
    run: Path,
    model: Any,
    **said: str,
) -> str:
    """The card's text.

    Args:
        name: under which the model is bundled.
        arm: which one it is.
        answers: the study's table of answers.
        models: the arm's runs, by seed.
        run: the folder of the run that is bundled, with its validation.
        model: the open model.
        said: ``added`` (to the projector), ``better``, ``log``: ends of sentences.
    """
    with (run / "answers.validation.csv").open(newline="") as file:
        forms = [(row["form"], float(row["right"])) for row in csv.DictReader(file)]
    template = Environment(
        autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True
    ).from_string((files("vlmlens.experiments.study") / "card.md").read_text())
    ends = {"added": "", "better": "", "log": ""} | said
    return template.render(
        SimpleNamespace(
            name=name,
            title=NAMES[arm],
            run=run.name,
            seed=run.name[-1],
            each=EACH,
            data_seed=SEED,
            parameters=f"{sum(p.numel() for p in model.hf_model.parameters()):,}",
            config=model.config,
            table=table(answers, models),
            validation=", ".join(f"{form} {share:.2f}" for form, share in forms)
            + f"; mean {np.mean([share for _, share in forms]):.2f}",
            **ends,
        ).__dict__
    )


def _share(right: int, n: int) -> str:
    low, high = proportion_interval(right, n)
    return f"{right / n:.3f} [{low:.3f}, {high:.3f}]"
