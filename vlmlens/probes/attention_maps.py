"""Attention laid over the image: of any run's last row, or for a word that was generated."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from scipy.special import entr

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.model import Generation, Run
from vlmlens.probes.grids import looking_at, on_grid, patches, side_by_side
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS

NEEDS = (LAST_ROWS,)


@checked
def image_attention(run: Run, *, image: int = 0, tile: int = 0) -> xr.DataArray:
    """The last row's weights on one image's patches, as rows and columns.

    Args:
        run: a run, or one step of a generation, that saved ``NEEDS``.
        image: which of the sample's images.
        tile: which of its tiles.

    Returns:
        (sample, layer, head, row, column), fractions of the whole row: they sum to the image's
        share. NaN beyond the grid of a smaller image. Coordinates say where on its picture each
        cell looks, for ``plots.overlay``; see ``grids.looking_at``.

    Raises:
        EmptySelectionError: a sample without that image.
        UnknownPointError: the run saved no rows.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.attention_maps.NEEDS)
        >>> found = vl.probes.image_attention(run)
        >>> dict(found.sizes)
        {'sample': 4, 'layer': 4, 'head': 4, 'row': 8, 'column': 8}
    """
    rows = run.saved.stack(LAST_ROWS)[..., -1, :].float().cpu().numpy()  # layer batch head key
    maps = []
    for index, layout in enumerate(run.inputs.layouts):
        here = patches(layout, image, tile) - (len(layout) - rows.shape[-1])
        maps.append(on_grid(layout, rows[:, index][..., here], image, tile))
    return array(
        torch.from_numpy(side_by_side(maps)),
        ("sample", "layer", "head", "row", "column"),
        run.inputs,
        "attention",
        "attention to the patch",
        "fraction",
        "arXiv:2503.17349",
        layer=layer_numbers(run, LAST_ROWS),
        **looking_at(run.inputs.layouts, image, tile),
    )


@checked
def word_attention(
    run: Generation,
    tokenizer: Any,
    word: str,
    *,
    reads: bool = False,
    sample: int = 0,
    image: int = 0,
    tile: int = 0,
) -> xr.Dataset:
    """Attention over the image for one word of one sample's generated text.

    A word of several tokens is the mean over its tokens.

    Args:
        run: a generation that saved ``NEEDS``.
        tokenizer: the model's: ``model.processor.tokenizer``.
        word: as it stands in the text; its first occurrence counts.
        reads: take the rows in which the word's tokens are themselves the queries, one step
            later than the rows that predict them.
        sample: which of the batch.
        image: which of the sample's images.
        tile: which of its tiles.

    Returns:
        ``attention`` (layer, head, row, column), fractions of the whole row; ``entropy`` (layer,
        head), of the attention within the image, 1: spread evenly, 0: on one patch, NaN where
        it gets nothing; the attributes say the word and its steps. Coordinates say where each
        cell looks, as in ``image_attention``.

    Raises:
        InputError: a word that was not said, or whose reading step was not run.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> run = model.generate(model.inputs([sample]), save=vl.probes.attention_maps.NEEDS)
        >>> found = vl.probes.word_attention(run, model.processor.tokenizer, "green")
        >>> dict(found.attention.sizes)
        {'layer': 4, 'head': 4, 'row': 8, 'column': 8}
    """
    steps = word_steps(run, tokenizer, word, sample)
    rows = [step + reads for step in steps]
    if rows[-1] >= len(run.steps):
        raise InputError(f"{word!r} is the last that was said: no step reads it; reads=False")
    maps = [
        image_attention(run.steps[step], image=image, tile=tile).isel(sample=sample)
        for step in rows
    ]
    mean = sum(maps[1:], maps[0]) / len(maps)
    mean.attrs = maps[0].attrs
    flat = mean.stack(patch=("row", "column"))
    even = normalised_entropy(flat.transpose("layer", "head", "patch").values)
    found = xr.Dataset({"attention": mean})
    found["entropy"] = (("layer", "head"), even)
    found["entropy"].attrs = {"long_name": "normalised entropy over the image", "units": "fraction"}
    said = {"word": word, "steps": steps, "row": "reads it" if reads else "predicts it"}
    found.attrs = said | {"source": "arXiv:2503.17349"}
    return found


def word_steps(run: Generation, tokenizer: Any, word: str, sample: int = 0) -> list[int]:
    """The steps that generated a word: those whose tokens hold its letters.

    Raises:
        InputError: a word that this sample did not say.
    """
    ids = run.tokens[sample, : int(run.lengths[sample])].tolist()
    texts = [tokenizer.decode(ids[: n + 1], skip_special_tokens=True) for n in range(len(ids))]
    start = texts[-1].find(word) if texts and word else -1
    if start < 0:
        raise InputError(f"sample {sample} did not say {word!r}; it said {texts[-1]!r}")
    ends = [len(text) for text in texts]
    begins = [0, *ends[:-1]]
    return [
        n
        for n, (a, b) in enumerate(zip(begins, ends, strict=True))
        if a < start + len(word) and b > start
    ]


def normalised_entropy(
    weights: Float[np.ndarray, "*lead patch"],
) -> Float[np.ndarray, "*lead"]:
    """Entropy of weights, divided by that of an even spread; NaN patches do not count."""
    kept = ~np.isnan(weights)
    total = np.nansum(weights, axis=-1, keepdims=True)
    p = np.divide(weights, total, out=np.full_like(weights, np.nan), where=total > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.nansum(entr(p), axis=-1) / np.log(kept.sum(-1))
    return np.where(total[..., 0] > 0, found, np.nan)
