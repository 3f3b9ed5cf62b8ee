"""What is read patch by patch: linear probes of every label, and pictures that are shown."""

from collections.abc import Sequence

import xarray as xr

from vlmlens import probes
from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.draws import pictures_of
from vlmlens.experiments.experiment import MAX_FAILED
from vlmlens.experiments.failing import Failing, batches
from vlmlens.experiments.joining import joined
from vlmlens.experiments.looking import boxes_of, named_boxes
from vlmlens.experiments.naming import named
from vlmlens.model import HookedVLM
from vlmlens.probes.linear import NEEDS as STATES
from vlmlens.probes.steps import LAST_ROWS
from vlmlens.sample import Sample


@checked
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

    Examples:
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
    pictures = {each for run in runs for entry in run.inputs.units for each in pictures_of(entry)}
    table = joined(found, "label", list(labels))
    return table.assign_attrs({"pictures": len(pictures)} | failing.attrs())


@checked
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

    Examples:
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


@checked
def attention_shown(
    model: HookedVLM, samples: Sequence[Sample], *, system: str | None = None
) -> xr.Dataset:
    """Where each sample's first token of an answer looks on its first picture, heads averaged.

    A pass for each sample, which keeps one row of every pattern.

    Returns:
        ``attention`` over (sample, layer, row, column), with the boxes of the cells; NaN beyond
        the grid of a smaller image.

    Examples:
        >>> found = vl.experiments.attention_shown(model, samples[:2])
        >>> dict(found.attention.sizes)
        {'sample': 2, 'layer': 4, 'row': 8, 'column': 8}
    """
    parts = []
    for sample in samples:
        run = model.run(model.inputs(sample, system=system), save=LAST_ROWS, logits=False)
        rows, columns = run.inputs.layouts[0].grid()
        part = (
            probes.image_attention(run).mean("head", keep_attrs=True).to_dataset(name="attention")
        )
        parts.append(part.assign_coords(row=range(rows), column=range(columns)))
    return joined(parts, "sample", join="outer")
