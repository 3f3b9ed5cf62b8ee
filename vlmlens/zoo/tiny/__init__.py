"""A tiny random model of every family, with its own processor: nothing is downloaded."""

from vlmlens.zoo.tiny.families import TINY
from vlmlens.zoo.tiny.making import build, made
from vlmlens.zoo.tiny.tiny import Tiny

__all__ = ["TINY", "Tiny", "build", "made"]
