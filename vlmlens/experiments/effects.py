"""What edits do to answers: dose and response, causal rotations, several models side by side."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from vlmlens.annotations import checked
from vlmlens.checks import number, shown
from vlmlens.errors import InputError
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.failing import in_all
from vlmlens.experiments.given import as_labelled
from vlmlens.experiments.joining import joined
from vlmlens.experiments.measures import Answering, Comparing, Measure
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.running import run_shown
from vlmlens.interventions import Intervention, as_edits
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: Edits in the order in which they are applied.
Edits = Sequence[Intervention]


@checked
def causal_effects(
    model: HookedVLM,
    samples: Sequence[Sample],
    edits: Mapping[str, Edits],
    *,
    max_new_tokens: int = 8,
    system: str | None = None,
    own: bool = False,
    batch: int = 32,
    folder: Path | str | None = None,
    executor: Executor = None,
    progress: Progress = False,
) -> xr.Dataset:
    """What edits in the real forward pass do to the output: KL, log-probability, accuracy.

    The causal form of the RoPE probe is one such: rotate or move the vision tokens in the pass
    itself, so that later layers see what the earlier ones made of it.

    Args:
        model: an open model.
        samples: questions; with right answers, there are log-probabilities and accuracies too.
        edits: label -> interventions.
        max_new_tokens: the length of an answer at most.
        system: a system prompt.
        own: the samples' answers are the model's own; see ``Answering``.
        batch: samples a pass.
        folder: keeps finished cells.
        executor: who computes, as in ``Experiment.run``.
        progress: show bars, as in ``diagnose``.

    Returns:
        Over (intervention, sample): ``kl`` (nats, clean || edited, of the answer's first token),
        ``agree``, ``top_drop``, ``answer``; and with right answers ``log_prob``,
        ``log_prob_drop`` (nats) and ``correct``. The label ``"original"``, without edits, is first.

    Raises:
        InputError: no edits, or one that is called ``"original"``.

    Examples:
        >>> from vlmlens.interventions import RotateRope
        >>> keys = RotateRope(delta=4.0, of="keys", where=vl.Where(positions="vision"))
        >>> found = vl.experiments.causal_effects(model, samples[:2], {"keys +4": [keys]})
        >>> found.intervention.values.tolist(), list(found.kl.dims)
        (['original', 'keys +4'], ['intervention', 'sample'])
        >>> found.kl.sel(intervention="original").values.tolist()
        [0.0, 0.0]
    """
    if isinstance(edits, Mapping) and (not edits or "original" in edits):
        raise InputError("give edits by name; 'original' is the name of none of them")
    labelled = {"original": (), **as_labelled(edits)}
    measures = (
        Comparing(system=system),
        Answering(system=system, max_new_tokens=max_new_tokens, own=own),
    )
    compared, answered = in_all(
        run_shown(
            Experiment(model, samples, measure, labelled, batch=batch),
            *(folder, progress, f"effects, {type(measure).__name__.lower()}", executor),
        )
        for measure in measures
    )
    answered = answered.drop_vars("log_prob", errors="ignore")
    return compared.merge(answered, join="exact", compat="no_conflicts")


@checked
def dose_effects(
    model: HookedVLM,
    samples: Sequence[Sample],
    doses: Sequence[tuple[int | float, Edits]],
    *,
    measure: Measure | None = None,
    batch: int = 32,
    folder: Path | str | None = None,
    executor: Executor = None,
    progress: Progress = False,
) -> xr.Dataset:
    """A measure at every dose of an intervention, for ``probes.dose_response``.

    Args:
        model: an open model.
        samples: questions.
        doses: (dose, edits that give it); a dose may come several times, under other seeds. No
            edits at all are a dose too: ``(0.0, ())``.
        measure: by default what the model answers, whether that is right, and how likely the
            right answer is.
        batch: samples a pass.
        folder: keeps finished cells.
        executor: who computes, as in ``Experiment.run``.
        progress: show bars, as in ``diagnose``.

    Returns:
        The measure's variables over (dose, sample), doses in the order given.

    Raises:
        InputError: no doses.

    Examples:
        >>> from vlmlens.interventions import PermuteVision
        >>> doses = [(share, [PermuteVision(fraction=share)]) for share in (0.5, 1.0)]
        >>> found = vl.experiments.dose_effects(model, samples[:2], [(0.0, ()), *doses])
        >>> found.dose.values.tolist(), list(found.log_prob.dims)
        ([0.0, 0.5, 1.0], ['dose', 'sample'])
    """
    given = _as_doses(doses)
    edits = {f"{number}: {dose:g}": edits for number, (dose, edits) in enumerate(given)}
    how = Answering() if measure is None else measure
    run = Experiment(model, samples, how, edits, "dose", batch)
    found = run_shown(run, folder, progress, "doses", executor)
    return found.assign_coords(dose=[float(dose) for dose, _ in given])


def _as_doses(given: Any) -> list[tuple[int | float, tuple[Intervention, ...]]]:
    """Doses, each with the edits that give it."""
    try:
        pairs = [(dose, edits) for dose, edits in given]
    except (TypeError, ValueError) as error:
        raise InputError(f"doses={shown(given)}: pairs (dose, edits) are wanted") from error
    if not pairs:
        raise InputError("no doses: give (dose, edits) for at least one")
    return [(number(dose, "dose"), tuple(as_edits(edits))) for dose, edits in pairs]


@checked
def compare(
    models: Sequence[str | HookedVLM],
    measure: Callable[[HookedVLM], xr.Dataset],
    *,
    device: str | None = None,
) -> xr.Dataset:
    """The same measurement of several models, in one table.

    Models are opened one after another, so that one at a time is in memory.

    Args:
        models: names, folders or hub ids; or models that are open, and stay so.
        measure: what is done with each, for example
            ``lambda model: experiments.diagnose(model, samples).results``.
        device: where models that are opened here are put.

    Returns:
        The tables along a new dimension ``model``. Where models differ in layers or heads, the
        smaller have NaN in the rest.

    Raises:
        InputError: no models, or two of one name.

    Examples:
        >>> measure = lambda model: vl.experiments.Reciting()(model, samples, ())
        >>> found = vl.experiments.compare([model], measure)
        >>> dict(found.correct.sizes), found.model.values.tolist()
        ({'model': 1, 'sample': 4}, ['shapes-base'])
    """
    names = [str(model.name if isinstance(model, HookedVLM) else model) for model in models]
    if not names or len(set(names)) < len(names):
        raise InputError(f"models are told apart by their names; there is: {names}")
    tables = []
    for model in models:
        if isinstance(model, HookedVLM):
            tables.append(measure(model))
            continue
        with HookedVLM.from_pretrained(model, device=device) as opened:
            tables.append(measure(opened))
    return joined(tables, "model", names, join="outer")
