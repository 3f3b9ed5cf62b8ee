"""What a run is to keep, and what it kept."""

from vlmlens.cache.activations import ActivationCache
from vlmlens.cache.saving import Placed, Save

__all__ = ["ActivationCache", "Placed", "Save"]
