"""The model card of an arm, from the study's stored results: no model is run."""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np
import xarray as xr
from jinja2 import Environment, StrictUndefined

from vlmlens.errors import DataError
from vlmlens.model import HookedVLM
from vlmlens.probes.psi import ORIGINAL
from vlmlens.probes.statistics import mean_map
from vlmlens.study.arms import NAMES
from vlmlens.study.conditions import SHUFFLES
from vlmlens.study.measuring import EACH, SEED, study_samples

_NORM = (
    "every vision token gets the length of the mean word of the model's own embedding table, after "
    "a\nlearned gain (`variants.normalize(model, 'match_each')`)"
)
_LAYERS = "the projector reads all four layers of the tower, each through its final norm"
#: What is said of each arm's projector.
DIFFERS: Mapping[str, str] = MappingProxyType(
    {
        "base": "Its projector is LLaVA's own, on the tower's last layer.",
        "normalize": f"+Normalize: {_NORM}.",
        "multilayer": f"+Multilayer: {_LAYERS}.",
        "both": f"Both: {_LAYERS};\n{_NORM}.",
    }
)


def table(answers: xr.Dataset, models: Sequence[str]) -> str:
    """One row a category: accuracy by seed and of all, and what is left without the order.

    Every question has a picture of its own, and is one draw with all its answers: of several
    seeds, of several shuffles.
    """
    head = ["category", "n", *(f"seed {name[-1]}" for name in models), "all seeds"]
    head += ["shuffled", "noise", "chance", "majority"]
    gold = {sample.id: sample.answer for sample in study_samples()}
    rows = []
    for category in dict.fromkeys(map(str, answers["category"].values)):
        here = answers.isel(sample=answers["category"].values == category)
        n = here.sizes["sample"]
        cells = [_share(here, [name], [ORIGINAL]) for name in models]
        cells += [_share(here, models, names) for names in ([ORIGINAL], SHUFFLES, ["noise"])]
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
    model: HookedVLM,
) -> str:
    """The card's text.

    Args:
        name: under which the model is bundled.
        arm: which one it is.
        answers: the study's table of answers.
        models: the arm's runs, by seed.
        run: the folder of the run that is bundled, with its validation.
        model: the open model.

    Raises:
        DataError: the language model of the run was not taught on text.
    """
    read = run.parent / "text" / "questions.validation.csv"
    if not read.is_file():
        raise DataError(
            f"there is no {read}: this card is of runs whose language model was taught on text in "
            "the same folder, by python -m vlmlens.zoo.training.recipe.queue without --start"
        )
    forms = _validated(run / "answers.validation.csv")
    template = Environment(
        autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True
    ).from_string((files("vlmlens.study") / "card.md").read_text())
    return template.render(
        name=name,
        title=NAMES[arm],
        differs=DIFFERS[arm],
        run=run.name,
        seed=run.name[-1],
        each=EACH,
        data_seed=SEED,
        parameters=f"{sum(p.numel() for p in model.hf_model.parameters()):,}",
        config=model.config,
        table=table(answers, models),
        validation=_said(forms) + f"; mean {np.mean(list(forms.values())):.2f}",
        reading=reading(_validated(read)),
    )


def reading(forms: Mapping[str, float]) -> str:
    """What a language model knows of lists and of drawings, in words.

    Args:
        forms: the gate's figures, ``"listed/color_abs/edge"`` and so on.

    Returns:
        Every form's mean over how shapes are named; the read-outs of places are left out.
    """
    parts = []
    for kind in ("listed", "drawn"):
        shares: dict[str, list[float]] = defaultdict(list)
        for form, share in forms.items():
            of, *_, last = form.split("/")
            if of == kind and last != "place":
                shares[last].append(share)
        means = {form: float(np.mean(found)) for form, found in sorted(shares.items())}
        parts.append(f"{kind}: {_said(means)}")
    return "; ".join(parts)


def _validated(path: Path) -> dict[str, float]:
    """Share of right answers by form, as a stage's gate has measured it."""
    with path.open(newline="") as file:
        return {row["form"]: float(row["right"]) for row in csv.DictReader(file)}


def _said(forms: Mapping[str, float]) -> str:
    return ", ".join(f"{form} {share:.2f}" for form, share in forms.items())


def _share(answers: xr.Dataset, models: Sequence[str], conditions: Sequence[str]) -> str:
    """How many answers are right, and the interval over questions."""
    right = answers["correct"].sel(model=list(models), condition=list(conditions)).astype(float)
    found = mean_map(
        right.stack(answer=("model", "condition", "sample")),
        over="answer",
        scene="sample",
        shares=True,
    )
    return "{:.3f} [{:.3f}, {:.3f}]".format(*(float(found[x]) for x in ("mean", "low", "high")))
