"""Several models on several sets, side by side; and the same again from what was recorded."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from vlmlens.annotations import checked
from vlmlens.checks import one_of, whole
from vlmlens.errors import DataError, InputError
from vlmlens.evaluation import records
from vlmlens.evaluation.asking import ACCEPTED, Plan, ask
from vlmlens.evaluation.conditions import conditions_of
from vlmlens.evaluation.intervals import METHOD
from vlmlens.evaluation.regrading import LIKELIHOOD, graded, weighed
from vlmlens.evaluation.sets import Questions
from vlmlens.evaluation.tables import Sheet, difference_table, metric_table, psi_table
from vlmlens.experiments.diagnosis import versions
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.permuting import SCORING, likelihood_form
from vlmlens.experiments.progress import Progress
from vlmlens.graders import Rule, rule_of
from vlmlens.model import HookedVLM
from vlmlens.model.reading.made_of import in_words
from vlmlens.picture import at_home
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What models answered, and what that amounts to.

    Attributes:
        items: a row for each answer: ``records.SCHEMA``.
        metrics: each metric of each model under each condition, overall and by group, with its
            95 % interval (``low``, ``high``), the level of ``chance``, what the model gets without
            pictures (``blind``), ``n`` questions from so many ``units``, the shares ``unparsed``
            and ``ambiguous``, and how many ``failed`` or are ``unanswered``.
        differences: every model against the first, and every condition against the first.
        psi: of every model that was asked intact and permuted, by category.
        settings: what was asked, and how; ``sets`` by name.

    Examples:
        >>> from vlmlens.evaluation import evaluate
        >>> found = evaluate(model, samples, conditions="clean", progress=False)
        >>> len(found.items), len(found.failures)
        (4, 0)
    """

    items: pd.DataFrame
    metrics: pd.DataFrame
    differences: pd.DataFrame
    psi: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def failures(self) -> pd.DataFrame:
        """The items that failed, each once, and what of."""
        failed: Any = self.items[self.items["error"].notna()]
        return failed.drop_duplicates(["model", "data", "sample"])[
            ["model", "data", "condition", "sample", "error"]
        ]


