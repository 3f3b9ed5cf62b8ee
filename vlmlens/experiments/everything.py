"""``diagnose --all``: every measurement there is, each with its interval."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from vlmlens import probes
from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.experiments.blind import CONTROLS, control_table, controls
from vlmlens.experiments.diagnosis import Diagnosis, psi_of
from vlmlens.experiments.effects import causal_effects, dose_effects
from vlmlens.experiments.experiment import MAX_FAILED, Experiment, named
from vlmlens.experiments.failing import Failing, batches, in_all, left
from vlmlens.experiments.given import as_folder, as_samples
from vlmlens.experiments.joining import joined
from vlmlens.experiments.looking import Looking, boxes_of, named_boxes
from vlmlens.experiments.measures import Answering, Comparing
from vlmlens.experiments.recipes import diagnose, shuffles
from vlmlens.experiments.summary import summarise
from vlmlens.extras import require
from vlmlens.interventions import Intervention, MovePositions, PermuteVision, RotateRope
from vlmlens.model import HookedVLM
from vlmlens.probes.linear import NEEDS as STATES
from vlmlens.probes.steps import LAST_ROWS
from vlmlens.sample import Sample, with_answers_known
from vlmlens.select import Where

#: Shares of an image's tokens that are shuffled.
DOSES = (0.25, 0.5, 0.75, 1.0)
#: Steps that vision tokens are turned or moved by in the real pass.
TURNS = (1.0, 4.0, 16.0)
#: Structured permutations.
DESIGNS = ("within rows", "within columns", "rows", "columns", "blocks", "mirror", "transpose")
#: Pictures that linear probes are trained on, and that are shown patch by patch.
PROBED, SHOWN = 64, 8


@checked
def diagnose_all(
    model: HookedVLM,
    samples: Sequence[Sample],
    *,
    permutations: int = 5,
    scoring: str = "greedy",
    reference: str | None = None,
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
        delta: RoPE steps that the vision keys are turned by.
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
        * ``designs``: structured permutations; ``causal``: vision keys turned, vision tokens
          moved, in the real pass: KL, log-probability, accuracy, by edit
        * ``controls``: text only, noise, blank, another picture (if there are two)
        * ``linear``: row, column, colour and shape, read off vision tokens layer by layer (if there
          are two pictures)
        * ``embedding``: quartiles of the embedding table's norms, and of the questions' words
        * ``shown``: attention, likeness and words patch by patch, of the first few pictures

    Raises:
        MissingToolError: scikit-learn, the extra ``probes``, is not installed; nothing is measured.

    Example:
        >>> found = vl.experiments.diagnose_all(
        ...     model, samples[:1], permutations=1, max_new_tokens=1, progress=False
        ... )
        >>> sorted(found.tables)
        ['causal', ...]
    """
    require("sklearn", "diagnose_all", "diagnose goes without it")
    samples = with_answers_known(as_samples(samples))
    look = Looking(system=system, max_new_tokens=max_new_tokens, delta=delta)
    found = diagnose(
        model,
        samples,
        permutations=permutations,
        scoring=scoring,
        reference=reference,
        delta=delta,
        max_new_tokens=max_new_tokens,
        system=system,
        seed=seed,
        batch=batch,
        folder=folder,
        progress=progress,
        look=look,
        max_failed=max_failed,
    )
    cells = None if folder is None else as_folder(folder) / "cells"
    # What failed is in no table, and not asked again.
    samples, names = left(samples, named(samples), found.results)
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
    graded = [sample for sample in asked if sample.answer is not None]
    probed = samples[:PROBED]
    several = len(set(results["picture"].values[:PROBED].tolist())) > 1
    kinds = [kind for kind in CONTROLS if several or kind != "other picture"]
    answering = Answering(system=system, max_new_tokens=max_new_tokens, own=kept)
    tables = {
        "summary": summarise(results, correction=correction, scene=scene, seed=seed),
        "flips": probes.answer_flips(
            results["correct"].assign_attrs(reference=results.attrs["reference"]), scene=scene
        ),
        "doses": _doses(model, graded, answering, batch, cells, scene, seed),
        **{
            name: _edited(
                causal_effects(
                    model,
                    asked,
                    edits,
                    max_new_tokens=max_new_tokens,
                    system=system,
                    own=kept,
                    batch=batch,
                    folder=cells,
                ),
                scene,
                seed,
            )
            for name, edits in (("designs", _designs()), ("causal", _turns()))
        },
        "controls": control_table(
            controls(model, graded, kinds, measure=answering, batch=batch, folder=cells),
            scene=scene,
            seed=seed,
        ),
        **(
            {
                "linear": linear_table(
                    model, probed, system=system, batch=batch, seed=seed, max_failed=max_failed
                )
            }
            if several
            else {}
        ),
        "embedding": _embedding(model, samples),
        "shown": shown(model, samples[:SHOWN], system=system, max_failed=max_failed),
    }
    for table in tables.values():
        table.attrs |= {k: v for k, v in results.attrs.items() if k not in table.attrs}
    psi = psi_of(results, scene=scene, seed=seed)
    return Diagnosis(results, psi, tables)


def answered_samples(samples: Sequence[Sample], results: xr.Dataset) -> list[Sample]:
    """Samples whose right answer is what the model says of the intact image."""
    said = results["answer"].sel(permutation="original").values
    return [replace(s, answer=str(a), choices=()) for s, a in zip(samples, said, strict=True)]


