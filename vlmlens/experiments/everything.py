"""``diagnose --all``: every measurement there is, each with its interval."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.draws import together
from vlmlens.errors import ImageError
from vlmlens.experiments.diagnosis import Diagnosis, psi_of
from vlmlens.experiments.executors import Executor, Shard
from vlmlens.experiments.experiment import MAX_FAILED
from vlmlens.experiments.failing import failed, in_all, left
from vlmlens.experiments.further import PROBED, Further
from vlmlens.experiments.given import as_folder, as_samples
from vlmlens.experiments.looking import Looking
from vlmlens.experiments.measures import Answering
from vlmlens.experiments.naming import named
from vlmlens.experiments.permuting import answers_of
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.recipes import diagnose
from vlmlens.extras import require
from vlmlens.graders import GRADERS, Rule
from vlmlens.identity import unit
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
    progress: Progress = True,
    max_failed: int | float = MAX_FAILED,
    executor: Executor = None,
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
        progress: show bars, as in ``diagnose``.
        max_failed: how many samples may fail, as in ``Experiment``.
        executor: who computes what the folder keeps, as in ``Experiment.run``; the rest is
            measured here. A ``Shard``'s diagnosis is of its own samples and has no tables: called
            with the same folder, and without one, all of it is read.

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
        executor=executor,
    )
    cells = None if folder is None else as_folder(folder) / "cells"
    share = isinstance(executor, Shard)
    kept = found.results.attrs["reference"] == "own"
    names, every = named(samples), found.results
    asked = answered_samples(samples, names, every) if kept else samples
    how = (batch, cells, scene, seed, max_failed, executor, progress)
    further = Further(model, Answering(system, max_new_tokens, kept, rule), *how)
    compared = further.compared(asked, names, permutations, failed(every))
    results, compared = in_all([every, compared])
    results = results.assign({name: compared[name] for name in ("kl", "agree", "top_drop")})
    several = _are_several(samples[:PROBED])
    measured = further.measured(asked, names, several, failed(results))
    if share:
        return Diagnosis(results, psi_of(results, scene=scene, seed=seed))
    some, _ = left(samples, names, results)
    several = _are_several(some[:PROBED])
    tables = further.tables(results, some, measured, several, correction)
    for table in tables.values():
        table.attrs |= {k: v for k, v in results.attrs.items() if k not in table.attrs}
    return Diagnosis(results, psi_of(results, scene=scene, seed=seed), tables)


def _are_several(samples: Sequence[Sample]) -> bool:
    """Whether every question has another picture, of those that can be read."""
    shown: list[str] = []
    for sample in samples:
        with suppress(ImageError):  # it is counted where it is asked about
            shown.append(unit(sample))
    return len(set(together(shown, apart=False))) > 1


def answered_samples(
    samples: Sequence[Sample], names: Sequence[str], results: xr.Dataset
) -> list[Sample]:
    """Samples whose right answer is what the model says of the intact image.

    Those that another share asks have a word in its place, which nobody reads.
    """
    said = answers_of(results, "permutation")
    return [
        replace(sample, answer=said.get(name, "-"), choices=())
        for sample, name in zip(samples, names, strict=True)
    ]
