"""How good a model of ours is: ``python -m vlmlens.study.model_card MODEL`` writes its model card.

Held-out pictures, of layouts that training never showed; for every category and form of question
the accuracy on intact images, on shuffled ones, on noise in the image's place, and what always
saying the commonest answer would reach.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import typer
import xarray as xr
from jinja2 import Environment

from vlmlens.datasets.shapes import CATEGORIES, CONTROLS, Entry, entries
from vlmlens.experiments.blind import Noise
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.measures import Answering
from vlmlens.interventions import Intervention, PermuteVision
from vlmlens.model import HookedVLM
from vlmlens.probes.psi import ORIGINAL, position_sensitivity_index
from vlmlens.probes.statistics import mean_map
from vlmlens.study.pooling import by_kind
from vlmlens.zoo import smol

SEED = 20_000


def scores(
    model: HookedVLM, chosen: Sequence[Entry], *, folder: Path | None = None, controls: bool = True
) -> xr.DataArray:
    """(condition, sample), 0 or 1: intact; as controls shuffled, and noise for the image."""
    samples = [entry.sample() for entry in chosen]
    edits: dict[str, tuple[Intervention, ...]] = {"intact": ()}
    if controls:
        edits["shuffled"] = (PermuteVision(),)
    whole = Experiment(model, samples, Answering(), edits, "condition").run(folder)["correct"]
    if controls:
        blind = [replace(s, images=(Noise(i),)) for i, s in enumerate(samples)]
        edits = {"noise": ()}
        noise = Experiment(model, blind, Answering(), edits, "condition").run(folder)["correct"]
        whole = xr.concat(
            [whole, noise], "condition", coords="minimal", compat="override", join="exact"
        )
    forms = [f"{entry.question.category} / {entry.question.form}" for entry in chosen]
    return whole.assign_coords(form=("sample", forms))


def table(found: xr.DataArray, by: str) -> list[dict[str, str]]:
    """One row a group: n, each condition's accuracy with its interval, the majority's."""
    rows = []
    for group in dict.fromkeys(map(str, found[by].values)):
        here = found.isel(sample=found[by].values == group)
        n = here.sizes["sample"]
        row = {"group": group, "n": str(n)}
        shares = mean_map(here, shares=True)
        for condition in map(str, here["condition"].values):
            row[condition] = "{:.3f} [{:.3f}, {:.3f}]".format(
                *(float(shares[end].sel(condition=condition)) for end in ("mean", "low", "high"))
            )
        commonest = Counter(map(str, here["gold"].values)).most_common(1)[0][1]
        row["majority"] = f"{commonest / n:.3f}"
        rows.append(row)
    return rows


def order(found: xr.DataArray) -> list[dict[str, str]]:
    """What shuffling takes, overall and by kind of question: one row each, none without it."""
    if "shuffled" not in found["condition"].values:
        return []
    answers = found.sel(condition=["intact", "shuffled"]).assign_coords(
        condition=[ORIGINAL, "shuffled"]
    )
    kinds = by_kind(answers.to_dataset(name="correct"))["correct"]
    psi = position_sensitivity_index(kinds.rename(condition="permutation"))
    return [
        {
            "kind": str(kind),
            "n": str(int(psi["n"].sel(category=kind))),
            "psi": "{:.1f} [{:.1f}, {:.1f}]".format(
                *(float(psi[name].sel(category=kind)) for name in ("psi", "psi_low", "psi_high"))
            ),
        }
        for kind in psi["category"].values
    ]


def write(
    model: HookedVLM,
    folder: Path,
    *,
    each: int = 300,
    work: Path | None = None,
    template: str = "model_card.md",
    controls: bool = True,
) -> Path:
    """Measure a model and write ``README.md`` into its folder.

    Args:
        model: the open model.
        folder: the model's folder; with ``recipe.json`` in it, its numbers are printed.
        each: samples a category.
        work: keeps finished cells, to go on after an interruption.
        template: the card's text, beside this file.
        controls: also measure on shuffled tokens and on noise, which takes three times as long.
    """
    categories = (*CATEGORIES, *CONTROLS)
    chosen = list(entries(each * len(categories), seed=SEED, split="test", categories=categories))
    found = scores(model, chosen, folder=work, controls=controls)
    recipe = folder / "recipe.json"
    page = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True).from_string(
        (files("vlmlens.study") / template).read_text()
    )
    text = page.render(
        name=folder.name,
        each=each,
        parameters=f"{sum(p.numel() for p in model.hf_model.parameters()):,}",
        config=model.config,
        categories=table(found, "category"),
        forms=table(found, "form"),
        order=order(found),
        recipe=json.loads(recipe.read_text()) if recipe.exists() else {},
        seed=SEED,
        conditions=[str(name) for name in found["condition"].values],
        parts=smol.PARTS,
    )
    path = folder / "README.md"
    path.write_text(text)
    return path


def main(model: str, each: int = 300, work: Path | None = None, controls: bool = True) -> None:
    """Write the model card of a shapes model's folder, or of a fetched model by its name."""
    fetched = model in smol.NAMES
    folder = smol.trained(model) if fetched else Path(model)
    template = "smol_card.md" if fetched else "model_card.md"
    with HookedVLM.from_pretrained(model) as opened:
        typer.echo(
            write(opened, folder, each=each, work=work, template=template, controls=controls)
        )


if __name__ == "__main__":
    typer.run(main)
