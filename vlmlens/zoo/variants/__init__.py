"""What can be added to a LLaVA before it is retrained, one addition per file.

Each function takes a LLaVA of transformers and returns a copy with the addition. The copy is a
transformers model: it trains, saves and loads, here and wherever ``vlmlens.zoo.variants`` was
imported. Additions compose: ``normalize(multilayer(model))``.
"""

from transformers import AutoConfig, AutoModelForImageTextToText

from vlmlens.zoo.variants.llava import LlavaVariant, LlavaVariantConfig
from vlmlens.zoo.variants.multilayer import multilayer
from vlmlens.zoo.variants.normalize import normalize, refresh

AutoConfig.register(LlavaVariantConfig.model_type, LlavaVariantConfig, exist_ok=True)
AutoModelForImageTextToText.register(LlavaVariantConfig, LlavaVariant, exist_ok=True)

#: Name -> what adds it.
VARIANTS = {function.__name__: function for function in (normalize, multilayer)}

__all__ = ["VARIANTS", "LlavaVariant", "LlavaVariantConfig", "multilayer", "normalize", "refresh"]
