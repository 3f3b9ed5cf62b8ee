"""2-D RoPE: vision tokens rotate by their row and column, text as before."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vlmlens.errors import InputError
from vlmlens.zoo.variants.extend import GRID, extended

#: What the rows of the position ids count, as in multimodal RoPE.
AXES = ("time", "height", "width")


class GridRotary(nn.Module):
    """A language model's RoPE, whose planes belong in alternation to time, height and width.

    Planes 0, 3, 6, ... rotate by the first row of the position ids, 1, 4, 7, ... by the second and
    2, 5, 8, ... by the third, so that each axis has fast planes and slow ones. Three ids that are
    equal give the angles of plain RoPE.

    Raises:
        InputError: ids that are not threefold; plain RoPE would come of them without a word.
    """

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.plain = plain

    def forward(
        self, x: Float[Tensor, "..."], position_ids: Int[Tensor, "*axis batch pos"]
    ) -> tuple[Float[Tensor, "batch pos trig"], Float[Tensor, "batch pos trig"]]:
        if position_ids.ndim < 3:
            raise InputError(
                f"position_ids {tuple(position_ids.shape)}, but this RoPE has the axes "
                f"{', '.join(AXES)}: pass model.model.grid_positions(input_ids, position_ids)"
            )
        ways = [torch.stack(self.plain(x, ids)) for ids in position_ids]
        size = ways[0].shape[-1]
        axis = torch.arange(size, device=x.device) % (size // 2) % len(AXES)
        cos, sin = torch.stack(ways, dim=-1).gather(-1, axis.expand(ways[0].shape)[..., None])[
            ..., 0
        ]
        return cos, sin


def grid_rope(model: Any) -> Any:
    """The model whose vision tokens rotate by row and column: 2-D RoPE, to be trained with.

    With s the position of an image's first token, its token at row r and column c gets the
    threefold position (s, s + r, s + c); every other token keeps its place p in the sequence,
    (p, p, p), and with it the very angles of plain RoPE. Two tokens above each other are then as
    close as two beside each other. Text after an image counts on from the image's number of
    tokens, as before.

    A third of the planes is time's, which says how far away an image is; position ids are
    ``batch pos`` threefold, as in Qwen's models, and interventions on them take ``axis=``.

    Args:
        model: a LLaVA of transformers, or one of these variants of it; it stays as it is.

    Returns:
        A copy with 2-D RoPE, of model type ``vlmlens_llava_grid``.

    Raises:
        UnsupportedModelError: a model that is no LLaVA.

    Source: Wang et al. 2024, "Qwen2-VL", arXiv:2409.12191, for positions of three axes.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, processor = tiny.build("llava")
        >>> grid = vl.HookedVLM(variants.grid_rope(hf_model), processor)
        >>> grid.inputs(sample).tensors["position_ids"].shape[0]  # time, height and width
        3
    """
    return extended(model, model_type=GRID)


def grid_positions(
    image: Bool[Tensor, "batch pos"], counted: Int[Tensor, "batch pos"], side: int, extra: int = 0
) -> Int[Tensor, "axis batch pos"]:
    """Time, height and width of every position.

    Args:
        image: which positions are images'.
        counted: the position of every token in its sequence.
        side: rows and columns of an image's grid.
        extra: tokens of an image that stand for no place, after its grid; they count as text.

    Raises:
        InputError: positions that are not those of whole images.
    """
    size = side * side + extra
    if (image.sum(-1) % size != 0).any():
        raise InputError(
            f"{image.sum(-1).tolist()} image tokens, but an image has {size}: pass whole images, "
            "or position_ids of your own (3, batch, pos)"
        )
    cell = (image.long().cumsum(-1) - 1) % size
    placed = image & (cell < side * side)
    start = counted - cell
    ways = (start, start + cell // side, start + cell % side)
    return torch.stack([torch.where(placed, way, counted) for way in ways])
