"""Cross-modality balance frame by frame: which part of a video a head attends to."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout
from vlmlens.model import Generation, Run
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS, by_step, masks, own_mean

NEEDS = (LAST_ROWS,)


@checked
def frame_balance(
    run: Run | Generation,
    *,
    video: int = 0,
    text: tuple[str, ...] = ("user",),
    image: tuple[str, ...] = ("vision",),
) -> xr.DataArray:
    """Share of a head's attention to image and text that goes to each frame of a video.

    As ``cross_modality_balance``, with a[F] the weights on the tokens of one frame:

        share = sum(a[F]) / (sum(a[V]) + sum(a[T]))

    Over the frames of all that a sample shows, where that is one video, it adds up to CMB, but for
    what is of no place (newlines). For a ``Generation`` it is averaged over the sample's own steps.
    Frames keep their numbers where others are dropped.

    Args:
        run: a run or generation that saved ``NEEDS``: the last row of every pattern.
        video: which of each sample's videos.
        text: the roles that T is made of.
        image: the roles that V is made of.

    Returns:
        (sample, frame, layer, head), a fraction. Coordinates ``seconds`` (sample, frame), the
        frames' times, and ``uniform`` (sample, frame), what attention spread evenly would give.
        NaN for a frame without a token here: an edit dropped it, or the processor left it out.

    Raises:
        EmptySelectionError: a sample without this video, or without such text.
        InputError: videos of several numbers of frames.

    Source:
        after Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> from vlmlens.zoo import tiny
        >>> qwen = vl.HookedVLM(*tiny.build("qwen2_vl"))
        >>> film = vl.Video(np.zeros((6, 16, 16, 3), np.uint8), fps=1)
        >>> seen = qwen.inputs(videos=film, prompts="What moves?")
        >>> found = vl.probes.frame_balance(qwen.run(seen, save=vl.probes.cmb.NEEDS))
        >>> dict(found.sizes), found.seconds.values.tolist()
        ({'sample': 1, 'frame': 3, 'layer': 3, 'head': 2}, [[0.5, 2.5, 4.5]])
    """
    layouts = run.steps[0].inputs.layouts
    counts = sorted({layout.frames(video) for layout in layouts})
    if len(counts) > 1:
        raise InputError(
            f"videos of {' and '.join(map(str, counts))} frames in one table: measure those of as "
            "many frames together"
        )

    def measure(
        weights: Float[Tensor, "layer head key"], layout: TokenLayout, index: int
    ) -> Float[Tensor, "frame layer head"]:
        size = weights.shape[-1]
        groups = masks(layout, index, size, (image, text), None)
        whole = sum(weights[..., group.to(weights.device)].sum(-1) for group in groups)
        parts = weights.new_full((counts[0], *weights.shape[:-1]), torch.nan)
        for n in range(counts[0]):
            own = torch.from_numpy(_frame(layout, video, n)[-size:]).to(weights.device)
            if own.any():
                parts[n] = weights[..., own].sum(-1) / whole
        return parts

    values = own_mean(*by_step(run, measure))
    every = [[_frame(layout, video, n) for n in range(counts[0])] for layout in layouts]
    tokens = np.array([[mask.sum() or np.nan for mask in own] for own in every], dtype=float)
    total = [layout.mask(*image, *text).sum() for layout in layouts]
    seconds = [[_time(layout, video, n) for n in range(counts[0])] for layout in layouts]
    return array(
        values,
        ("sample", "frame", "layer", "head"),
        run.inputs,
        "cmb",
        "cross-modality balance of a frame",
        "fraction",
        "arXiv:2503.17349",
        uniform=(("sample", "frame"), tokens / np.array(total)[:, None]),
        seconds=(("sample", "frame"), np.array(seconds)),
        frame=list(range(counts[0])),
        layer=layer_numbers(run, LAST_ROWS),
    )


def _frame(layout: TokenLayout, video: int, frame: int) -> Bool[np.ndarray, " pos"]:
    """Which positions are of a frame."""
    return (layout.video == video) & (layout.frame == frame) & ~layout.mask("pad")


def _time(layout: TokenLayout, video: int, frame: int) -> float:
    """When a frame is shown, whether or not a token of it is left."""
    times = layout.seconds[(layout.video == video) & (layout.frame == frame)]
    return float(times[0]) if len(times) else np.nan
