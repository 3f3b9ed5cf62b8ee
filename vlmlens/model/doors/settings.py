"""What a language model is made of, by TransformerLens's names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from vlmlens.errors import InputError, UnknownPartError
from vlmlens.model.wiring.wired import Wired

#: TransformerLens's switches for points that are always there here.
ALWAYS = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")


@dataclass(eq=False)
class Settings:
    """The language model's sizes and kinds, by the names of TransformerLens's ``cfg``.

    Attributes:
        model_name: what results call the model.
        n_layers: blocks.
        n_heads: heads of a block.
        n_key_value_heads: key-value heads; None where every head has its own, as there.
        d_model: channels of the stream.
        d_head: channels of a head; of the first block's, where blocks differ.
        d_mlp: hidden units of an MLP.
        d_vocab: tokens.
        d_vocab_out: tokens that have a logit.
        n_ctx: positions that the model was made for.
        act_fn: the MLP's nonlinearity; None where the configuration does not say.
        gated_mlp: whether MLPs are gated.
        eps: what norms add to the mean square.
        normalization_type: ``"RMS"`` or ``"LN"``.
        positional_embedding_type: ``"rotary"``, or ``"none"`` where no layer rotates.
        rotary_base: the base of RoPE's angles; None where layers have several.
        dtype: of the weights.
        device: where inputs go.
        default_prepend_bos: whether texts begin with the tokenizer's first token.
        tokenizer_prepends_bos: whether the tokenizer puts it there by itself.
        attn_only: whether there are no MLPs.
        use_attn_result: True, as the next three: these points are always there.
        use_split_qkv_input: see there.
        use_attn_in: see there.
        use_hook_mlp_in: see there.

    Examples:
        >>> model.cfg.n_layers, model.cfg.n_heads, model.cfg.d_model, model.cfg.act_fn
        (4, 4, 128, 'silu')
        >>> model.cfg.n_layer
        Traceback (most recent call last):
        vlmlens.errors.UnknownPartError: no part 'n_layer'; did you mean n_layers, ...
    """

    model_name: str
    n_layers: int
    n_heads: int
    n_key_value_heads: int | None
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    d_vocab_out: int
    n_ctx: int
    act_fn: str | None
    gated_mlp: bool
    eps: float
    normalization_type: str
    positional_embedding_type: str
    rotary_base: float | int | None
    dtype: torch.dtype
    device: torch.device
    default_prepend_bos: bool
    tokenizer_prepends_bos: bool
    attn_only: bool = False
    use_attn_result: bool = True
    use_split_qkv_input: bool = True
    use_attn_in: bool = True
    use_hook_mlp_in: bool = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        advice = "in model.cfg; transformers' own settings are in model.config"
        raise UnknownPartError(name, [each.name for each in fields(self)], advice)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dataclass_fields__ and name not in vars(self):
            super().__setattr__(name, value)  # as it is made
            return
        if name in ALWAYS and value is True:
            return  # as it is
        raise InputError(
            f"cfg.{name} = ... would change nothing: cfg is read off the model, and the points "
            f"that {', '.join(ALWAYS)} switch on there are always there, at no cost"
        )


def settings(vlm: Wired) -> Settings:
    """The settings of an open model, read off its configuration and its modules.

    Where blocks differ, they are the first one's.
    """
    whole: Any = vlm.config.get_text_config()
    text: Any = whole.per_layer_config[0] if whole.is_heterogeneous else whole
    heads = text.num_attention_heads
    out = next(n for n in vlm.hook_dict if re.match(r"blocks\.\d+\.attn\.hook_result", n))
    shared = getattr(text, "num_key_value_heads", None) or heads
    head = vlm.hf_model.get_submodule(vlm.family.lm_head)
    tokenizer: Any = getattr(vlm.processor, "tokenizer", None)
    first = getattr(tokenizer, "bos_token_id", None)
    made = {
        "model_name": str(vlm.name),
        "n_layers": vlm.layers,
        "n_heads": heads,
        "n_key_value_heads": None if shared == heads else shared,
        "d_model": text.hidden_size,
        "d_head": vlm.hook_dict[out].module.in_features // heads,
        "d_mlp": text.intermediate_size,
        "d_vocab": vlm.hf_model.get_input_embeddings().num_embeddings,
        "d_vocab_out": head.out_features,
        "n_ctx": text.max_position_embeddings,
        "act_fn": _first(text, "hidden_act", "hidden_activation"),
        "gated_mlp": any(name.endswith("mlp.hook_pre_linear") for name in vlm.hook_dict),
        "eps": _first(text, "rms_norm_eps", "layer_norm_eps", "norm_eps"),
        "normalization_type": _kind(vlm),
        "positional_embedding_type": "none" if vlm.rope is None else "rotary",
        "rotary_base": _base(text),
        "dtype": vlm.hf_model.dtype,
        "device": vlm.device,
        "default_prepend_bos": first is not None,
        "tokenizer_prepends_bos": first is not None and tokenizer("a")["input_ids"][:1] == [first],
    }
    return Settings(**made)


def _first(text: Any, *names: str) -> Any:
    return next((getattr(text, name) for name in names if hasattr(text, name)), None)


def _kind(vlm: Wired) -> str:
    name = type(vlm.hf_model.get_submodule(vlm.family.final_norm)).__name__
    return "RMS" if "RMS" in name else "LN"


def _base(text: Any) -> float | int | None:
    given = getattr(text, "rope_parameters", None) or {}
    several = all(isinstance(each, Mapping) for each in given.values())
    return None if several else given.get("rope_theta")
