"""Reuse: pictures are prepared, and seen by tower and projector, once for many passes."""

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.inputs import Inputs
from vlmlens.model.reuse.seeing import Weights, settings
from vlmlens.model.wiring.attention import in_use
from vlmlens.model.wiring.wired import Wired

#: How many batches' features are kept: those at hand and, for pairs, those to compare with.
FEATURES = 2
#: What a tower is shown: its kind, its pixels, and what makes features of them.
SEEN = (
    ("image", "pixel_values", "get_image_features"),
    ("video", "pixel_values_videos", "get_video_features"),
)
#: How many inputs: a batch with each of its answers. Equal pictures are kept once.
INPUTS = 16


@dataclass(frozen=True, eq=False)
class _Features:
    """What the tower made of one batch of images.

    Attributes:
        given: the images, as copies: whoever holds them may write into them.
        state: how attention was computed, and what modules were set to.
        output: what came out.
    """

    given: Mapping[str, Shaped[Tensor, "..."]]
    state: Hashable
    output: Any


@dataclass(eq=False)
class Reuse:
    """What passes share while ``HookedVLM.reuse`` lasts.

    Attributes:
        encoded: how often the tower and the projector ran to be reused.
        reused: how many passes took what was there.
        why_not: why the last pass with images that could reuse nothing could not; empty if none.
    """

    encoded: int = 0
    reused: int = 0
    why_not: str = ""
    _weights: Weights = field(default_factory=Weights, repr=False)
    _features: deque[_Features] = field(default_factory=lambda: deque(maxlen=FEATURES), repr=False)
    _inputs: deque[tuple[Hashable, Any, Inputs]] = field(
        default_factory=lambda: deque(maxlen=INPUTS), repr=False
    )

    def inputs(self, key: Hashable, alive: Any, make: Callable[[], Inputs]) -> Inputs:
        """The inputs that were made of the same before, or new ones.

        Args:
            key: what they are made of: the samples by ``id``, their pictures by content.
            alive: the samples, held so that no other can get their ``id``.
            make: makes them.
        """
        for known, _, inputs in self._inputs:
            if known == key:
                return inputs
        made = make()
        made = replace(made, tensors={n: self._known(n, x) for n, x in made.tensors.items()})
        self._inputs.append((key, alive, made))
        return made

    def _known(self, name: str, x: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
        """The same tensor, where other inputs hold it."""
        others = (inputs.tensors.get(name) for _, _, inputs in self._inputs)
        return next((y for y in others if y is not None and torch.equal(x, y)), x)

    def stand_in(self, vlm: Wired, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        """The tensors of a pass, with what the tower makes of the images in their place.

        Features stand in where nobody watches or edits tower and projector, and no graph is kept;
        otherwise both run, as without reuse. They are made anew where pixels, weights or settings
        changed.
        """
        shown = [kind for kind, name, _ in SEEN if name in tensors]
        if not shown:
            return tensors
        self.why_not = _why_not(vlm)
        if self.why_not:
            return tensors
        state = in_use(vlm.config.vision_config), settings(vlm)
        if self._weights.changed(vlm):
            self._features.clear()
        rest, made, new = dict(tensors), {}, False
        for kind, _, encoder in SEEN:
            if kind not in shown:
                continue
            encode = getattr(vlm.hf_model.base_model, encoder)
            given = {n: tensors[n] for n in signature(encode).parameters if n in tensors}
            same = (f for f in self._features if f.state == state and _same(f.given, given))
            found = next(same, None)
            if found is None:
                kept = {name: x.clone() for name, x in given.items()}
                found = _Features(kept, state, encode(**given, return_dict=True))
                self._features.append(found)
                new = True
            rest = {name: tensor for name, tensor in rest.items() if name not in given}
            made[kind] = found.output
        self.encoded, self.reused = self.encoded + new, self.reused + (not new)
        return rest | {"mm_encoder_outputs": made}  # a dict that forward changes


def _why_not(vlm: Wired) -> str:
    """Why the tower has to run; empty where it need not."""
    model = vlm.hf_model
    if "mm_encoder_outputs" not in signature(model.forward).parameters or not hasattr(
        model.base_model, "get_image_features"
    ):
        return f"{type(model).__name__} takes no image features in the place of pixels"
    if torch.is_grad_enabled():
        return "the graph is kept"
    for name, point in vlm.hook_dict.items():
        if point.watched and name.startswith(("vision.", "projector.")):
            return f"{name} is watched"
    for name, module in model.named_modules():
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        if any(map(_is_somebodys, hooks)):
            return f"a hook of torch's own is on at {name or type(model).__name__}"
    return ""


def _is_somebodys(hook: Any) -> bool:
    """Whether a hook is neither ours nor what transformers keeps on its models."""
    home = getattr(hook, "__module__", None) or ""
    return home.partition(".")[0] not in ("vlmlens", "transformers", "accelerate")


def _same(
    known: Mapping[str, Shaped[Tensor, "..."]], given: Mapping[str, Shaped[Tensor, "..."]]
) -> bool:
    return known.keys() == given.keys() and all(
        torch.equal(known[name], x) for name, x in given.items()
    )
