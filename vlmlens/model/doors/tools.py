"""A model's weights and parts, by TransformerLens's names."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor
from transformer_lens.FactoredMatrix import FactoredMatrix

from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.model.doors.parts import Blocks, Part
from vlmlens.model.doors.speaking import Speaking
from vlmlens.model.reading.unembed import Tokens, directions
from vlmlens.model.reading.weights import (
    CIRCUITS,
    STACKED,
    embedding,
    norm_weight,
    stacked,
    unembedding,
)

#: Of TransformerLens's models, what is not done here, and what is.
_FOLDED = (
    "weights stay as the checkpoint has them: vlmlens.interop.transformer_lens.to_bridge(model) "
    "makes a copy whose weights TransformerLens folds and centres"
)
_ROTARY = "this model's positions are rotations, and no table: see hook_cos and hook_sin"
REFUSED = {
    "W_pos": _ROTARY,
    "W_E_pos": _ROTARY,
    "all_composition_scores": "to_bridge(model).all_composition_scores(mode) has them",
    "enable_compatibility_mode": _FOLDED,
    "fold_layer_norm": _FOLDED,
    "fold_value_biases": _FOLDED,
    "center_unembed": _FOLDED,
    "center_writing_weights": _FOLDED,
    "process_weights_": _FOLDED,
    "refactor_factored_attn_matrices": _FOLDED,
    "input_to_embed": "model.inputs(...) prepares what a pass takes; save='hook_embed' is that",
    "loss_fn": "take log_softmax of the logits at the positions that count",
}


class Tools(Speaking):
    """What ``HookedVLM`` shows of its weights; see there."""

    @property
    def blocks(self) -> Blocks:
        """The language model's blocks: ``model.blocks[3].attn.W_O``."""
        return Blocks(self._wired, "blocks")

    @property
    def vision(self) -> Part:
        """The tower: ``model.vision.blocks[0].mlp.W_in``."""
        return Part(self._wired, "vision")

    @property
    def ln_final(self) -> Part:
        """The norm after the last block: its weight ``w``, and called, what it makes."""
        norm: Any = self.hf_model.get_submodule(self.family.final_norm)
        weights = {name: lambda name=name: norm_weight(norm, name) for name in ("w", "b")}
        return Part(self._wired, "ln_final", weights, norm.forward)

    @property
    def embed(self) -> Part:
        """The table of tokens: ``W_E``, and called with token ids, their rows."""
        table: Any = self.hf_model.get_input_embeddings()
        scale = self.family.embed_scale(self.config)
        call = partial(_scaled, table.forward, scale)
        return Part(self._wired, "embed", {"W_E": lambda: self.W_E}, call)

    @property
    def unembed(self) -> Part:
        """What makes logits of the normed stream: ``W_U``, ``b_U``, and called, the logits."""
        head: Any = self.hf_model.get_submodule(self.family.lm_head)
        weights = {"W_U": lambda: self.W_U, "b_U": lambda: self.b_U}
        call = partial(_scaled, head.forward, self.family.logit_scale(self.config))
        return Part(self._wired, "unembed", weights, call)

    @property
    def W_E(self) -> Float[Tensor, "vocab d_model"]:
        """What each token enters block 0 as."""
        return embedding(self._wired)

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        """What the normed stream is multiplied with to make logits."""
        return unembedding(self._wired)[0]

    @property
    def b_U(self) -> Float[Tensor, " vocab"]:
        """What is added to logits; zeros where nothing is."""
        return unembedding(self._wired)[1]

    @property
    def all_head_labels(self) -> list[str]:
        """Every head by its name, such as ``"L0H3"``, in order."""
        cfg = self.cfg
        return [f"L{at}H{head}" for at in range(cfg.n_layers) for head in range(cfg.n_heads)]

    def tokens_to_residual_directions(self, tokens: Tokens) -> Float[Tensor, "*lead d_model"]:
        """The directions in which the stream is read out as tokens: columns of ``W_U``.

        Args:
            tokens: a text, a token id, or ids of any shape.

        Raises:
            InputError: what is no token.

        Examples:
            >>> torch.equal(model.tokens_to_residual_directions(" red"), model.W_U[:, 307])
            True
        """
        return directions(self._wired, tokens)


def _stack(name: str) -> property:
    def read(self: Tools) -> Float[Tensor, "layer ..."]:
        return stacked(self._wired, STACKED[name], name)

    return property(read, doc=f"``{name}`` of every block, as ``blocks[layer].{STACKED[name]}``.")


def _circuit(name: str) -> property:
    def read(self: Tools) -> FactoredMatrix:
        return FactoredMatrix(*CIRCUITS[name](self._wired))

    return property(read, doc=f"Every head's {name} circuit (layer head d_model d_model).")


def _refused(name: str, why: str) -> property:
    def read(self: Tools) -> Any:
        raise InputError(f"model.{name}: {why}")

    return property(read, doc=f"Refused: {why}.")


def _switch(name: str, points: str) -> Any:
    def method(self: Tools, on: bool = True) -> None:
        self._wired.check_open()
        if on is not True:
            raise InputError(f"{name}({shown(on)}): {points} cost nothing unless they are watched")

    method.__name__ = name
    method.__doc__ = f"As in TransformerLens; {points} are always there."
    return method


for _name in STACKED:
    setattr(Tools, _name, _stack(_name))
for _name in CIRCUITS:
    setattr(Tools, _name, _circuit(_name))
for _name, _why in REFUSED.items():
    setattr(Tools, _name, _refused(_name, _why))
for _name, _points in {
    "set_use_attn_result": "attn.hook_result",
    "set_use_split_qkv_input": "hook_q_input, hook_k_input and hook_v_input",
    "set_use_attn_in": "hook_attn_in",
    "set_use_hook_mlp_in": "hook_mlp_in",
}.items():
    setattr(Tools, _name, _switch(_name, _points))


def _scaled(
    call: Callable[..., Shaped[Tensor, "..."]], scale: float, x: Shaped[Tensor, "..."]
) -> Shaped[Tensor, "..."]:
    """What a module makes, times what the model multiplies it with."""
    return call(x) if scale == 1 else call(x) * scale
