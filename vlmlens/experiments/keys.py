"""What a stored result answers for: everything that could change it, and nothing else."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from vlmlens import identity
from vlmlens.errors import DataError
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: Fields of a sample that are no part of what it is, or are looked at by themselves.
OPEN = ("images", "source", "category", "groups")


class Keys:
    """Keys of results of one model, as it is now, measured in one way.

    The model, its weights, settings and processor, is looked at once, however many keys are made.

    Args:
        model: an open model.
        how: whatever else decides over a result: the measure, its settings, its own code.

    Raises:
        DataError: a hook of somebody's own is on, or something is known by its address alone.
    """

    def __init__(self, model: HookedVLM, *how: Any):
        if on := identity.hooks_on(model.hf_model, model.hook_dict):
            raise DataError(
                f"a hook is on at {on}: what it does to results cannot be told from what the model "
                "does; take it off (reset_hooks(), or the handle's remove()), make it an "
                "intervention, or run without a folder"
            )
        content = identity.Content(model.given_revision)
        self._base = content.of((model, how, identity.versions(), _numerics()))
        self._own_code = content.own_code
        self._samples: dict[int, tuple[Any, str]] = {}
        self._edits: dict[int, tuple[Any, str, bool]] = {}

    def of(self, samples: Sequence[Sample | None], more: Any = ()) -> str:
        """The key of a result of some samples, under what else decides over it: their edits, say.

        Raises:
            ImageError: a picture that cannot be read.
            DataError: something that only its address tells from others.
        """
        if id(more) not in self._edits:
            content = identity.Content()
            self._edits[id(more)] = (more, content.of(more), content.own_code)
        _, rest, own_code = self._edits[id(more)]
        parts = [self._base, rest]
        for sample in samples:
            parts.append("" if sample is None else self.sample(sample))
            if sample and (own_code or self._own_code):  # which may read them
                parts.append(identity.value((sample.category, sample.groups)))
        return identity.digest(*(p.encode("utf-8", "surrogatepass") for p in parts))[:24]

    def sample(self, sample: Sample) -> str:
        """What identifies a sample: its words, its pixels, and its id, by which edits are drawn.

        Its category and groups count where code of somebody's own may read them.

        Raises:
            ImageError: a picture that cannot be read.
        """
        if id(sample) not in self._samples:
            told = [getattr(sample, item.name) for item in fields(sample) if item.name not in OPEN]
            made = identity.value((told, identity.scene(sample)))
            self._samples[id(sample)] = (sample, made)
        return self._samples[id(sample)][1]


def _numerics() -> tuple[Any, ...]:
    """What torch was told of how exactly to compute."""
    kinds = ("cpu", "cuda")
    autocast = [
        torch.get_autocast_dtype(k) if torch.is_autocast_enabled(k) else None for k in kinds
    ]
    return *map(str, autocast), torch.get_float32_matmul_precision()
