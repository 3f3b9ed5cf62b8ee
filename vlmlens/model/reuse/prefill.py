"""Prefill: one clean pass, and everything that later passes can start from."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from vlmlens.cache import ActivationCache
from vlmlens.cache.activations import two_models
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.model.decoding.generate import empty_cache
from vlmlens.model.decoding.prefix import KeysValues, prefix_cache
from vlmlens.model.passes.edits import see
from vlmlens.model.passes.refused import told
from vlmlens.model.passes.watching import new_level, seated
from vlmlens.model.reuse.entering import before, blocks_of, handed_to, refuse_hooks
from vlmlens.model.sequence.fitting import check_fit
from vlmlens.model.wiring.spliced import Splice, dictionaries
from vlmlens.model.wiring.wired import Wired
from vlmlens.versions import CACHE_NAMES, cache_argument, logits_at


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
        shared: how many positions, images among them, were taken over from an earlier prefill.
        saved: the activations that were asked for, of every position.
        model: which model in memory was run, as ``HookedVLM.instance``.
        edited: whether what entered block 0 was edited, so that no other prefill starts from it.
        splices: the dictionaries that were spliced in.

    Examples:
        >>> prefill = model.prefill(model.inputs(sample))
        >>> len(prefill.stream), prefill.stream[0].shape, prefill.logits.shape
        (5, torch.Size([1, 78, 128]), torch.Size([1, 418]))
    """

    inputs: Inputs
    logits: Float[Tensor, "1 vocab"]
    attention: str
    stream: tuple[Float[Tensor, "1 pos d_model"], ...]
    keys: tuple[KeysValues, ...] | None
    given: Mapping[str, Any]
    shares_keys: bool = False
    shared: int = 0
    saved: ActivationCache = field(default_factory=lambda: ActivationCache({}, {}))
    model: str = ""
    edited: bool = False
    splices: tuple[Splice, ...] = ()

    @property
    def masks(self) -> list[Shaped[Tensor, "1 1 _query _key"]]:
        """The masks that the language model was handed ready-made, (1 1 query key)."""
        mask = self.given.get("attention_mask")
        parts = mask.values() if isinstance(mask, Mapping) else [mask]
        return [part for part in parts if part is not None and part.ndim == 4]

    def __repr__(self) -> str:
        kept = [*self.stream, *(x for pair in self.keys or () for x in pair)]
        size = sum(x.numel() * x.element_size() for x in kept)
        return f"Prefill({self.inputs.layouts[0]!r}, {size / 2**20:.1f} MiB)"


def prefill(
    vlm: Wired,
    inputs: Inputs,
    attention: str,
    after: Prefill | None,
    save: Sequence[str],
    entering: Float[Tensor, "1 pos d_model"] | None = None,
) -> Prefill:
    """Run one sample and keep what the language model's blocks were given.

    Args:
        vlm: an open model.
        inputs: one sample.
        attention: how attention is computed.
        after: an earlier prefill to start from.
        save: points to keep.
        entering: what enters block 0 in place of what would.

    Raises:
        InputError: several samples, padding, or a point that has no positions of its own.
    """
    for name in save:
        if name.startswith(("vision.", "projector.")) or name == "hook_logits":
            raise InputError(
                f"{name} cannot be kept by a prefill, which keeps what the language model's blocks "
                "are given and make: model.run(inputs, save=...) can"
            )
    if len(inputs) != 1 or inputs.layouts[0].mask("pad").any():
        raise InputError(
            f"a prefill is of one sample without padding, this is {inputs!r}: make one of each "
            "sample, model.inputs(sample)"
        )
    refuse_hooks(vlm)
    if after is not None:
        refuse_others(vlm, after)
    check_fit(vlm.config, inputs)
    begins = None if entering is not None else after
    shared = common(begins, inputs, attention) if begins is not None else 0
    if after is not None and shared and can_share(vlm, after, save):
        return _continue(vlm, after, inputs, shared, save)
    last = torch.full((1,), inputs.tensors["input_ids"].shape[1] - 1, device=vlm.device)
    cache: Any = empty_cache(vlm.config.get_text_config())
    tensors = dict(inputs.tensors)
    with told(vlm, inputs), seated(vlm, inputs.layouts):
        stream, given, saved, output = _watched(vlm, tensors, cache, last, save, entering)
    usual = all(type(layer) is DynamicLayer for layer in cache.layers)
    return Prefill(
        inputs,
        output.logits[:, -1],
        attention,
        tuple(stream),
        tuple((layer.keys, layer.values) for layer in cache.layers) if usual else None,
        given,
        shares_keys=usual and len(cache.layers) < len(stream) - 1,
        saved=as_cache(vlm, saved, inputs),
        model=vlm.instance,
        edited=entering is not None,
        splices=tuple(each.splice for each in vlm.spliced),
    )


def refuse_others(vlm: Wired, prefill: Prefill) -> None:
    """Refuse a prefill of another model, whose keys mean nothing to this one.

    Raises:
        InputError: says what to do.
    """
    if two_models(prefill.model, vlm.instance):
        raise InputError(
            f"this prefill is of another model than {vlm.name} as it is open here: make one with "
            "model.prefill(inputs)"
        )
    now = [each.splice for each in vlm.spliced]
    if len(now) != len(prefill.splices) or any(
        one is not other for one, other in zip(now, prefill.splices, strict=True)
    ):
        raise InputError(
            f"this prefill was made with {list(prefill.splices) or 'nothing'} spliced in, and now "
            f"it is {now or 'nothing'}: make one with model.prefill(inputs)"
        )


