"""The permutation test: every question about intact images and about shuffled ones."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import allowed, one_of, whole
from vlmlens.errors import DataError, InputError
from vlmlens.experiments.choosing import FORMS, Choosing
from vlmlens.experiments.executors import Executor, skipping
from vlmlens.experiments.experiment import MAX_FAILED, Experiment
from vlmlens.experiments.failing import failed
from vlmlens.experiments.given import as_model, as_samples
from vlmlens.experiments.measures import Answering, Measure
from vlmlens.experiments.naming import named
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.running import run_shown
from vlmlens.graders import GRADERS, Rule
from vlmlens.interventions import Intervention, PermuteVision
from vlmlens.model import HookedVLM
from vlmlens.probes.graded import UNANSWERED
from vlmlens.probes.psi import ORIGINAL
from vlmlens.sample import Sample, with_answers_known

#: More shuffles than this nobody means.
MOST = 10**6
SCORING = ("greedy", "likelihood", *(f"likelihood:{form}" for form in FORMS))
REFERENCES = ("gold", "own")


@checked
def permutation_test(
    model: HookedVLM,
    samples: Sequence[Sample],
    *,
    permutations: int = 5,
    scoring: str = "greedy",
    max_new_tokens: int = 8,
    system: str | None = None,
    reference: str | None = None,
    rule: Rule = GRADERS["letter"],
    allow_nonfinite: bool = False,
    batch: int = 32,
    folder: Path | str | None = None,
    progress: Progress = True,
    max_failed: int | float = MAX_FAILED,
    names: Sequence[str] = (),
    executor: Executor = None,
) -> xr.Dataset:
    """Ask every question about intact images and about shuffled ones.

    Permutation k of a sample depends on k and the sample alone: results do not change with the
    batch size or the order of the samples.

    Args:
        model: an open model.
        samples: questions with right answers. One without is asked, but not graded: its
            ``correct`` is NaN, the attribute ``unanswered`` names it, and accuracies are over
            the others.
        permutations: how many shuffles of every image.
        scoring: ``"greedy"`` grades what the model says by a fixed rule; ``"likelihood"`` takes
            the choice that it finds likeliest, by the sum of log p, or in another of the forms of
            ``Choosing``: ``"likelihood:per-token"``, ``"likelihood:per-byte"``,
            ``"likelihood:calibrated"``.
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        reference: ``"gold"`` grades by the samples' answers; ``"own"`` takes what the model says
            of the intact image for the right answer of EVERY sample: ``correct`` then is whether
            shuffling keeps the answer, not whether it is right. By default ``"own"`` only where
            no sample has an answer. The attribute ``reference`` says which.
        rule: grades what is said against right answers; a published set has its own
            (``datasets.rule_of_set``). The attribute ``rule`` names it.
        allow_nonfinite: go on where activations are NaN or infinite; otherwise such a sample is
            refused, with the first point that is.
        batch: samples a pass.
        folder: keeps finished cells, so that a second call goes on where the first stopped.
        progress: show a bar, or lines where there is no terminal; or a function of ``Event``.
        max_failed: how many samples may fail, as in ``Experiment``.
        names: what results call the samples, as there.
        executor: who computes, as there; a ``Shard``'s table is of its own samples.

    Returns:
        ``answer``, ``correct`` and ``log_prob`` over (permutation, sample).

    Raises:
        InputError: an unknown ``scoring`` or ``reference``.
        DataError: answers that are needed and not there.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> found = vl.experiments.permutation_test(
        ...     model, samples, permutations=1, max_new_tokens=2, progress=False
        ... )
        >>> found.permutation.values.tolist()
        ['original', 'seed 0']
        >>> found.correct.sel(permutation="original").values.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    as_model(model)
    samples = with_answers_known(as_samples(samples))
    whole(permutations, "permutations", 1, MOST)
    reference = refuse_unscored(samples, scoring, reference, rule)
    names = tuple(names) or named(samples)
    known = {name for name, sample in zip(names, samples, strict=True) if sample.answer is not None}
    options: Any = {"system": system, "allow_nonfinite": allow_nonfinite}
    measure: Measure = Answering(max_new_tokens=max_new_tokens, rule=rule, **options)
    if form := likelihood_form(scoring):
        measure = Choosing(form=form, **options)
    before = []
    if reference == "own":
        blank = [replace(sample, answer=None, choices=()) for sample in samples]
        first = Experiment(model, blank, measure, batch=batch, max_failed=max_failed, names=names)
        own = run_shown(first, folder, progress, "own answers", executor)
        before = failed(own)
        most = allowed(max_failed, len(before) + own.sizes["sample"])
        max_failed, said = most - len(before), answers_of(own, "intervention")
        samples = [replace(s, answer=said.get(n, "-")) for s, n in zip(blank, names, strict=True)]
        executor = skipping(executor, names, [each["id"] for each in before])
        measure = Answering(max_new_tokens=max_new_tokens, own=True, **options)
    experiment = Experiment(
        *(model, samples, measure, shuffles(permutations), "permutation", batch),
        *(max_failed, names),
    )
    table = run_shown(experiment, folder, progress, "permutations", executor)
    if failures := before + failed(table):
        table.attrs["failures"] = json.dumps(failures)
    answered = sum(name in known for name in table["sample"].values.tolist())
    table.attrs |= {"reference": reference, "scoring": scoring, "answered": answered}
    table["correct"].attrs["reference"] = reference
    if reference == "gold" and not form:
        table.attrs["rule"] = rule.label
    without = table["correct"].isnull().any("permutation")
    if bool(without.any()):
        names = [str(name) for name in table["sample"].values[without.values]]
        table.attrs[UNANSWERED] = json.dumps(names)
    return table