def linear_table(
    model: HookedVLM,
    samples: Sequence[Sample],
    *,
    system: str | None = None,
    batch: int = 32,
    seed: int = 0,
    max_failed: int | float = MAX_FAILED,
) -> xr.Dataset:
    """``probes.linear_probe`` of every label that these pictures have, over (label, layer).

    Samples whose pictures cannot be read are left out, up to ``max_failed``.

    Example:
        >>> found = vl.experiments.linear_table(model, samples[:2])
        >>> found.label.values.tolist(), found.accuracy.dims
        (['row', 'column', 'color', 'shape'], ('label', 'layer'))
    """
    need: Save = STATES[0]
    failing = Failing(named(samples), max_failed)
    runs, kept = [], []
    for some, inputs in batches(model, samples, batch, failing, system=system):
        runs.append(model.run(inputs, save=need, logits=False))
        kept += some
    samples = kept
    layouts = [layout for run in runs for layout in run.inputs.layouts]
    labels: dict[str, str | list[list[str]]] = {"row": "row", "column": "column"}
    if boxes_of(samples) is not None:
        for what in ("color", "shape"):
            own_labels = [
                probes.labels_in_boxes(layout, named_boxes(sample, what))
                for layout, sample in zip(layouts, samples, strict=True)
            ]
            labels[what] = [[label.split(" ")[-1] for label in own] for own in own_labels]
    found = [
        probes.linear_probe(runs, label, seed=seed).drop_vars("per_picture")
        for label in labels.values()
    ]
    pictures = {each for run in runs for each in run.inputs.units}
    table = joined(found, "label", list(labels))
    return table.assign_attrs({"pictures": len(pictures)} | failing.attrs())


def shown(
    model: HookedVLM,
    samples: Sequence[Sample],
    *,
    system: str | None = None,
    max_failed: int | float = MAX_FAILED,
) -> xr.Dataset:
    """The first pictures patch by patch, where the answer begins.

    Samples whose pictures cannot be read are left out, up to ``max_failed``.

    Returns:
        Over (sample, layer, row, column): ``attention`` (heads averaged), ``word`` (logit lens);
        ``similarity`` (sample, row, column), cosine to the middle patch as it enters block 0. NaN,
        and ``""``, beyond the grid of a smaller image.

    Example:
        >>> found = vl.experiments.shown(model, samples[:1])
        >>> found.attention.dims, found.word.shape
        (('sample', 'layer', 'row', 'column'), (1, 4, 8, 8))
    """
    parts = []
    lens = probes.lens_needs(model, best=1)
    failing = Failing(named(samples), max_failed)
    for _, inputs in batches(model, samples, 1, failing, system=system):
        run = model.run(inputs, save=[LAST_ROWS, "hook_embed", lens])
        rows, columns = run.inputs.layouts[0].grid()
        words = probes.logit_lens(run, lens, model.processor.tokenizer)["word"].isel(rank=0)
        part = xr.Dataset(
            {
                "attention": probes.image_attention(run).mean("head", keep_attrs=True),
                "word": probes.on_image(words, run),
                "similarity": probes.similarity_map(run, (rows // 2, columns // 2)),
            }
        )
        parts.append(part.assign_coords(row=range(rows), column=range(columns)))
    return joined(parts, "sample", join="outer").assign_attrs(failing.attrs())


def _doses(
    model: HookedVLM,
    samples: Sequence[Sample],
    measure: Answering,
    batch: int,
    folder: Path | str | None,
    scene: str | bool | None,
    seed: int,
) -> xr.Dataset:
    """Responses of accuracy and log-probability to the share of tokens that are shuffled."""
    doses = [(0.0, ()), *((dose, (PermuteVision(fraction=dose),)) for dose in DOSES)]
    found = dose_effects(model, samples, doses, measure=measure, batch=batch, folder=folder)
    names = ["correct", "log_prob"]
    tables = [probes.dose_response(found[name], scene=scene, seed=seed) for name in names]
    return joined(tables, "of", names)


def _designs() -> dict[str, tuple[Intervention, ...]]:
    return {design: (PermuteVision(design=design),) for design in DESIGNS}


def _turns() -> dict[str, tuple[Intervention, ...]]:
    vision = Where(positions="vision")
    edits: dict[str, tuple[Intervention, ...]] = {}
    for steps in TURNS:
        edits[f"keys {steps:+g}"] = (RotateRope(delta=steps, of="keys", where=vision),)
        edits[f"ids {steps:+g}"] = (MovePositions(shift=steps, where=vision),)
    return edits


def _edited(found: xr.Dataset, scene: str | bool | None, seed: int) -> xr.Dataset:
    """Means and intervals of what edits did, over (intervention)."""
    names = [n for n in ("kl", "agree", "top_drop", "log_prob_drop", "correct") if n in found]
    return summarise(found[names].rename({n: f"mean_{n}" for n in names}), scene=scene, seed=seed)


def _embedding(model: HookedVLM, samples: Sequence[Sample]) -> xr.Dataset:
    """Norms of the embedding table and of the questions' own words."""
    words = probes.embedding_norms(model, [sample.question for sample in samples])
    words = words.assign_coords(role=("token", ["questions"] * words.sizes["token"]))
    return probes.quartiles(
        xr.concat([probes.embedding_norms(model), words], "token", join="exact")
    )
