"""Asking a model every question under every condition: an item for each answer."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from vlmlens.checks import allowed
from vlmlens.draws import AND, pictures_of
from vlmlens.errors import DataError, ImageError, InputError
from vlmlens.evaluation.conditions import CLEAN, TEXT_ONLY, Condition, Edits
from vlmlens.evaluation.sets import Questions
from vlmlens.experiments import Answering, Choosing, Experiment, Measure, blinded
from vlmlens.experiments.blind import refuse_videos
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.permuting import likelihood_form
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.running import run_shown
from vlmlens.identity import unit
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: Where a table says which other versions its results are of.
ACCEPTED = "accepted_versions"


@dataclass(frozen=True, eq=False)
class Plan:
    """How a model is asked.

    Attributes:
        conditions: under which every question is put.
        permutations: how many draws of those that are drawn.
        scoring: ``"greedy"``, or ``"likelihood:FORM"``.
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        batch: samples a pass.
        max_failed: how many samples may fail: a share below 1, or a number.
    """

    conditions: tuple[Condition, ...]
    permutations: int = 5
    scoring: str = "greedy"
    max_new_tokens: int = 16
    system: str | None = None
    batch: int = 32
    max_failed: int | float = 0.05

    def measure(self, samples: Sequence[Sample]) -> Measure:
        """What is measured of every sample."""
        if form := likelihood_form(self.scoring):
            width = max(len(sample.choices) for sample in samples)
            return Choosing(form=form, width=width, system=self.system)
        return Answering(max_new_tokens=self.max_new_tokens, system=self.system)

    def refuse(self, asked: Questions) -> None:
        """Say before a model is opened what cannot be asked so.

        Raises:
            InputError: a condition of pictures or videos where there are none, one that would
                leave a video as it is, or calibration by leaving out what is left out already.
            DataError: likelihood of choices that are not there.
        """
        names = [each.name for each in self.conditions]
        for condition in self.conditions:
            refuse_videos(asked.samples, condition.control)
        lacking = next((s for s in asked.samples if not s.images and not s.videos), None)
        seeing = [n for n in names if n != CLEAN]
        if lacking is not None and seeing:
            raise InputError(
                f"{asked.name}: {lacking.named()} has no picture and no video, so "
                f"{', '.join(seeing)} would change nothing; ask under clean alone"
            )
        form = likelihood_form(self.scoring)
        if form:
            Choosing.places(asked.samples)
        if form == "calibrated" and TEXT_ONLY in names:
            raise InputError(
                "likelihood:calibrated takes off what is likely without the picture or video, of "
                "which nothing is left under text-only: leave one of the two out"
            )


def ask(
    model: HookedVLM,
    asked: Questions,
    plan: Plan,
    *,
    folder: Path | None = None,
    progress: Progress = True,
    executor: Executor = None,
) -> pd.DataFrame:
    """Every answer of a model, or what the item failed of: a row each, not graded yet.

    Args:
        model: an open model.
        asked: the questions.
        plan: how.
        folder: keeps finished cells; asked again, only what is missing is computed.
        progress: show bars, or who is told.
        executor: who computes; a ``Shard``'s answers are of its own samples.

    Raises:
        DataError: more samples failed than may.
        VLMLensError: what an experiment raises of its own.
    """
    names = _names(asked)
    pictures, errors = _pictures(asked.samples, names)
    limit = allowed(plan.max_failed, len(names))
    if len(errors) > limit or len(errors) == len(names):
        listed = "; ".join(f"{name}: {error}" for name, error in list(errors.items())[:5])
        raise DataError(
            f"{len(errors)} of {len(names)} samples of {asked.name} cannot be shown, and "
            f"max_failed allows {limit}: {listed}; mend or leave out these samples, or allow more"
        )
    there = [s for s, name in zip(asked.samples, names, strict=True) if name in pictures]
    rows: list[dict[str, Any]] = []
    accepted: set[str] = set()
    for samples, draws in _passes(there, plan):
        experiment = Experiment(
            model,
            samples,
            plan.measure(samples),
            {label: edits for label, (_, _, edits) in draws.items()},
            "condition",
            plan.batch,
            limit - len(errors),
            [name for name in names if name in pictures],
        )
        what = f"{model.name} {asked.name} {next(iter(draws))}"
        table = run_shown(experiment, folder, progress, what, executor)
        accepted |= {table.attrs.get(ACCEPTED, "")}
        failed = {
            each["id"]: each["error"] for each in json.loads(table.attrs.get("failures", "[]"))
        }
        for label, (name, number, _) in draws.items():
            found = _found(table.sel(condition=label))
            for sample, own in zip(asked.samples, names, strict=True):
                error = (errors | failed).get(own)
                if error is None and own not in found:  # another share's
                    continue
                said = {"error": error} if error is not None else found[own]
                rows.append(
                    {
                        "model": model.name,
                        "condition": name,
                        "permutation": number,
                        "scoring": plan.scoring,
                        **_told(sample, own, asked, pictures.get(own, "")),
                        **said,
                    }
                )
    columns = ("answer", "log_prob", "choice_log_prob", "choice_tokens", "choice_blind", "error")
    frame = pd.DataFrame(rows).astype({"permutation": "Int64"})
    frame = frame.assign(**{name: None for name in columns if name not in frame})
    frame.attrs[ACCEPTED] = "; ".join(filter(None, sorted(accepted)))
    return frame


def _passes(
    samples: Sequence[Sample], plan: Plan
) -> Iterator[tuple[list[Sample], dict[str, tuple[str, int | None, Edits]]]]:
    """Samples with all the edits that they are asked under: pictures that stay go in once."""
    together: dict[str, tuple[str, int | None, Edits]] = {}
    for condition in plan.conditions:
        if not condition.control:
            draws = condition.draws(plan.permutations).items()
            together |= {label: (condition.name, n, edits) for label, (n, edits) in draws}
    if together:
        yield list(samples), together
    for condition in plan.conditions:
        if condition.control:
            name = condition.name
            yield blinded(samples, condition.control), {name: (name, None, ())}


def _names(asked: Questions) -> list[str]:
    names = [sample.id or str(number) for number, sample in enumerate(asked.samples)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{asked.name}: the id {twice!r} is there twice; ids must differ")
    return names


def _pictures(
    samples: Sequence[Sample], names: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """What identifies each sample's pictures, and why some cannot be opened."""
    found, errors = {}, {}
    for name, sample in zip(names, samples, strict=True):
        try:
            found[name] = unit(sample)
        except ImageError as error:
            errors[name] = " ".join(str(error).split())
    return found, errors


def _told(sample: Sample, name: str, asked: Questions, entry: str) -> dict[str, Any]:
    return {
        "data": asked.name,
        "prompt_form": sample.form,
        "sample": name,
        "picture": AND.join(pictures_of(entry)) if sample.images or sample.videos else "",
        "unit": entry or f"none: {name}",
        "category": sample.category,
        "groups": [{"kind": kind, "name": each} for kind, each in sample.groups],
        "question": sample.question,
        "choices": list(sample.choices),
        "options": list(sample.options),
        "gold": sample.answer,
        "references": list(sample.references),
    }


def _found(table: xr.Dataset) -> dict[str, dict[str, Any]]:
    """What was measured of each sample, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for row, name in enumerate(table["sample"].values.tolist()):
        one = table.isel(sample=row)
        found[name] = {"answer": str(one["answer"].item()), "error": None}
        if "log_prob" in one:
            found[name]["log_prob"] = float(one["log_prob"])
        for key in ("choice_log_prob", "choice_tokens", "choice_blind"):
            if key in one:
                there = one["choice_tokens"].notnull().values
                found[name][key] = one[key].values[there].tolist()
    return found
