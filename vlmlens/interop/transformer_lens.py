"""A TransformerLens bridge of a model that is open here, for its tools on weights.

The bridge is built around a copy of the module in memory. TransformerLens's own way in, by name,
would load the model anew and, for models that see images, may install packages.
"""

import copy
import re
from typing import Any

import torch
from jaxtyping import Float
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import (
    build_bridge_config_from_hf,
    detect_tokenizer_bos_eos,
)

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model import HookedVLM

#: Models that the bridge does not know -> one that it knows, with the same language model at the
#: same place. Their towers stay transformers' own, without hook points of the bridge.
LIKE = {
    "vipllava": "LlavaForConditionalGeneration",
    "internvl": "LlavaForConditionalGeneration",
    "qwen2_vl": "Qwen2_5_VLForConditionalGeneration",
    "smolvlm": "Idefics3ForConditionalGeneration",
}

#: Language models that the bridge knows by themselves, by their ``model_type``.
TEXT = {
    "cohere2": "Cohere2ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
}


def to_bridge(vlm: HookedVLM) -> TransformerBridge:
    """A ``TransformerBridge`` of a copy of the model: W_U, W_QK, composition scores and the like.

    The copy has its own weights, so whatever is folded or centred there leaves ``vlm`` alone, and
    needs as much memory again. Before it is handed out, the bridge's logits are compared with
    those of ``vlm`` on a few tokens of text.

    Args:
        vlm: an open model on which no hook lies.

    Returns:
        The bridge, in eager attention; with the tokenizer, if ``vlm`` has one.

    Raises:
        UnsupportedModelError: the bridge knows neither the model nor its language model, or its
            logits are others.
        InputError: hooks lie on the model, which a copy would carry along.
        ClosedModelError: the model was closed.

    Examples:
        >>> from vlmlens.interop.transformer_lens import to_bridge
        >>> bridge = to_bridge(model)
        >>> bridge.W_Q.shape  # layer head d_model d_head
        torch.Size([4, 4, 128, 32])
    """
    vlm.check_open()
    if any(point.has_hooks() for point in vlm.hook_points()):
        raise InputError("hooks lie on the model: vlm.reset_hooks(including_permanent=True) first")
    model = copy.deepcopy(vlm.hf_model)
    model.set_attn_implementation("eager")
    adapter = _adapter(vlm, model)
    adapter.cfg.device = str(vlm.device)
    adapter.prepare_model(model)
    bridge = TransformerBridge(model, adapter, None)
    tokenizer = getattr(vlm.processor, "tokenizer", None)
    if tokenizer is not None:
        # Given afterwards: on its way in, the bridge would look for it on the hub once more.
        bridge.tokenizer = tokenizer
        begins, ends = detect_tokenizer_bos_eos(tokenizer)
        bridge.cfg.tokenizer_prepends_bos, bridge.cfg.tokenizer_appends_eos = begins, ends
    _refuse_other_logits(vlm, bridge)
    return bridge


def bridge_logits(
    bridge: TransformerBridge, tensors: Any
) -> Float[torch.Tensor, "batch pos vocab"]:
    """A bridge's logits for the tensors of ``Inputs``.

    Examples:
        >>> from vlmlens.interop.transformer_lens import bridge_logits, to_bridge
        >>> inputs = model.inputs(sample)
        >>> bridge_logits(to_bridge(model), inputs.tensors).shape
        torch.Size([1, 78, 418])
    """
    given = dict(tensors)
    with torch.no_grad():
        output: Any = bridge(given.pop("input_ids"), **given)
    return getattr(output, "logits", output)


def _adapter(vlm: HookedVLM, model: Any) -> Any:
    kind, own = vlm.config.model_type, type(model).__name__
    text = vlm.config.get_text_config().model_type
    known = ArchitectureAdapterFactory._adapters
    if own in known or kind in LIKE:
        name = own if own in known else LIKE[kind]
        # Some ask for torchvision, which loading a processor needs and a model in memory does not.
        adapter_class = type(known[name].__name__, (known[name],), {"required_libraries": []})
        adapter = adapter_class(_config(vlm, model.config, name))
        if name != own:
            for part in [key for key in adapter.component_mapping if key.startswith("vision")]:
                del adapter.component_mapping[part]
        return adapter
    if text in TEXT:
        root = vlm.family.lm_layers.removesuffix("layers")
        adapter = known[TEXT[text]](_config(vlm, model.config.get_text_config(), TEXT[text]))
        for component in adapter.component_mapping.values():
            component.name = re.sub(r"^model\.", root, component.name)
        adapter.cfg.is_multimodal = True  # or it would take no image
        return adapter
    raise UnsupportedModelError(
        f"TransformerBridge has no adapter for {own}, nor for a language model of type {text!r}; "
        f"known here are {', '.join([*LIKE, *TEXT])} and what the bridge knows itself"
    )


def _config(vlm: HookedVLM, config: Any, architecture: str) -> Any:
    dtype = next(vlm.hf_model.parameters()).dtype
    return build_bridge_config_from_hf(config, architecture, vlm.name or "", dtype)


def _refuse_other_logits(vlm: HookedVLM, bridge: TransformerBridge) -> None:
    size = vlm.config.get_text_config().vocab_size
    ids = [i for i in range(size // 3, size) if i != vlm.config.image_token_id][:8]
    inputs = vlm.inputs_from(torch.tensor([ids]))
    ours = vlm.run(inputs, attention="eager").logits.float()
    theirs = bridge_logits(bridge, inputs.tensors).float()
    worst = (ours - theirs).abs().max() / ours.abs().max()
    if not worst < 1e-2:
        raise UnsupportedModelError(
            f"TransformerBridge computes other logits for {vlm.name} (off by {worst:.1%} of the "
            "largest): its adapter does not fit this model"
        )