def _continue(
    vlm: Wired, after: Prefill, inputs: Inputs, shared: int, save: Sequence[str]
) -> Prefill:
    """A prefill that takes its first positions over from another one."""
    assert after.keys is not None
    cache: Any = prefix_cache(after.keys, shared)
    newest = {name: inputs.tensors[name][..., shared:] for name in ("input_ids", "position_ids")}
    # What the language model itself reads a number for every token from, as ERNIE's experts do.
    numbered = [name for name in vlm.family.per_token if after.given.get(name) is not None]
    numbers = {name: inputs.tensors[name] for name in numbered}
    newest |= {name: whole[:, shared:] for name, whole in numbers.items()}
    tensors = newest | {"attention_mask": inputs.tensors["attention_mask"]}
    last = torch.full((1,), newest["input_ids"].shape[1] - 1, device=vlm.device)
    with told(vlm, inputs), seated(vlm, inputs.layouts):
        stream, given, saved, output = _watched(vlm, tensors, cache, last, save)
    pairs = zip(after.keys, (layer.newest for layer in cache.layers), strict=True)
    return replace(
        after,
        inputs=inputs,
        logits=output.logits[:, -1],
        stream=tuple(
            torch.cat([old[:, :shared], new], 1)
            for old, new in zip(after.stream, stream, strict=True)
        ),
        keys=tuple(_joined(old, new, shared) for old, new in pairs),
        given=_continued(after.given, given, shared) | numbers,
        shared=shared,
        saved=as_cache(
            vlm,
            {name: torch.cat([after.saved[name][:, :shared], x], 1) for name, x in saved.items()},
            inputs,
        ),
    )


def _watched(
    vlm: Wired,
    tensors: Mapping[str, Any],
    cache: Any,
    last: Int[Tensor, " last"],
    save: Sequence[str],
    entering: Float[Tensor, "1 pos d_model"] | None = None,
) -> tuple[
    list[Float[Tensor, "1 pos d_model"]], dict[str, Any], dict[str, Shaped[Tensor, "..."]], Any
]:
    """A pass: what entered its blocks, what the language model was handed, what was saved."""
    stream: list[Tensor] = []
    given: dict[str, Any] = {}
    saved: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for module in (*blocks_of(vlm), vlm.hf_model.get_submodule(vlm.family.final_norm)):
            # A copy: the block may write into what it is given.
            stack.enter_context(before(vlm, module, lambda x: stream.append(x.clone())))
        if entering is not None:  # the last that is put on comes first
            embed = vlm.hook_dict["hook_embed"].module
            stack.enter_context(before(vlm, embed, lambda _: entering.clone()))
        stack.enter_context(handed_to(vlm, given))
        level = stack.enter_context(new_level(vlm))
        for name in save:
            note: Any = partial(see, seen=saved)
            vlm.hook_dict[name].add_own(note, level)
        stack.enter_context(torch.no_grad())
        shown = tensors if vlm.shared is None else vlm.shared.stand_in(vlm, tensors)
        shown = dict(shown) | cache_argument(vlm.hf_model, cache) | {"use_cache": True}
        output = logits_at(vlm.hf_model, last, **shown)
    for name in ("inputs_embeds", *CACHE_NAMES, "logits_to_keep"):
        given.pop(name, None)
    return stream, given, saved, output


def as_cache(
    vlm: Wired, saved: dict[str, Shaped[Tensor, "..."]], inputs: Inputs
) -> ActivationCache:
    """What was saved, with its axes."""
    axes = {name: vlm.hook_dict[name].axes for name in saved}
    made = ActivationCache(saved, axes, inputs.layouts, vlm.instance)
    made.dictionaries = dictionaries(vlm.spliced)
    return made


def can_share(vlm: Wired, after: Prefill, save: Sequence[str]) -> bool:
    """Whether what is to be saved can be joined from two passes: all of it has positions."""
    return all(name in after.saved and vlm.hook_dict[name].axes[1] == "pos" for name in save)


def common(after: Prefill, inputs: Inputs, attention: str) -> int:
    """How many positions an earlier prefill shares with these inputs, all their images among them.

    0 where they show other images, or where more than what came before decides a position's keys.
    """
    if after.keys is None or after.masks or after.edited or after.attention != attention:
        return 0
    if not inputs.same_images(after.inputs):
        return 0
    old, new = after.inputs.tensors, inputs.tensors
    size = min(t["input_ids"].shape[1] for t in (old, new)) - 1  # one position is always new
    same = (old["input_ids"][0, :size] == new["input_ids"][0, :size]).cpu()
    shared = int(same.long().cumprod(0).sum())
    vision = inputs.layouts[0].mask("vision").nonzero()[0]
    if len(vision) and vision[-1] >= shared:
        return 0
    ids = (old["position_ids"][..., :shared], new["position_ids"][..., :shared])
    return shared if torch.equal(*ids) else 0


def _joined(old: KeysValues, new: KeysValues, shared: int) -> KeysValues:
    keys, values = (torch.cat([o[:, :, :shared], n], 2) for o, n in zip(old, new, strict=True))
    return keys, values


def _continued(old: Mapping[str, Any], new: Mapping[str, Any], shared: int) -> dict[str, Any]:
    """What the language model would have been handed, had the whole come at once."""
    handed = dict(new)
    ids = new["position_ids"]
    handed["position_ids"] = torch.cat([old["position_ids"][..., :shared], ids], -1)
    if (shown := old.get("visual_pos_masks")) is not None:
        text = shown.new_zeros(1, ids.shape[-1])
        handed["visual_pos_masks"] = torch.cat([shown[:, :shared], text], 1)
        handed["deepstack_visual_embeds"] = old["deepstack_visual_embeds"]
    return handed