def answers_of(table: xr.Dataset, dimension: str) -> dict[str, str]:
    """What the model says of every intact image, by the sample's name."""
    said = table["answer"].sel({dimension: ORIGINAL}).values
    return dict(zip(table["sample"].values.tolist(), map(str, said), strict=True))


@checked
def refuse_unscored(
    samples: Sequence[Sample],
    scoring: str,
    reference: str | None,
    rule: Rule = GRADERS["letter"],
) -> str:
    """What answers are held against, once it is known that every sample can be scored so.

    Raises:
        InputError: an unknown ``scoring`` or ``reference``, or one that the samples do not allow.
        DataError: a sample without the choices that likelihood scoring takes, or with a right
            answer that the rule cannot grade by.

    Examples:
        >>> vl.experiments.refuse_unscored(samples, "greedy", None)
        'gold'
        >>> vl.experiments.refuse_unscored([vl.Sample("What is this?")], "greedy", None)
        'own'
    """
    one_of(scoring, "scoring", SCORING)
    if likelihood_form(scoring):
        Choosing.places(samples)
    found = _reference(samples, reference, scoring)
    if found == "gold" and not likelihood_form(scoring):
        rule.refuse(samples)
    return found


def likelihood_form(scoring: str) -> str:
    """Which form of likelihood a way to score names; empty for what is said."""
    way, _, form = scoring.partition(":")
    return (form or "sum") if way == "likelihood" else ""


def _reference(samples: Sequence[Sample], asked: str | None, scoring: str) -> str:
    """What answers are held against: gold, unless none is known or the model's own are asked for.

    Raises:
        InputError: an unknown reference, or own answers of a model that only chooses.
        DataError: no sample has an answer, where one is needed.
    """
    if asked is not None:
        one_of(asked, "reference", REFERENCES)
    known = any(sample.answer is not None for sample in samples)
    chosen = bool(likelihood_form(scoring))
    found = asked or ("gold" if known or chosen else "own")
    if found == "own" and chosen:
        raise InputError("own answers are what the model says: scoring='greedy'")
    if found == "gold" and not known:
        raise DataError(
            f"none of the {len(samples)} samples has a right answer: give answers, or measure "
            "against the model's own (reference='own', scoring='greedy')"
        )
    return found


def shuffles(permutations: int) -> dict[str, tuple[Intervention, ...]]:
    """Nothing, and then one free permutation of every image's tokens for each seed."""
    edits: dict[str, tuple[Intervention, ...]] = {ORIGINAL: ()}
    return edits | {f"seed {k}": (PermuteVision(seed=k),) for k in range(permutations)}
