"""Prefill: one clean pass, and everything that later passes can start from."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from vlmlens.errors import InputError
from vlmlens.model.generate import empty_cache
from vlmlens.model.inputs import Inputs

if TYPE_CHECKING:
    from vlmlens.model.hooked import HookedVLM


@dataclass(frozen=True, eq=False)
class Prefill:
    """One sample's clean pass.

    Attributes:
        inputs: what went in, one sample.
        logits: the last position's logits (1 vocab).
        attention: how attention was asked to be computed.
        stream: what entered every block, and last the final norm.
        keys: the keys and values of every block that keeps some; None where blocks remember
            something else (convolutions, linear attention), so that no position can be left out.
        given: what the language model was handed beside the embeddings.
        shares_keys: whether blocks attend to another block's keys, so that none can be left out.
    """

    inputs: Inputs
    logits: Float[Tensor, "1 vocab"]
    attention: str
    stream: tuple[Float[Tensor, "1 pos d_model"], ...]
    keys: tuple[tuple[Tensor, Tensor], ...] | None
    given: Mapping[str, Any]
    shares_keys: bool = False

    @property
    def masks(self) -> list[Tensor]:
        """The masks that the language model was handed ready-made, (1 1 query key)."""
        mask = self.given.get("attention_mask")
        parts = mask.values() if isinstance(mask, Mapping) else [mask]
        return [part for part in parts if part is not None and part.ndim == 4]

    def __repr__(self) -> str:
        kept = [*self.stream, *(x for pair in self.keys or () for x in pair)]
        size = sum(x.numel() * x.element_size() for x in kept)
        return f"Prefill({self.inputs.layouts[0]!r}, {size / 2**20:.1f} MiB)"


class Prefix(DynamicLayer):
    """One block's keys and values of the positions before a cone, for any number of rows.

    It hands out the prefix with what is new, and keeps nothing: every pass starts from the same.
    """

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self.dtype, self.device = keys.dtype, keys.device

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values of prefix and newest positions."""
        if not self.keys.shape[2]:
            return key_states, value_states
        pairs = ((self.keys, key_states), (self.values, value_states))
        first, second = (
            torch.cat([kept.expand(len(new), -1, -1, -1), new], dim=2) for kept, new in pairs
        )
        return first, second


def prefill(vlm: "HookedVLM", inputs: Inputs, attention: str) -> Prefill:
    """Run one sample and keep what the language model's blocks were given.

    Raises:
        InputError: several samples, or padding.
    """
    if len(inputs) != 1 or inputs.layouts[0].mask("pad").any():
        raise InputError(
            f"a prefill is of one sample without padding, this is {inputs!r}: make one of each "
            "sample, model.inputs(sample)"
        )
    refuse_hooks(vlm)
    text = vlm.config.get_text_config()
    cache = empty_cache(text)
    stream: list[Tensor] = []
    given: dict[str, Any] = {}
    last = torch.tensor([inputs.tensors["input_ids"].shape[1] - 1], device=vlm.device)
    with ExitStack() as stack:
        blocks = blocks_of(vlm)
        for module in (*blocks, vlm.hf_model.get_submodule(vlm.family.final_norm)):
            stack.enter_context(before(module, lambda x: stream.append(x.clone())))
        hook = language_model(vlm).register_forward_pre_hook(
            lambda module, args, kwargs: given.update(kwargs), with_kwargs=True
        )
        stack.callback(hook.remove)
        stack.enter_context(torch.no_grad())
        output = vlm.hf_model(
            **inputs.tensors, past_key_values=cache, use_cache=True, logits_to_keep=last
        )
    for name in ("inputs_embeds", "past_key_values", "logits_to_keep"):
        given.pop(name, None)
    usual = all(type(layer) is DynamicLayer for layer in cache.layers)
    keys = tuple((layer.keys, layer.values) for layer in cache.layers) if usual else None
    shares = usual and len(cache.layers) < len(blocks)
    return Prefill(inputs, output.logits[:, -1], attention, tuple(stream), keys, given, shares)


def language_model(vlm: "HookedVLM") -> Any:
    """The module that runs the language model's blocks."""
    return vlm.hf_model.get_submodule(vlm.family.lm_layers.rpartition(".")[0])


def blocks_of(vlm: "HookedVLM") -> list[nn.Module]:
    """The language model's blocks."""
    return list(vlm.hf_model.get_submodule(vlm.family.lm_layers))


def refuse_hooks(vlm: "HookedVLM") -> None:
    """Refuse hooks that somebody left on: they would see, and could change, what is kept.

    Raises:
        InputError: says where they are.
    """
    if hooked := [name for name, point in vlm.hook_dict.items() if point.watched]:
        raise InputError(
            f"hooks are on at {', '.join(hooked[:3])}{' ...' * (len(hooked) > 3)}: a pass that "
            "others start from is a clean one; model.reset_hooks() takes them off"
        )


@contextmanager
def before(module: nn.Module, see: Any) -> Iterator[None]:
    """Call ``see`` with what enters a module; what it returns, if anything, enters instead."""

    def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        x = args[0] if args else kwargs["hidden_states"]
        changed = see(x)
        if changed is None:
            return None
        if args:
            return (changed, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": changed}

    # First, so that points at this module see what this makes of it.
    handle = module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def prefix_cache(prefill: Prefill, position: int) -> Cache | None:
    """The keys and values of what comes before a position; None where nothing is kept."""
    if prefill.keys is None:
        return None
    return Cache(layers=[Prefix(k[:, :, :position], v[:, :, :position]) for k, v in prefill.keys])
