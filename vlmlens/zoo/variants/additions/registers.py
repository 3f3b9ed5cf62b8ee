"""Registers: learned tokens after each image, for what belongs to no place."""

from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn
from transformers import initialization as init

from vlmlens.errors import InputError
from vlmlens.zoo.variants.extend import extended


class Registers(nn.Module):
    """Puts learned tokens after an image's own."""

    def __init__(self, count: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        self.begin()

    def begin(self) -> None:
        """Set the weights to what training begins from."""
        init.normal_(self.weight, std=0.02)

    def forward(
        self, x: Float[Tensor, "image patch d_model"]
    ) -> Float[Tensor, "image longer d_model"]:
        own = repeat(self.weight.to(x.dtype), "token d -> image token d", image=len(x))
        return torch.cat([x, own], dim=1)


def registers(model: Any, count: int = 4, *, seed: int = 0) -> Any:
    """The model with learned tokens after those of each image.

    They are the same for every image, stand for no place and see all of its tokens, which come
    before them: room for what the language model would otherwise write over tokens of little
    content. They begin as random words: with the mean and standard deviation of the embedding
    table, channel by channel. A layout calls them ``register``; they play the role ``vision``
    and have no row.

    The processor has to write as many placeholders: ``processor_for(model, processor)``.

    Args:
        model: a LLaVA of transformers, or one of these variants of it; it stays as it is.
        count: how many.
        seed: of what they begin as.

    Returns:
        A copy with registers.

    Raises:
        InputError: fewer than one.
        UnsupportedModelError: a model that is no LLaVA.

    Source: Darcet et al. 2024, "Vision Transformers Need Registers", arXiv:2309.16588, who put
    them into the tower.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, processor = tiny.build("llava")
        >>> more = variants.registers(hf_model, count=3)
        >>> vlm = vl.HookedVLM(more, variants.processor_for(more, processor))
        >>> vlm.inputs(sample).layouts[0].kind.count("register")
        3
    """
    if count < 1:
        raise InputError(f"count={count}: at least one register is added")
    new = extended(model, registers=count)
    table = model.get_input_embeddings().weight.detach().float().cpu()
    drawn = torch.randn(count, table.shape[1], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        new.model.multi_modal_projector.registers.weight.copy_(table.mean(0) + table.std(0) * drawn)
    return new
