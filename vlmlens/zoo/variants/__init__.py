"""What can be added to a LLaVA before it is retrained, one addition per file.

Each function takes a LLaVA of transformers and returns a copy with the addition. The copy is a
transformers model: it trains, saves and loads, here and wherever ``vlmlens.zoo.variants`` was
imported. Additions compose: ``normalize(multilayer(model))``.
"""

from transformers import AutoConfig, AutoModelForImageTextToText

from vlmlens.zoo.variants.additions.coordinates import coordinates
from vlmlens.zoo.variants.additions.grid_rope import grid_rope
from vlmlens.zoo.variants.additions.multilayer import multilayer
from vlmlens.zoo.variants.additions.normalize import normalize, refresh
from vlmlens.zoo.variants.additions.pool import pool
from vlmlens.zoo.variants.additions.registers import registers
from vlmlens.zoo.variants.extend import processor_for
from vlmlens.zoo.variants.llava import LlavaVariant, LlavaVariantConfig
from vlmlens.zoo.variants.llava_grid import LlavaGrid, LlavaGridConfig

for _config, _model in ((LlavaVariantConfig, LlavaVariant), (LlavaGridConfig, LlavaGrid)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForImageTextToText.register(_config, _model, exist_ok=True)

#: Name -> what adds it.
VARIANTS = {
    function.__name__: function
    for function in (normalize, multilayer, pool, registers, coordinates, grid_rope)
}

__all__ = [
    "VARIANTS",
    "LlavaGrid",
    "LlavaGridConfig",
    "LlavaVariant",
    "LlavaVariantConfig",
    "coordinates",
    "grid_rope",
    "multilayer",
    "normalize",
    "pool",
    "processor_for",
    "refresh",
    "registers",
]
