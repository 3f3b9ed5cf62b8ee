"""``diagnose --all``: every measurement there is, each with its interval."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from vlmlens import probes
from vlmlens.annotations import checked
from vlmlens.experiments.diagnosis import Diagnosis, psi_of
from vlmlens.experiments.experiment import MAX_FAILED, Experiment, named
from vlmlens.experiments.failing import in_all, left
from vlmlens.experiments.further import Further
from vlmlens.experiments.given import as_folder, as_samples
from vlmlens.experiments.looking import Looking
from vlmlens.experiments.measures import Answering, Comparing
from vlmlens.experiments.permuting import shuffles
from vlmlens.experiments.recipes import diagnose
from vlmlens.experiments.summary import summarise
from vlmlens.extras import require
from vlmlens.graders import GRADERS, Rule
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample, with_answers_known


@checked
def diagnose_all(
    model: HookedVLM,
    samples: Sequence[Sample],
    *,
    permutations: int = 5,
    scoring: str = "greedy",
    reference: str | None = None,
    rule: Rule = GRADERS["letter"],
    delta: float = 1.0,
    max_new_tokens: int = 8,
    system: str | None = None,
    seed: int = 0,
    batch: int = 32,
    scene: str | bool | None = None,
    correction: str = "max",
    folder: Path | str | None = None,
    progress: bool = True,
    max_failed: int | float = MAX_FAILED,
) -> Diagnosis:
    """``diagnose``, and every other measurement.

    Args:
        model: an open model.
        samples: questions about images.
        permutations: how many shuffles of every image.
        scoring: ``"greedy"`` or ``"likelihood"``.
        reference: ``"gold"`` or ``"own"``, as in ``permutation_test``.
        rule: grades what is said, as there.
        delta: RoPE steps that the vision keys are rotated by.
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        seed: of intervals, tests, folds.
        batch: samples a pass.
        scene: a coordinate of ``sample`` in the results (``"category"``, ``"question"``);
            samples of one scene are drawn together. By default ``picture``; ``False``: every
            sample alone.
        correction: over the cells of every map: ``"max"``, ``"fdr"`` or ``"none"``.
        folder: keeps finished cells; run again, only what is missing is computed. What is no cell
            (linear probes, embedding norms, the rows that are shown) is measured anew.
        progress: show bars.
        max_failed: how many samples may fail, as in ``Experiment``.

    Returns:
        The diagnosis, with ``results`` of every sample, and in ``tables``:

        * ``summary``: the mean of every variable, its interval, its corrected test
        * ``flips``: every shuffle's McNemar test, by category
        * ``doses``: accuracy and log-probability as more and more tokens are shuffled, with slopes
        * ``designs``: structured permutations; ``causal``: vision keys rotated, vision tokens
          moved, in the real pass: KL, log-probability, accuracy, by edit
        * ``controls``: text only, noise, blank, another picture (if there are two)
        * ``linear``: row, column, colour and shape, read off vision tokens layer by layer (if there
          are two pictures)
        * ``embedding``: quartiles of the embedding table's norms, and of the questions' tokens
        * ``shown``: attention, likeness and words patch by patch, of the first few pictures

    Raises:
        MissingToolError: scikit-learn, the extra ``probes``, is not installed; nothing is measured.

    Examples:
        >>> found = vl.experiments.diagnose_all(
        ...     model, samples[:1], permutations=1, max_new_tokens=1, progress=False
        ... )
        >>> sorted(found.tables)
        ['causal', ...]
    """
    require("sklearn", "diagnose_all", "diagnose goes without it")
    samples = with_answers_known(as_samples(samples))
    found = diagnose(
        *(model, samples),
        permutations=permutations,
        scoring=scoring,
        reference=reference,
        rule=rule,
        delta=delta,
        max_new_tokens=max_new_tokens,
        system=system,
        seed=seed,
        batch=batch,
        folder=folder,
        progress=progress,
        look=Looking(system, max_new_tokens, delta),
        max_failed=max_failed,
    )
    cells = None if folder is None else as_folder(folder) / "cells"
    samples, names = left(samples, named(samples), found.results)  # what failed is in no table
    kept = found.results.attrs["reference"] == "own"
    asked = answered_samples(samples, found.results) if kept else samples
    compared = Experiment(
        *(model, asked, Comparing(system=system), shuffles(permutations), "permutation", batch),
        *(max_failed, names),
    ).run(cells)
    results, compared = in_all([found.results, compared])
    results = results.assign({name: compared[name] for name in ("kl", "agree", "top_drop")})
    samples, _ = left(samples, names, results)
    asked, names = left(asked, names, results)
    how = Answering(system, max_new_tokens, kept, rule)
    further = Further(model, how, batch, cells, scene, seed, max_failed)
    judged = results["correct"].assign_attrs(reference=found.results.attrs["reference"])
    tables = {
        "summary": summarise(results, correction=correction, scene=scene, seed=seed),
        "flips": probes.answer_flips(judged, scene=scene),
        **further.tables(samples, asked, results["picture"].values.tolist()),
    }
    for table in tables.values():
        table.attrs |= {k: v for k, v in results.attrs.items() if k not in table.attrs}
    return Diagnosis(results, psi_of(results, scene=scene, seed=seed), tables)


def answered_samples(samples: Sequence[Sample], results: xr.Dataset) -> list[Sample]:
    """Samples whose right answer is what the model says of the intact image."""
    said = results["answer"].sel(permutation="original").values
    return [replace(s, answer=str(a), choices=()) for s, a in zip(samples, said, strict=True)]
