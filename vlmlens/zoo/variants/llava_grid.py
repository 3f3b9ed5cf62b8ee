"""The variant with 2-D RoPE, as transformers classes."""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.versions import cache_name, one_cache
from vlmlens.zoo.variants.additions.grid_rope import AXES, GridRotary, grid_positions
from vlmlens.zoo.variants.llava import LlavaVariant, LlavaVariantConfig, LlavaVariantModel

CACHE = cache_name(LlavaVariantModel)


@strict
class LlavaGridConfig(LlavaVariantConfig):
    """The variant's configuration; the model type says that RoPE has three axes.

    Examples:
        >>> from vlmlens.zoo.variants import LlavaGridConfig
        >>> LlavaGridConfig().model_type
        'vlmlens_llava_grid'
    """

    model_type = "vlmlens_llava_grid"
    __no_type_check__ = True


class LlavaGridModel(LlavaVariantModel):
    """``LlavaVariantModel`` whose position ids are threefold."""

    config_class = LlavaGridConfig

    def __init__(self, config: Any):
        super().__init__(config)
        self.language_model.rotary_emb = GridRotary(self.language_model.rotary_emb)

    def grid_positions(
        self, input_ids: Int[Tensor, "batch pos"], counted: Int[Tensor, "batch pos"]
    ) -> Int[Tensor, "axis batch pos"]:
        """Time, height and width of every position, from its place in the sequence."""
        image = input_ids == self.config.image_token_id
        return grid_positions(image, counted, self.config.grid_side, self.config.registers)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Any = None,
        pixel_values: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        cache: Any = None,
        inputs_embeds: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As ``LlavaModel``; ids that are not threefold are made so.

        Keys and values of earlier positions come under either of transformers' names.

        Raises:
            InputError: embeddings without ids, of which nobody knows which are an image's.
        """
        cache = one_cache(cache=cache, past_key_values=past_key_values)
        given = input_ids if inputs_embeds is None else inputs_embeds
        past = 0 if cache is None else cache.get_seq_length()
        batch, new = given.shape[:2]
        if position_ids is None or position_ids.ndim < 3:
            if input_ids is None:
                raise InputError(
                    f"inputs_embeds do not say which positions are an image's: pass position_ids "
                    f"({len(AXES)}, batch, pos), of grid_positions(input_ids, counted)"
                )
            if position_ids is None:
                counted = torch.arange(past, past + new, device=given.device).expand(batch, -1)
                if attention_mask is not None and attention_mask.ndim == 2:
                    counted = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -new:]
            else:
                counted = position_ids.expand(batch, -1)
            position_ids = self.grid_positions(input_ids, counted)
        if attention_mask is None:  # ids that do not count up would read as packed sequences
            attention_mask = given.new_ones(batch, past + new, dtype=torch.long)
        return super().forward(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **{CACHE: cache},
            **kwargs,
        )


class LlavaGrid(LlavaVariant):
    """``LlavaVariant`` with 2-D RoPE.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, processor = tiny.build("llava")
        >>> grid = variants.grid_rope(hf_model)
        >>> type(grid).__name__, vl.HookedVLM(grid, processor).rope.axes
        ('LlavaGrid', ('time', 'height', 'width'))
    """

    config_class = LlavaGridConfig
    inside = LlavaGridModel

    def _prepare_position_ids_for_generation(
        self, inputs_tensor: Shaped[Tensor, "batch pos *width"], model_kwargs: Any
    ) -> Any:
        counted = super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)
        ids = model_kwargs.get("input_ids", inputs_tensor)
        inside: Any = self.model
        return inside.grid_positions(ids, counted.expand(len(ids), -1))
