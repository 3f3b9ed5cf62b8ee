"""A LLaVA that can have what the paper's authors trained into theirs, as transformers classes."""

from typing import Any

from huggingface_hub.dataclasses import strict
from jaxtyping import Float
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llava.modeling_llava import (
    LlavaModel,
    LlavaMultiModalProjector,
    LlavaPreTrainedModel,
)

from vlmlens.zoo.variants.additions.coordinates import Coordinates
from vlmlens.zoo.variants.additions.multilayer import FeatureLayerNorm
from vlmlens.zoo.variants.additions.normalize import VisionNorm
from vlmlens.zoo.variants.additions.pool import Pool
from vlmlens.zoo.variants.additions.registers import Registers


@strict
class LlavaVariantConfig(LlavaConfig):
    """LLaVA's configuration, and what was added.

    Attributes:
        normalize: kind and constants of the norm after the projector; None without.
        feature_norm: whether every layer that is read passes the tower's final norm.
        coordinates: whether the projector is told each patch's row and column.
        pool: rows and columns of the grid after pooling; None without.
        registers: learned tokens after each image.

    Examples:
        >>> from vlmlens.zoo.variants import LlavaVariantConfig
        >>> config = LlavaVariantConfig(pool=4, registers=2)
        >>> config.model_type, config.grid_side
        ('vlmlens_llava', 4)
    """

    model_type = "vlmlens_llava"
    __no_type_check__ = True  # transformers' configurations take any keyword, unlike dataclasses

    normalize: dict | None = None
    feature_norm: bool = False
    coordinates: bool = False
    pool: int | None = None
    registers: int = 0

    @property
    def grid_side(self) -> int:
        """Rows and columns of an image's tokens."""
        vision: Any = self.vision_config
        return self.pool or vision.image_size // vision.patch_size


class VariantProjector(LlavaMultiModalProjector):
    """LLaVA's projector between what is done to features and what is done to tokens."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.feature_norm = FeatureLayerNorm(config) if config.feature_norm else nn.Identity()
        self.coordinates = nn.Identity()
        if config.coordinates:
            self.coordinates, old = Coordinates(), self.linear_1
            bias = config.multimodal_projector_bias
            self.linear_1 = nn.Linear(old.in_features + 2, old.out_features, bias=bias)
        width = config.text_config.hidden_size
        self.pool = Pool(config.pool) if config.pool else nn.Identity()
        self.norm = VisionNorm(config) if config.normalize else nn.Identity()
        self.registers = Registers(config.registers, width) if config.registers else nn.Identity()

    def forward(
        self, image_features: Float[Tensor, "image patch channel"]
    ) -> Float[Tensor, "image token d_model"]:
        tokens = super().forward(self.coordinates(self.feature_norm(image_features)))
        return self.registers(self.norm(self.pool(tokens)))


class VariantPreTrainedModel(LlavaPreTrainedModel):
    """Sets weights of our own modules to what training begins from."""

    config_class = LlavaVariantConfig

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, VisionNorm | Registers):
            module.begin()


class LlavaVariantModel(VariantPreTrainedModel, LlavaModel):
    """``LlavaModel`` with the variant's projector."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.multi_modal_projector = VariantProjector(config)
        self.post_init()


class LlavaVariant(VariantPreTrainedModel, LlavaForConditionalGeneration):
    """``LlavaForConditionalGeneration`` with the variant's projector.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, _ = tiny.build("llava")
        >>> type(variants.normalize(variants.multilayer(hf_model))).__name__
        'LlavaVariant'
    """

    inside: type[LlavaVariantModel] = LlavaVariantModel

    def __init__(self, config: Any):
        LlavaPreTrainedModel.__init__(self, config)  # not LLaVA's own, which builds a second model
        self.model = self.inside(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()
