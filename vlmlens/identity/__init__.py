"""What identifies a picture, a sample, a value, a function, a model: content, never a name."""

from vlmlens.identity.pictures import picture, scene, unit

__all__ = ["picture", "scene", "unit"]
