"""Pooled vision tokens: a smaller grid enters the language model."""

from math import isqrt
from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vlmlens.errors import InputError
from vlmlens.zoo.variants.extend import extended, refuse_others


class Pool(nn.Module):
    """Averages a square grid of tokens into a smaller one."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(
        self, x: Float[Tensor, "image patch d_model"]
    ) -> Float[Tensor, "image fewer d_model"]:
        grid = rearrange(x, "image (row column) d -> image d row column", row=side_of(x))
        pooled = adaptive_avg_pool2d(grid.float(), self.side).to(x.dtype)
        return rearrange(pooled, "image d row column -> image (row column) d")


def pool(model: Any, side: int) -> Any:
    """The model whose projected tokens are averaged into a grid of ``side`` x ``side``.

    The token at row i of a grid of n rows is the mean of the rows from floor(i n / side) to
    before ceil((i + 1) n / side), and so with columns; where ``side`` does not divide n,
    neighbours share a row. A norm (``normalize``) comes after it.

    The processor has to write as many placeholders: ``processor_for(model, processor)``.

    Args:
        model: a LLaVA of transformers, or one of these variants of it; it stays as it is.
        side: rows and columns after pooling.

    Returns:
        A copy that pools.

    Raises:
        InputError: a side that is not between 1 and that of the grid.
        UnsupportedModelError: a model that is no LLaVA.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, processor = tiny.build("llava")
        >>> pooled = variants.pool(hf_model, 2)
        >>> small = vl.HookedVLM(pooled, variants.processor_for(pooled, processor))
        >>> small.inputs(sample).layouts[0].grid()
        (2, 2)
    """
    refuse_others(model)
    whole = model.config.vision_config.image_size // model.config.vision_config.patch_size
    if not 1 <= side <= whole:
        raise InputError(
            f"side={side}: the grid is {whole} x {whole}, and pooling makes it smaller"
        )
    return extended(model, pool=side)


def side_of(x: Float[Tensor, "image patch channel"]) -> int:
    """Rows of the square grid that patches make.

    Raises:
        InputError: patches that make no square, such as those of a tower whose CLS is kept.
    """
    side = isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise InputError(f"{x.shape[1]} patches make no square grid; was CLS dropped?")
    return side
