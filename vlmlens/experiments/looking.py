"""Everything that is measured inside a model, sample by sample: what ``diagnose --all`` adds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from vlmlens import probes
from vlmlens.cache import Save
from vlmlens.datasets.shapes import Drawn
from vlmlens.experiments.measures import Diagnosing, stand_ins
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM, Inputs, Run
from vlmlens.probes import embedding, residual, rope, sinks
from vlmlens.probes.steps import LAST_ROWS
from vlmlens.sample import Sample
from vlmlens.tensors import onto

Box = tuple[float, float, float, float]
QUANTILES = ("q1", "median", "q3", "mean", "max")


@dataclass(frozen=True)
class Looking(Diagnosing):
    """Every measurement of a run, on top of the three of ``Diagnosing``.

    Attributes:
        deltas: RoPE steps of the response curve, in one pass.
        bands: frequency bands that are turned one at a time.

    Examples:
        >>> from vlmlens.experiments import Looking
        >>> found = Looking(max_new_tokens=1, bands=2)(model, samples[:1], ())
        >>> sorted(found)[:4]
        ['aei', 'alpha_v', 'attention_share', 'attn_update']
    """

    deltas: tuple[float, ...] = (-2.0, -1.0, -0.1, 0.1, 1.0, 2.0)
    bands: int = 4

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``Diagnosing``'s table and, each over ``sample``, the rest; see docs/probes.md."""
        table = super().__call__(model, samples, interventions)
        inputs = model.inputs(samples, system=self.system)
        said = model.generate(inputs, interventions, LAST_ROWS, max_new_tokens=self.max_new_tokens)
        parts = [
            probes.modality_dominance(said),
            probes.paper_shares(said).rename(share="part_share"),
            probes.attention_shares(said).rename(role="to").to_dataset(),
            probes.attention_entropy(said).rename("image_entropy").to_dataset(),
            _head_atlas(said.steps[0], samples),
            _stream(model, inputs, interventions),
            self._turns(model, inputs, interventions),
            _patches(model, inputs, interventions),
        ]
        if any(sample.answer is not None for sample in samples):
            parts.append(_gold_by_layer(model, samples, inputs, interventions, self.system))
        # Of the run: an edit may have dropped tokens, or pooled them.
        if all(layout.mask("system").any() for layout in said.steps[0].inputs.layouts):
            against = probes.cross_modality_balance(said, text=("system",))
            parts.append(against.drop_vars("uniform").rename("cmb_system").to_dataset())
        # Outer: layers without attention have a stream, and no heads.
        return xr.merge([table, *parts], join="outer", compat="no_conflicts")

    def _turns(
        self, model: HookedVLM, inputs: Inputs, interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """The response to several rotations, and to each band of frequencies alone."""
        run = model.run(probes.paper_query(model, inputs), interventions, rope.NEEDS, logits=False)
        curve = probes.rope_sensitivity(run, delta=self.deltas)
        bands = probes.rope_sensitivity(run, delta=self.delta, bands=self.bands)
        return xr.Dataset(
            {
                "curve_delta_g_v": curve["delta_g_v"],
                "curve_delta_alpha_v": curve["delta_alpha_v"],
                "curve_eq11_residual": curve["eq11_residual"],
                "band_delta_g_v": bands["delta_g_v"],
                "band_slope_g_v": bands["slope_g_v"],
            }
        ).transpose("sample", ...)


def boxes_of(samples: Sequence[Sample]) -> list[list[Box]] | None:
    """Where the shapes are, in pixels of each sample's first image; None for other pictures."""
    found = []
    for sample in samples:
        picture = sample.images[0] if sample.images else None
        if not isinstance(picture, Drawn):
            return None
        found.append([_pixels(shape.box, picture.size) for shape in picture.scene.shapes])
    return found


def named_boxes(sample: Sample, what: str) -> dict[str, Box]:
    """Boxes by each shape's number and ``color`` or ``shape``: ``"0 red"``."""
    picture = sample.images[0]
    assert isinstance(picture, Drawn)
    return {
        f"{number} {getattr(shape, what)}": _pixels(shape.box, picture.size)
        for number, shape in enumerate(picture.scene.shapes)
    }


def _pixels(box: Box, size: int) -> Box:
    left, top, right, bottom = (size * edge for edge in box)
    return left, top, right, bottom


def _head_atlas(run: Run, samples: Sequence[Sample]) -> xr.Dataset:
    """Where heads look when the answer's first token is predicted."""
    atlas = probes.head_atlas(run, boxes_of(samples)).drop_vars(["share", "entropy"])
    objects = {"mass", "lift", "hit", "auroc", "area"}
    return atlas.rename(
        {n: f"object_{n}" if n in objects else f"image_{n}" for n in map(str, atlas)}
    )


def _stream(model: HookedVLM, inputs: Inputs, interventions: Sequence[Intervention]) -> xr.Dataset:
    """The residual stream, token norms, and how alike vision tokens are."""
    run = model.run(inputs, interventions, [*residual.NEEDS, *embedding.NEEDS], logits=False)
    table = probes.residual_stream(run).rename(rms="stream_rms", update="block_update")
    norms = probes.token_norms(run)
    names = table["sample"].values
    cells = []
    for name in names:
        own = probes.quartiles(norms[norms["of"].values == name])
        own = own.reindex(role=table["role"].values)
        cells.append(np.stack([own[q].values for q in QUANTILES], axis=-1))
    table["token_norm"] = (("sample", "role", "quantile"), np.stack(cells))
    table = table.assign_coords(quantile=list(QUANTILES))
    table["token_norm"].attrs = {"long_name": "L2 norm entering block 0", "units": "model units"}
    first = run.saved["blocks.0.hook_resid_pre"].float()
    alike = []
    for index, layout in enumerate(run.inputs.layouts):
        here = onto(torch.from_numpy(layout.mask("vision")), first.device)
        unit = torch.nn.functional.normalize(first[index, here], dim=-1)
        n = len(unit)
        alike.append(float((unit.sum(0).square().sum() - n) / (n * (n - 1))) if n > 1 else np.nan)
    table["vision_similarity"] = ("sample", np.array(alike))
    table["vision_similarity"].attrs = {
        "long_name": "mean cosine between two vision tokens entering block 0",
        "units": "cosine",
    }
    return table


def _patches(model: HookedVLM, inputs: Inputs, interventions: Sequence[Intervention]) -> xr.Dataset:
    """Which way vision queries look, and how many vision tokens are sinks."""
    run = model.run(inputs, interventions, sinks.NEEDS, logits=False)
    peaks = probes.sink_tokens(run)
    vision = np.stack([layout.mask("vision") for layout in run.inputs.layouts])
    table = xr.Dataset(coords={"sample": probes.labels.samples(inputs)["sample"]})
    if len(set(vision.sum(1).tolist())) == 1:
        table = _looks(model, inputs, interventions)
    table["vision_sinks"] = ("sample", (peaks["sink"].values & vision).sum(1).astype(float))
    table["vision_sinks"].attrs = {"long_name": "vision tokens that are sinks", "units": "tokens"}
    return table


def _looks(model: HookedVLM, inputs: Inputs, interventions: Sequence[Intervention]) -> xr.Dataset:
    """``patch_looks``, of samples that have equally many vision tokens under these edits."""
    found = probes.patch_looks(
        model.run(inputs, interventions, probes.looks_needs(inputs), logits=False)
    )
    return found.rename({name: f"patch_{name}" for name in map(str, found)})


def _gold_by_layer(
    model: HookedVLM,
    samples: Sequence[Sample],
    inputs: Inputs,
    interventions: Sequence[Intervention],
    system: str | None,
) -> xr.Dataset:
    """The right answer's first token, read off the last position after every block."""
    gold, known = stand_ins(samples)
    answered = model.inputs(samples, system=system, answers=gold)
    ids = answered.tensors["input_ids"]
    firsts = [int(ids[i, lay.answer()[0]]) for i, lay in enumerate(answered.layouts)]
    need: Save = probes.lens_needs(model, best=1, targets=sorted(set(firsts)), rows="last")
    found = probes.logit_lens(model.run(inputs, interventions, need), need)["target_log_prob"]
    own = [
        found.isel(sample=[i], pos=0).sel(target=first, drop=True) for i, first in enumerate(firsts)
    ]
    return xr.concat(own, "sample").where(known).rename("lens_log_prob").to_dataset()