@checked
def evaluate(
    models: HookedVLM | Iterable[HookedVLM],
    data: Questions | Sequence[Questions] | Sequence[Sample],
    *,
    conditions: str | Sequence[str] = "clean,permuted,text-only",
    permutations: int = 5,
    score: str = "greedy",
    max_new_tokens: int = 16,
    system: str | None = None,
    seed: int = 0,
    batch: int = 32,
    folder: Path | str | None = None,
    max_failed: int | float = 0.05,
    progress: Progress = True,
    executor: Executor = None,
) -> Evaluation:
    """Ask models every question under every condition; grade, tabulate and compare.

    Args:
        models: open models. They are taken one after the other, so that a generator that opens
            each needs memory for one.
        data: sets of questions (``questions``); or samples, graded by letter or by text.
        conditions: what the questions are asked under, of ``CONDITIONS``; the first is what
            others are compared with.
        permutations: how many shuffles of every image under ``permuted``.
        score: ``"greedy"`` grades what is said by the set's rule; ``"likelihood"`` takes the
            likeliest choice, by ``"likelihood:sum"``, ``":per-token"``, ``":per-byte"`` or
            ``":calibrated"`` (``experiments.Choosing``).
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        seed: of tests.
        batch: samples a pass.
        folder: keeps finished cells, so that a second call goes on where the first stopped.
        max_failed: how many samples of a set may fail: a share below 1, or a number. Those that
            do are rows with an ``error``, and in no metric.
        progress: show bars, or lines where there is no terminal; or a function of
            ``experiments.Event``.
        executor: who computes, as in ``Experiment.run``. A ``Shard``'s evaluation is of its own
            samples; called with the same folder, and without one, all of it is read.

    Raises:
        InputError: conditions, or ways to score, that are none or do not fit the questions.
        DataError: nothing to ask, too many samples that failed, ids or names that are there twice.

    Examples:
        >>> from vlmlens.evaluation import evaluate
        >>> found = evaluate(model, samples, conditions="clean,text-only", progress=False)
        >>> found.metrics[["condition", "metric", "n"]].values[:1].tolist()
        [['clean', 'accuracy', 4]]
    """
    sets = _sets(data)
    one_of(score, "score", SCORING)
    form = likelihood_form(score)
    plan = Plan(
        conditions_of(conditions),
        whole(permutations, "permutations", least=1),
        f"{LIKELIHOOD}{form}" if form else score,
        whole(max_new_tokens, "max_new_tokens", least=1),
        system,
        whole(batch, "batch", least=1),
        max_failed,
    )
    for each in sets:
        plan.refuse(each)
    cells = None if folder is None else at_home(folder) / "cells"
    how: Any = {"folder": cells, "progress": progress, "executor": executor}
    parts, seen = [], {}
    for model in [models] if isinstance(models, HookedVLM) else models:
        if model.name in seen:
            raise InputError(f"two models are called {model.name}: give one of them another name")
        seen[str(model.name)] = {
            "revision": model.revision,
            "attention": model.attention,
            "dtype": in_words(model.hf_model),
        }
        parts += [ask(model, each, plan, **how) for each in sets]
    if not parts:
        raise InputError("no model was given to be asked")
    settings = {
        "models": seen,
        "sets": {each.name: _told(each) for each in sets},
        "conditions": [each.name for each in plan.conditions],
        "permutations": permutations,
        "scoring": plan.scoring,
        "max_new_tokens": max_new_tokens,
        "system": system,
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    if others := sorted({part.attrs[ACCEPTED] for part in parts} - {""}):
        settings[ACCEPTED] = "; ".join(others)
    rules = {each.name: None if form else each.rule for each in sets}
    return tabulated(graded(pd.concat(parts, ignore_index=True), rules), settings)


@checked
def regrade(
    found: Evaluation | Path | str,
    *,
    grader: Rule | str | None = None,
    score: str | None = None,
    seed: int | None = None,
) -> Evaluation:
    """Grade recorded answers by another rule, and tabulate them again; no model is needed.

    Args:
        found: an evaluation, or the folder or file that holds its items.
        grader: a rule, or the name of one: for all sets. By default each has its own.
        score: another form of likelihood, where choices were weighed: ``"likelihood:per-byte"``.
        seed: of tests; by default as before.

    Raises:
        DataError: no such results, or choices that were not weighed.
        InputError, UnknownNameError: no such form or rule.

    Examples:
        >>> from vlmlens.evaluation import evaluate, regrade
        >>> found = evaluate(model, samples, conditions="clean", progress=False)
        >>> regrade(found, grader="contains").settings["scoring"]
        'greedy'
    """
    if isinstance(found, Evaluation):
        items, settings = found.items, dict(found.settings)
    else:
        items, settings = records.read(at_home(found))
    settings |= {} if seed is None else {"seed": seed}
    if score is not None:
        one_of(score, "score", [way for way in SCORING if likelihood_form(way)])
        items = weighed(items, likelihood_form(score))
        settings["scoring"] = f"{LIKELIHOOD}{likelihood_form(score)}"
    rules: dict[str, Rule | None] = {}
    for name, spec in settings["sets"].items():
        if grader is not None:
            rules[name] = rule_of(grader)
        elif spec["grader"] and not settings["scoring"].startswith(LIKELIHOOD):
            rules[name] = rule_of(spec["grader"])
    return tabulated(graded(items, rules), settings)


def tabulated(items: pd.DataFrame, settings: dict[str, Any]) -> Evaluation:
    """The tables of graded items."""
    sheets = {
        str(name): Sheet(part, settings["sets"][name])
        for name, part in items.groupby("data", sort=False)
    }
    seed = int(settings["seed"])
    return Evaluation(
        items,
        metric_table(sheets),
        difference_table(sheets, seed=seed),
        psi_table(sheets, seed=seed),
        settings | {"interval": METHOD},
    )


def _sets(data: Any) -> list[Questions]:
    given: list[Any] = [data] if isinstance(data, Questions) else list(data)
    if given and all(isinstance(each, Sample) for each in given):
        given = [Questions("samples", given)]
    if not given or not all(isinstance(each, Questions) for each in given):
        raise InputError("sets of questions are wanted: questions('pope:random'), or samples")
    names = [each.name for each in given]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the set {twice} is asked twice")
    if empty := next((each.name for each in given if not each.samples), None):
        raise DataError(f"there is no question in {empty}")
    return given


def _told(asked: Questions) -> dict[str, Any]:
    return {
        "metrics": list(asked.metrics),
        "unit": asked.unit,
        "by": list(asked.by),
        "grader": "" if asked.rule is None else asked.rule.name,
        "submission": None if asked.submission is None else asdict(asked.submission),
        "given": dict(asked.given),
    }
