"""Logit lens: which word each position would be, layer by layer, text and image alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.cache.activations import refuse_read_by_another
from vlmlens.errors import InputError
from vlmlens.model import HookedVLM, Run
from vlmlens.probes.grids import looking_at, on_grid, patches, side_by_side
from vlmlens.probes.labels import layer_numbers, samples
from vlmlens.select import Positions

POINTS = "blocks.*.hook_resid_post"
#: From a residual stream to another of its shape.
Translator = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
SOURCE = "nostalgebraist 2020, 'interpreting GPT: the logit lens'"


@dataclass(frozen=True, eq=False)
class Lens:
    """Reads a residual stream as the last layer's would be read, while the pass runs.

    Attributes:
        model: whose final norm and unembedding it reads with.
        best: how many words to keep of every position.
        targets: tokens whose log probability is kept beside them.
        chunk: positions that are read at once: a whole prompt's logits would not fit.
        translator: what the stream is turned by before it is read, for a tuned lens.
    """

    model: HookedVLM
    best: int = 5
    targets: tuple[int, ...] = ()
    chunk: int = 256
    translator: Translator | None = None

    def __call__(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead kept"]:
        """Ids of the likeliest tokens, their log probabilities, and those of the targets."""
        flat = x.reshape(-1, x.shape[-1])
        found = torch.cat([self._read(part) for part in flat.split(self.chunk)])
        return found.reshape(*x.shape[:-1], -1)

    def _read(self, x: Float[Tensor, "token d_model"]) -> Float[Tensor, "token kept"]:
        log_p = log_probabilities(self.model, x if self.translator is None else self.translator(x))
        top, ids = log_p.topk(self.best, dim=-1)
        wanted = log_p[:, list(self.targets)]
        return torch.cat([ids.float(), top, wanted], dim=-1)


def log_probabilities(
    model: HookedVLM, x: Float[Tensor, "*lead d_model"]
) -> Float[Tensor, "*lead vocab"]:
    """What the next token would be, were a residual stream the one that leaves the last block."""
    hf, family = model.hf_model, model.family
    # forward, not a call: a call would set off the hooks of others.
    normed = hf.get_submodule(family.final_norm).forward(x)
    logits = hf.get_submodule(family.lm_head).forward(normed).float()
    logits = logits * family.logit_scale(model.config)
    text = model.config.get_text_config()
    if cap := getattr(text, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits.log_softmax(-1)


@checked
def lens_needs(
    model: HookedVLM,
    *,
    best: int = 5,
    targets: Sequence[int] = (),
    points: str = POINTS,
    rows: Positions | None = None,
) -> Save:
    """What ``logit_lens`` needs a run to save; read while the pass runs, so no logits are kept.

    Args:
        model: the model that will run.
        best: how many words of every position.
        targets: ids of tokens to follow through the layers, such as the right answer's first.
        points: residual streams, for example ``"blocks.*.hook_resid_mid"``.
        rows: only these positions, such as ``"last"``; None reads all.

    Raises:
        InputError: fewer than one word, or points that are no stream of the language model's
            blocks.

    Examples:
        >>> need = vl.probes.lens_needs(model, best=3, rows="last")
        >>> need.points, need.rows
        ('blocks.*.hook_resid_post', 'last')
    """
    if best < 1:
        raise InputError(f"best={best}: at least one word is kept")
    for name in model.matching(points):
        point = model.hook_dict[name]
        if point.point.layer is None or name.startswith("vision.") or point.axes[-1] != "d_model":
            raise InputError(
                f"points={points!r}: {name} ({' '.join(point.axes)}) is no stream of a block that "
                "the last norm and the unembedding could read, such as blocks.*.hook_resid_post"
            )
    return Save(points, rows, Lens(model, best, tuple(targets)))


@checked
def logit_lens(run: Run, need: Save | Sequence[Save], tokenizer: Any = None) -> xr.Dataset:
    """Which words every position is nearest to, after every block.

        p[l] = softmax(unembed(final_norm(h[l])))

    with h[l] the residual stream after block l. At the last block this is the model's own
    prediction. Vision tokens are read like any other: early ones are near no word, and what a
    patch "says" later is what the model expects to follow it.

    Args:
        run: a run that saved ``need``.
        need: of ``lens_needs``, the same; or of ``tuned_lens_needs``, for a tuned lens.
        tokenizer: the model's, for ``word``.

    Returns:
        ``token`` (sample, layer, pos, rank), ids, likeliest first; ``log_prob`` of the same, in
        nats; ``word``, with a tokenizer, their text; ``target_log_prob`` (sample, layer, pos,
        target), where tokens are followed. Coordinate ``role`` (sample, pos). Padding is NaN
        and, in ``token``, -1. With ``rows``, ``pos`` counts these and has no role.

    Raises:
        UnknownPointError: the run did not save ``need``.
        InputError: a ``need`` that is no lens.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; on vision tokens Neo et al.
    2024, "Towards Interpreting Visual Information Processing in VLMs", arXiv:2410.07149.

    Examples:
        >>> need = vl.probes.lens_needs(model, best=3, rows="last")
        >>> run = model.run(model.inputs([sample]), save=need)
        >>> found = vl.probes.logit_lens(run, need, model.processor.tokenizer)
        >>> dict(found.token.sizes)
        {'sample': 1, 'layer': 4, 'pos': 1, 'rank': 3}
        >>> found.word.isel(sample=0, layer=-1, pos=0, rank=0).item()
        ' green'
    """
    needs = [need] if isinstance(need, Save) else list(need)
    if not needs or not all(isinstance(each.reduce, Lens) for each in needs):
        raise InputError("logit_lens reads what lens_needs(model) asked for: pass that very value")
    lens: Any = needs[0].reduce
    refuse_read_by_another(run.saved, lens.model, "this lens")
    best, targets, rows = lens.best, lens.targets, needs[0].rows
    stacks = torch.cat([run.saved.stack(each) for each in needs])
    found = stacks.transpose(0, 1).float().cpu().numpy()  # batch layer pos kept
    pad = np.zeros((found.shape[0], 1, found.shape[2], 1), dtype=bool)
    coords = samples(run.inputs) | {"layer": [n for e in needs for n in layer_numbers(run, e)]}
    if rows is None:
        layouts = run.inputs.layouts
        pad = np.stack([layout.mask("pad") for layout in layouts])[:, None, :, None]
        coords["role"] = (("sample", "pos"), np.array([layout.roles for layout in layouts]))
    token = np.where(pad, -1, found[..., :best]).astype(np.int64)
    log_prob = np.where(pad, np.nan, found[..., best : 2 * best])
    dims = ("sample", "layer", "pos", "rank")
    made = xr.Dataset(
        {"token": (dims, token), "log_prob": (dims, log_prob)},
        coords=coords,
        attrs={"source": SOURCE},
    )
    made["log_prob"].attrs = {"long_name": "log probability", "units": "nats"}
    if targets:
        value = np.where(pad, np.nan, found[..., 2 * best :])
        made["target_log_prob"] = (("sample", "layer", "pos", "target"), value)
        made = made.assign_coords(target=list(targets))
        made["target_log_prob"].attrs = {"long_name": "log probability", "units": "nats"}
    if tokenizer is not None:
        known = {i: tokenizer.decode([i]) for i in np.unique(token).tolist() if i >= 0}
        words = [known.get(i, "") for i in token.ravel().tolist()]
        made["word"] = (dims, np.array(words).reshape(token.shape))
    return made


@checked
def on_image(lens: xr.DataArray, run: Run, *, image: int = 0, tile: int = 0) -> xr.DataArray:
    """A variable of ``logit_lens`` at the image's patches: (sample, layer, row, column, ...).

    Which word is at which patch: ``on_image(found["word"].isel(rank=0), run)``.

    Raises:
        EmptySelectionError: a sample without that image.
        InputError: text, for samples whose grids differ: take them one by one.

    Examples:
        >>> need = vl.probes.lens_needs(model, best=1)
        >>> run = model.run(model.inputs([sample]), save=need)
        >>> found = vl.probes.logit_lens(run, need, model.processor.tokenizer)
        >>> dict(vl.probes.on_image(found["word"].isel(rank=0), run).sizes)
        {'sample': 1, 'layer': 4, 'row': 8, 'column': 8}
    """
    rest = [dim for dim in lens.dims if dim != "pos"]
    maps = []
    for index, layout in enumerate(run.inputs.layouts):
        here = lens.isel(sample=index).transpose(*rest[1:], "pos").values
        maps.append(on_grid(layout, here[..., patches(layout, image, tile)], image, tile))
    if lens.dtype.kind == "f":
        whole = side_by_side(maps)
    elif len({m.shape for m in maps}) > 1:
        raise InputError("grids differ between samples: lay words on the image one by one")
    else:
        whole = np.stack(maps)
    coords = {k: v for k, v in lens.coords.items() if "pos" not in v.dims}
    made = xr.DataArray(whole, dims=(*rest, "row", "column"), coords=coords, name=lens.name)
    where = looking_at(run.inputs.layouts, image, tile) if "sample" in made.dims else {}
    return made.assign_coords(where).assign_attrs(lens.attrs)
