"""What identifies a picture, a sample, a value, a function, a model: content, never a name."""

from vlmlens.identity.digests import digest
from vlmlens.identity.hooks import hooks_on
from vlmlens.identity.libraries import but_for_patches, decisive, told, versions
from vlmlens.identity.pictures import picture, scene, unit
from vlmlens.identity.remembered import keep, recall
from vlmlens.identity.values import Content, glance, value

__all__ = [
    "Content",
    "but_for_patches",
    "decisive",
    "digest",
    "glance",
    "hooks_on",
    "keep",
    "picture",
    "recall",
    "scene",
    "told",
    "unit",
    "value",
    "versions",
]
