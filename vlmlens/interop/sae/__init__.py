"""Sparse autoencoders and transcoders: SAELens's files, and a small dictionary that comes along.

``model.splice(point, dictionary)`` takes whatever has ``encode`` and ``decode``, an object of
SAELens among them; nothing here needs SAELens.
"""

from vlmlens.interop.sae.dictionary import SAE, Settings
from vlmlens.interop.sae.files import load, save
from vlmlens.interop.sae.training import Recipe, train

__all__ = ["SAE", "Recipe", "Settings", "load", "save", "train"]
