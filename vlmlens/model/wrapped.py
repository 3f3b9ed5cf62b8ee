"""A transformers model with its points: wired, looked up, and left as it was found."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch

from vlmlens import identity
from vlmlens.errors import ClosedModelError, UnknownPointError, UnsupportedModelError
from vlmlens.families import FAMILIES, Family
from vlmlens.model.as_module import AsModule
from vlmlens.model.compiled import refuse_wrapped
from vlmlens.model.device import device_of
from vlmlens.model.recognise import recognise
from vlmlens.model.reuse import Reuse
from vlmlens.model.roads import Roads
from vlmlens.model.rotary import Rope
from vlmlens.model.wiring import WiredPoint, wire
from vlmlens.points import matching


class Wrapped(AsModule):
    """What ``HookedVLM`` knows of its model; see there."""

    hf_model: Any
    hook_dict: dict[str, WiredPoint]

    def __init__(self, hf_model: Any, processor: Any = None, name: str = "", revision: str = ""):
        super().__init__()
        refuse_wrapped(hf_model)
        config: Any = hf_model.config
        if getattr(config, "vision_config", None) is None:
            raise UnsupportedModelError(
                f"{type(hf_model).__name__} ({config.model_type}) is no vision-language model: its "
                "configuration has no vision_config"
            )
        self._roads = Roads(hf_model)
        # Beside the module tree: what HookedRootModule writes on its modules is not for theirs.
        self.__dict__["hf_model"] = hf_model
        self.processor, self.name, self.config = processor, name or config.model_type, config
        self._revision = revision
        self.recognised = config.model_type not in FAMILIES
        known = FAMILIES.get(config.model_type)
        self.family: Family = known.around(config) if known else recognise(hf_model)
        points, self.absent = wire(hf_model, self.family)
        self.hook_dict = points  # pyright: ignore[reportIncompatibleVariableOverride]
        self.mod_dict = dict(points)
        self.layers = config.get_text_config().num_hidden_layers
        self._training = {module: module.training for module in hf_model.modules()}
        self._closed = False
        self._reuse: Reuse | None = None
        hf_model.eval()
        self._roads.watch()

    def road(self, attention: str) -> AbstractContextManager[str]:
        """Attention computed in one way while this lasts; yields what that is."""
        return self._roads.take(attention)

    def depth(self, part: str = "blocks") -> int:
        """How many blocks a stack offers: ``"blocks"`` or ``"vision.blocks"``."""
        return self._depths.get(part, 0)

    def matching(self, patterns: str | Sequence[str]) -> list[str]:
        """The points' names that match; see ``points.matching``.

        Raises:
            UnknownPointError: nothing matches; says why where the point exists in principle.
        """
        asked = [patterns] if isinstance(patterns, str) else list(patterns)
        for name in asked:
            if name in self.absent:
                raise UnknownPointError(name, self.hook_dict, f"({self.absent[name]})")
        return matching(asked, list(self.hook_dict))

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return device_of(self.hf_model.get_input_embeddings())

    @property
    def revision(self) -> str:
        """Which version of the model this is: as given, else a hash of its settings and weights."""
        if self._revision:
            return self._revision
        # Not kept: somebody may write into the weights.
        return identity.value(self.hf_model)[:16]

    @property
    def given_revision(self) -> str:
        """The revision that somebody said; "" where nobody did."""
        return self._revision

    @property
    def attention(self) -> str:
        """How attention is computed unless a run asks otherwise."""
        return self._roads.usual

    @cached_property
    def rope(self) -> Rope | None:
        """The language model's rotation, layer by layer; None for one that does not turn."""
        turning = [
            f"blocks.{layer}.attn.hook_cos" in self.hook_dict for layer in range(self.layers)
        ]
        if not any(turning):
            return None
        types = getattr(self.config.get_text_config(), "layer_types", None) or [""] * self.layers
        kinds = [kind if turns else None for kind, turns in zip(types, turning, strict=True)]
        rotary = self.hf_model.get_submodule(self.family.rotary)
        return Rope.of(rotary, self.family.axes, kinds)

    @cached_property
    def vision_rope(self) -> Rope | None:
        """The tower's rotation along rows and columns of patches; None for one without."""
        if not self.family.vision_rotary:
            return None
        rotary = self.hf_model.get_submodule(self.family.vision_rotary)
        return Rope.on_grid(rotary, self.depth("vision.blocks"))

    @property
    def scaling(self) -> float | None:
        """What the language model's attention multiplies its scores with."""
        block = self.hf_model.get_submodule(self.family.lm_layers)[0]
        return getattr(getattr(block, "self_attn", None), "scaling", None)

    @property
    def softcap(self) -> float | None:
        """What the language model's attention caps its scores at, softly; None for no cap."""
        block = self.hf_model.get_submodule(self.family.lm_layers)[0]
        return getattr(getattr(block, "self_attn", None), "attn_logit_softcapping", None)

    def close(self) -> None:
        """Take off every hook and leave the model as it was found."""
        if self._closed:
            return
        self.reset_hooks(including_permanent=True)
        self._roads.leave()
        for module, training in self._training.items():
            module.training = training
        self._closed = True

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedModelError(f"{self.name} is closed; wrap or open the model again")

    @cached_property
    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for name, point in self.hook_dict.items():
            if point.point.layer is not None:
                part = name[: name.index("blocks.") + 6]
                depths[part] = max(depths.get(part, 0), point.point.layer + 1)
        return depths
