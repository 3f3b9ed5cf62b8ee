"""Pixels as the tower gets them."""

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD


def as_seen(
    pixels: UInt8[Tensor, "image row column channel"],
) -> Float[Tensor, "image channel row column"]:
    """Bytes (batch, height, width, channel) as CLIP's processor gives them to the tower."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (rearrange(pixels, "b h w c -> b c h w").float() / 255 - mean) / std
