"""The diagnosis of a model: what it answers, shuffled or not, and what goes on inside."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import allowed, number, whole
from vlmlens.experiments.diagnosis import Diagnosis, psi_of, versions
from vlmlens.experiments.executors import Executor, skipping
from vlmlens.experiments.experiment import MAX_FAILED, Experiment
from vlmlens.experiments.failing import failed, left
from vlmlens.experiments.folder import claim
from vlmlens.experiments.given import as_model, as_samples
from vlmlens.experiments.measures import Diagnosing
from vlmlens.experiments.naming import named
from vlmlens.experiments.permuting import MOST, permutation_test, refuse_unscored
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.running import run_shown
from vlmlens.graders import GRADERS, Rule
from vlmlens.model import HookedVLM
from vlmlens.model.reading.made_of import in_words
from vlmlens.probes.psi import ORIGINAL
from vlmlens.sample import Sample, with_answers_known


@checked
def diagnose(
    model: HookedVLM,
    samples: Sequence[Sample],
    *,
    permutations: int = 5,
    scoring: str = "greedy",
    reference: str | None = None,
    rule: Rule = GRADERS["letter"],
    allow_nonfinite: bool = False,
    delta: float = 1.0,
    max_new_tokens: int = 8,
    system: str | None = None,
    seed: int = 0,
    batch: int = 32,
    folder: Path | str | None = None,
    progress: Progress = True,
    look: Diagnosing | None = None,
    max_failed: int | float = MAX_FAILED,
    executor: Executor = None,
) -> Diagnosis:
    """PSI, CMB, RoPE sensitivity and norms by depth of one model on one data set.

    Args:
        model: an open model.
        samples: questions about images.
        permutations: how many shuffles of every image.
        scoring: ``"greedy"``, ``"likelihood"`` or a form of it, as in ``permutation_test``.
        reference: ``"gold"`` or ``"own"``, as there; samples without an answer are left out of
            accuracy and PSI, and named in the attribute ``unanswered``.
        rule: grades what is said, as there.
        allow_nonfinite: as there; averages then are NaN where a layer is.
        delta: RoPE steps that the vision keys are rotated by.
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        seed: of intervals and tests.
        batch: samples a pass.
        folder: keeps finished cells; run again, only what is missing is computed.
        progress: show bars, or lines where there is no terminal; or a function of ``Event``.
        look: what is measured inside; by default CMB, RoPE sensitivity and norms by depth.
        max_failed: how many samples may fail, as in ``Experiment``; the attribute ``failures``
            names them, and they are in no table.
        executor: who computes, as in ``Experiment.run``; a ``Shard``'s diagnosis is of its own
            samples, and without one all of a folder's are read.

    Raises:
        DataError: a folder that holds another model's results, or cannot be written into; too
            many samples failed.

    Examples:
        >>> found = vl.experiments.diagnose(
        ...     model, samples[:1], permutations=1, max_new_tokens=2, progress=False
        ... )
        >>> found.psi.accuracy.sel(category="overall").item(), found.results.cmb.dims
        (1.0, ('sample', 'layer', 'head'))
    """
    as_model(model)
    samples = with_answers_known(as_samples(samples))
    reference = refuse_unscored(samples, scoring, reference)
    whole(permutations, "permutations", 1, MOST)
    number(delta, "delta")
    names = named(samples)
    if look is None:
        look = Diagnosing(system, max_new_tokens, delta, allow_nonfinite=allow_nonfinite)
    cells = None if folder is None else claim(folder, str(model.name)) / "cells"
    first = Experiment(model, samples, look, batch=batch, max_failed=max_failed, names=names)
    looked = run_shown(first, cells, progress, "looking inside", executor)
    lost = [each["id"] for each in failed(looked)]
    asked = permutation_test(
        model,
        samples,
        permutations=permutations,
        scoring=scoring,
        max_new_tokens=max_new_tokens,
        system=system,
        reference=reference,
        rule=rule,
        allow_nonfinite=allow_nonfinite,
        batch=batch,
        folder=cells,
        progress=progress,
        max_failed=allowed(max_failed, len(lost) + looked.sizes["sample"]) - len(lost),
        names=names,
        executor=skipping(executor, names, lost),
    )
    about = {"delta": delta, "permutations": permutations, "seed": seed}
    results = _together(asked, looked, _about(model, system, max_new_tokens) | about)
    some, _ = left(samples, names, results)
    results.attrs |= {
        "vision_tokens": int(np.prod(_grid(model, some[0]))),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(versions()),
    }
    if failures := failed(looked, asked):
        results.attrs["failures"] = json.dumps(failures)
    return Diagnosis(results, psi_of(results, seed=seed))


def _about(model: HookedVLM, system: str | None, max_new_tokens: int) -> dict[str, Any]:
    said = {
        "model": model.name,
        "revision": model.revision,
        "attention": model.attention,
        "dtype": in_words(model.hf_model),
        "max_new_tokens": max_new_tokens,
    }
    return said if system is None else said | {"system": system}


def _together(asked: xr.Dataset, looked: xr.Dataset, about: dict[str, Any]) -> xr.Dataset:
    """What was said and what was measured inside, of the samples that have both."""
    looked = looked.sel(intervention=ORIGINAL, drop=True).drop_vars("gold")
    looked = looked.sel(sample=asked["sample"])
    results = asked.transpose("sample", ...).merge(looked, join="exact", compat="override")
    return results.assign_attrs(about | asked.attrs)


def _grid(model: HookedVLM, sample: Sample) -> tuple[int, int]:
    return model.inputs([sample]).layouts[0].grid()
