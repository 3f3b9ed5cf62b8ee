"""Put seed 0 of every arm into the package: ``python -m vlmlens.study.bundle RUNS``.

Each gets the card that the stored results give it. Nothing is trained or measured here.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import typer

from vlmlens.model import HookedVLM
from vlmlens.study.arms import seeds_of
from vlmlens.study.card import card
from vlmlens.study.runs import finished, stored

#: Bundled name -> arm. The base arm is not called shapes-base, which is another, longer training.
BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "shapes-staged": "base",
        "shapes-normalize": "normalize",
        "shapes-multilayer": "multilayer",
        "shapes-both": "both",
    }
)


def bundle(runs: Path, results: Path, weights: Path) -> list[Path]:
    """Copy seed 0 of every arm that is trained and measured, and write its card.

    Args:
        runs: the folder that the queue trains into.
        results: the study's stored results.
        weights: where bundled models are.
    """
    answers = stored(results)["answers"]
    seeds, there = seeds_of(map(str, answers["model"].values)), finished(runs)
    made = []
    for name, arm in BUNDLED.items():
        chosen = next((run for run in seeds.get(arm, ()) if run.endswith("-0")), None)
        if chosen is None or chosen not in there:
            typer.echo(f"{name}: seed 0 of {arm} is not trained and measured yet; left out")
            continue
        folder = weights / name
        shutil.copytree(there[chosen], folder, dirs_exist_ok=True)
        shutil.copy(runs / chosen / "recipe.json", folder)
        with HookedVLM.from_pretrained(str(folder)) as model:
            text = card(name, arm, answers, seeds[arm], runs / chosen, model)
        (folder / "README.md").write_text(text)
        made.append(folder)
    return made


def main(
    runs: Path,
    results: Path = typer.Option(Path("docs/study")),
    weights: Path = typer.Option(Path("vlmlens/zoo/weights")),
) -> None:
    """Bundle seed 0 of every arm in RUNS."""
    for folder in bundle(runs, results, weights):
        typer.echo(folder)


if __name__ == "__main__":
    typer.run(main)
