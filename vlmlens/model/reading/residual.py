"""The residual stream, taken apart, with TransformerLens's signatures."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.model.arithmetic.norm import Norm
from vlmlens.model.reading.finer import Finer
from vlmlens.model.reading.stream import Which, sliced
from vlmlens.model.reading.unembed import Tokens, directions

#: What to save for all that is here.
RESIDUAL = (
    "hook_embed",
    "blocks.*.hook_resid_*",
    "blocks.*.hook_attn_out",
    "blocks.*.hook_mlp_out",
    "blocks.*.attn.hook_z",
)

Stack = Float[Tensor, "component *lead d_model"]
Kept = Float[Tensor, "component *kept d_model"]
Attributions = Float[Tensor, "component *kept"]


class ResidualStream(Finer):
    """What a run's blocks wrote into the language model's stream, and what each part is worth.

    Methods are those of TransformerLens's ``ActivationCache``, with its arguments and labels. The
    first part, ``embed``, holds text and image merged. Where a model adds to the stream between
    two blocks (image features, in Qwen3-VL), that is a part of its own, ``{layer}_added``.

    Args:
        vlm: the model that ran.
        saved: what the run saved: ``RESIDUAL``, or as much of it as is asked for.

    Examples:
        >>> from vlmlens.model import ResidualStream
        >>> from vlmlens.model.reading.residual import RESIDUAL
        >>> run = model.run(model.inputs(sample), save=[*RESIDUAL, "hook_logits"])
        >>> stream = ResidualStream(model, run.saved)
        >>> parts, names = stream.decompose_resid(return_labels=True)
        >>> parts.shape, names[:3]  # component batch pos d_model
        (torch.Size([9, 1, 78, 128]), ['embed', '0_attn_out', '0_mlp_out'])
        >>> found = stream.logit_attrs(parts, " red").sum(0)[0, -1]
        >>> (red,) = model.processor.tokenizer.encode(" red", add_special_tokens=False)
        >>> bool(abs(found - run.logits[0, -1, red]) < 1e-3)
        True
    """

    # ------------------------------------------------------------------ taking apart

    def decompose_resid(
        self,
        layer: int | None = None,
        mlp_input: bool = False,
        mode: Literal["all", "mlp", "attn"] = "all",
        apply_ln: bool = False,
        pos_slice: Which = None,
        incl_embeds: bool = True,
        return_labels: bool = False,
    ) -> Any:
        """The parts whose sum enters a block: the embedding, and what every block before wrote.

        Args:
            layer: the block that is entered; None or -1 for the end of the last.
            mlp_input: what enters the block's MLP in place of its attention.
            mode: parts of attention, of MLPs, or all.
            apply_ln: pass the parts through the norm that reads the stream there; see
                ``apply_ln_to_stack``.
            pos_slice: positions to keep.
            incl_embeds: whether the embedding, and what is added between blocks, are parts.
            return_labels: whether to return the parts' names as well.

        Returns:
            (component batch pos d_model); with ``return_labels``, that and a list of names.
        """
        self._stream.refuse_unlike()
        end = self._stream.block(layer)
        parts: dict[str, Tensor] = {"embed": self.saved["hook_embed"]} if incl_embeds else {}
        for at in range(end + mlp_input):
            if incl_embeds and at > 0:
                parts |= self._stream.added(at)
            if mode != "mlp":
                parts[f"{at}_attn_out"] = self.saved["attn_out", at]
            if mode != "attn" and at < end:
                parts[f"{at}_mlp_out"] = self.saved["mlp_out", at]
        if incl_embeds and not mlp_input and 0 < end < self._vlm.layers:
            parts |= self._stream.added(end)
        kept = self._stacked(parts.values(), pos_slice)
        if apply_ln:
            kept = self.apply_ln_to_stack(kept, end, mlp_input, pos_slice)
        return (kept, list(parts)) if return_labels else kept

    def accumulated_resid(
        self,
        layer: int | None = None,
        incl_mid: bool = False,
        apply_ln: bool = False,
        pos_slice: Which = None,
        mlp_input: bool = False,
        return_labels: bool = False,
    ) -> Any:
        """The stream as it enters every block up to one, for the logit lens.

        Args:
            layer: the last block; None or -1 to go on to the end.
            incl_mid: the stream between the two halves of every block as well.
            apply_ln: pass each through the final norm, each with its own scale; or through the
                norm of ``layer``, with the scale of what enters there.
            pos_slice: positions to keep.
            mlp_input: what enters the last block's MLP as well.
            return_labels: whether to return names as well.

        Returns:
            (component batch pos d_model); with ``return_labels``, that and a list of names.
        """
        end = self._stream.block(layer)
        streams: dict[str, Tensor] = {}
        for at in range(min(end + 1, self._vlm.layers)):
            streams[f"{at}_pre"] = self.saved["resid_pre", at]
            if (incl_mid and at < end) or (mlp_input and at == end):
                streams[f"{at}_mid"] = self.saved["resid_mid", at]
        if end == self._vlm.layers:
            streams["final_post"] = self.saved["resid_post", end - 1]
        kept = self._stacked(streams.values(), pos_slice)
        if apply_ln:
            last = end == self._vlm.layers
            kept = self.apply_ln_to_stack(kept, end, mlp_input, pos_slice, recompute_ln=last)
        return (kept, list(streams)) if return_labels else kept

    def stack_head_results(
        self,
        layer: int | None = -1,
        return_labels: bool = False,
        incl_remainder: bool = False,
        pos_slice: Which = None,
        apply_ln: bool = False,
    ) -> Any:
        """What every head wrote into the stream, in the blocks before one.

        Computed from ``attn.hook_z`` by calling the projection once a head. Where a model norms
        what attention writes (Gemma), a head's share is what passes that norm, its scale held
        fixed.

        Args:
            layer: blocks before this one; None or -1 for all.
            return_labels: whether to return names (``"L0H3"``) as well.
            incl_remainder: a last part, all else that the stream holds after those blocks.
            pos_slice: positions to keep.
            apply_ln: pass the parts through the norm that reads the stream there.

        Returns:
            (component batch pos d_model); with ``return_labels``, that and a list of names.
        """
        self._stream.refuse_unlike()
        end = self._stream.block(layer)
        if end == 0:
            raise InputError("no block comes before block 0: layer is at least 1")
        parts, labels = [], []
        for at in range(end):
            written = self._stream.head_results(at, pos_slice)
            parts += written.unbind(-2)
            labels += [f"L{at}H{head}" for head in range(written.shape[-2])]
        kept = torch.stack(parts)
        if incl_remainder:
            whole = sliced(self.saved["resid_post", end - 1], pos_slice, dim=-2)
            kept = torch.cat([kept, (whole - kept.sum(0))[None]])
            labels.append("remainder")
        if apply_ln:
            kept = self.apply_ln_to_stack(kept, end, pos_slice=pos_slice)
        return (kept, labels) if return_labels else kept

    # ------------------------------------------------------------------ norm and logits

    def apply_ln_to_stack(
        self,
        residual_stack: Stack,
        layer: int | None = None,
        mlp_input: bool = False,
        pos_slice: Which = None,
        batch_slice: Which = None,
        has_batch_dim: bool = True,
        recompute_ln: bool = False,
    ) -> Kept:
        """Parts of the stream as a norm lets them pass, each channel's gain included.

        The scale is that of the whole stream, so that the parts' sum is the norm's output, but for
        its bias (RMSNorm has none).

        Args:
            residual_stack: parts of the stream, positions and samples already chosen.
            layer: the block whose norm it is; None or -1 for the final one.
            mlp_input: the norm before the MLP in place of that before attention.
            pos_slice: the positions that the parts have.
            batch_slice: the samples to keep.
            has_batch_dim: whether the parts have a batch axis.
            recompute_ln: the final norm, each part with its own scale; its bias included.
        """
        end = self._stream.block(layer)
        if has_batch_dim:
            residual_stack = sliced(residual_stack, batch_slice, dim=1)
        if recompute_ln and end == self._vlm.layers:
            with torch.no_grad():
                return torch.stack([self._stream.final_norm(part) for part in residual_stack])
        stream = self._stream.entering(end, mlp_input)
        norm = Norm.of(self._stream.norm_at(end, mlp_input), stream)
        stream = sliced(sliced(stream, pos_slice, dim=-2), batch_slice, dim=0)
        if not has_batch_dim:
            stream = stream.squeeze(0)
        return norm.part(residual_stack, norm.scale(stream))

    def logit_attrs(
        self,
        residual_stack: Stack,
        tokens: Tokens,
        incorrect_tokens: Tokens | None = None,
        pos_slice: Which = None,
        batch_slice: Which = None,
        has_batch_dim: bool = True,
    ) -> Attributions:
        """What every part of the stream adds to a token's logit: direct logit attribution.

        The parts of ``decompose_resid`` sum to the logit before any soft cap, but for what the
        final norm's bias and the unembedding's bias add.

        Args:
            residual_stack: parts of the stream.
            tokens: the token: one, one a sample, or one for every sample and position.
            incorrect_tokens: a token to compare with; what is attributed is then the difference.
            pos_slice: the positions that the parts have.
            batch_slice: the samples to keep.
            has_batch_dim: whether the parts have a batch axis.

        Returns:
            (component batch pos), in logits.
        """
        direction = directions(self._vlm, tokens)
        if incorrect_tokens is not None:
            other = directions(self._vlm, incorrect_tokens)
            if other.shape != direction.shape:
                raise InputError("tokens and incorrect_tokens must be of one shape")
            direction = direction - other
        passed = self.apply_ln_to_stack(
            residual_stack, None, False, pos_slice, batch_slice, has_batch_dim
        )
        if direction.ndim == 2 and passed.ndim == 4 and len(direction) == passed.shape[1]:
            direction = direction[:, None]  # a sample's token, at all of its positions
        return (passed * direction.to(passed)).sum(-1)
