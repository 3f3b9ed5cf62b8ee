"""What a stored result answers for: everything that could change it, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from vlmlens import identity
from vlmlens.errors import DataError
from vlmlens.interventions import Intervention
from vlmlens.interventions import label as label_of
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.store import KEY_BYTES, LOOSE, Condition

#: Fields of a sample that are no part of what it is, or are looked at by themselves.
OPEN = ("images", "source", "category", "groups")
#: Samples that are remembered; looking at one again costs what looking at its pictures does.
REMEMBERED = 1024


class Keys:
    """Keys of results of one model, as it is now, measured in one way.

    A result is one sample's, under one condition: a sample's key says what it is, a condition's
    everything else. So neither the batch nor the other samples count. The model, its weights,
    settings and processor, is looked at once, however many keys are made.

    Args:
        model: an open model.
        how: whatever else decides over a result: the measure, its settings, its own code.

    Attributes:
        base: what identifies the model and how it is measured.

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
        for splice in model.splices:
            if isinstance(splice.dictionary, nn.Module) and (
                on := identity.hooks_on(splice.dictionary)
            ):
                raise DataError(
                    f"a hook is on at {on} of {splice}: what it does to results cannot be told "
                    "from what the dictionary does; take it off, or run without a folder"
                )
        content = identity.Content(model.given_revision)
        bare = content.of((model, how, _numerics()))
        libraries = identity.decisive() | dict(sorted(content.libraries.items()))
        self.base = content.joined("base", bare, identity.told(libraries))
        self._loose = content.joined("base", bare, _loosely(libraries))
        self._own_code = content.own_code
        self._told = {
            "model": str(model.name),
            "revision": model.given_revision,
            "measure": str(how[0]),
            "versions": identity.versions(),
        }
        self._samples: dict[int, tuple[Any, str]] = {}
        self._conditions: dict[int, tuple[Any, Condition, bool, bool]] = {}

    def condition(self, more: Any = (), label: str = "") -> Condition:
        """What decides over a result beside its sample: the model, the measure, the edits.

        Args:
            more: the edits, or whatever else differs from one condition to the next.
            label: what a person calls it.

        Raises:
            DataError: something that only its address tells from others.
        """
        return self._condition(more, label)[1]

    def kind(self, more: Any = ()) -> tuple[bool, bool]:
        """Whether a sample's key has its category and groups in it, and its place in the batch."""
        _, _, own_code, by_place = self._condition(more)
        return own_code or self._own_code, by_place

    def of(
        self,
        samples: Sequence[Sample | None],
        more: Any = (),
        at: int = 0,
        seen: Sequence[str] = (),
    ) -> bytes:
        """The key of a sample, or of several that are measured as one, under some edits.

        Args:
            samples: the sample; with others that it is compared with.
            more: the edits.
            at: its place in the batch, which counts where edits hold something of every sample of
                a batch, as activations of another run.
            seen: what identifies each sample, where that is known.

        Raises:
            ImageError: a picture that cannot be read.
            DataError: something that only its address tells from others.
        """
        grouped, by_place = self.kind(more)
        parts = [str(at if by_place else None)]
        for number, sample in enumerate(samples):
            known = seen[number] if seen else "" if sample is None else self.sample(sample)
            parts.append(known)
            if sample and grouped:  # which may read them
                parts.append(identity.value((sample.category, sample.groups)))
        whole = identity.digest(*(p.encode("utf-8", "surrogatepass") for p in parts))
        return bytes.fromhex(whole[: 2 * KEY_BYTES])

    def sample(self, sample: Sample) -> str:
        """What identifies a sample: its words, its pixels, and its id, by which edits are drawn.

        Its category and groups count where code of somebody's own may read them.

        Raises:
            ImageError: a picture that cannot be read.
        """
        if id(sample) not in self._samples:
            # Without messages keys are those of the time when there were none.
            open_ = OPEN if sample.messages else (*OPEN, "messages")
            told = [getattr(sample, item.name) for item in fields(sample) if item.name not in open_]
            made = identity.value((told, identity.scene(sample)))
            if len(self._samples) >= REMEMBERED:
                self._samples.clear()
            self._samples[id(sample)] = (sample, made)
        return self._samples[id(sample)][1]

    def _condition(self, more: Any, label: str = "") -> tuple[Any, Condition, bool, bool]:
        if id(more) not in self._conditions:
            content = identity.Content()
            parts = [self.base, content.of(more)]
            libraries = dict(sorted(content.libraries.items()))
            key = content.joined("condition", *parts, identity.told(libraries))[:24]
            loose = content.joined("condition", self._loose, parts[1], _loosely(libraries))[:24]
            told = self._told | {"label": label, "edits": _words(more), LOOSE: loose}
            made = (more, Condition(key, told), content.own_code, content.by_row)
            self._conditions[id(more)] = made
        return self._conditions[id(more)]


def _loosely(libraries: Mapping[str, str]) -> str:
    return identity.told(identity.but_for_patches(libraries))


def _words(more: Any) -> str:
    some = isinstance(more, tuple) and all(isinstance(each, Intervention) for each in more)
    return label_of(more) if some else str(more)


def _numerics() -> tuple[Any, ...]:
    """What torch was told of how exactly to compute."""
    kinds = ("cpu", "cuda")
    autocast = [
        torch.get_autocast_dtype(k) if torch.is_autocast_enabled(k) else None for k in kinds
    ]
    return *map(str, autocast), torch.get_float32_matmul_precision()
