"""The invariants that an audit measures: two ways of computing one thing, and their difference."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from vlmlens.inputs import Inputs
from vlmlens.interventions import Scale
from vlmlens.model.audit.findings import Invariant
from vlmlens.model.decoding.choosing import lent
from vlmlens.model.passes.runs import Audited
from vlmlens.model.wiring.rotary import rotate
from vlmlens.select import Where

NOT_TAKEN_APART = "does not apply: raw tensors are not taken apart"


def plain_logits(vlm: Audited, inputs: Inputs) -> Float[Tensor, "batch pos vocab"]:
    """Logits of transformers alone: its own attention functions, no hook of ours."""
    with vlm.implementations.plain(), torch.no_grad():
        return vlm.hf_model(**inputs.tensors, use_cache=False).logits


def off(a: Shaped[Tensor, "..."], b: Shaped[Tensor, "..."]) -> float:
    """The largest difference, relative to the largest entry of b."""
    if a.shape != b.shape:
        return float("inf")
    scale = b.float().abs().max().clamp(min=1e-12)
    return float((a.float() - b.float()).abs().max() / scale)


def _skipped(name: str, bound: float, why: str) -> Invariant:
    """One that does not apply to this model, or to these inputs."""
    return Invariant(name, float("nan"), bound, why)


def worse(a: float, b: float) -> float:
    """The larger difference; NaN if either is, which ``max`` would lose."""
    return float(torch.tensor([a, b]).max())


def _own(inputs: Inputs, row: int) -> Bool[Tensor, " pos"]:
    return torch.from_numpy(~inputs.layouts[row].mask("pad"))


def stream(vlm: Audited, saved, part: str, bound: float) -> Invariant:
    """A block's residual stream gains what its sublayers write."""
    name = f"{part}: what the sublayers add is what the stream gains"
    if part == "blocks" and "stream" in vlm.family.unlike:
        return _skipped(name, bound, vlm.family.unlike["stream"])
    worst, found = 0.0, False
    for layer in range(vlm.depth(part)):
        at = f"{part}.{layer}.hook_"
        parts = [at + p for p in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
        if all(p in saved for p in parts):
            pre, attention, mlp, post = (saved[p] for p in parts)
            worst, found = worse(worst, off(pre + attention + mlp, post)), True
    if not found:
        return Invariant(
            name, float("nan"), bound, "does not apply: not all of its terms are points"
        )
    return Invariant(name, worst, bound)


def causal(vlm: Audited, inputs: Inputs) -> Invariant:
    """No weight on what comes later, but inside an image or a prompt that sees itself."""
    name = "blocks: no attention to what comes later, outside an image or a prompt"
    saved = vlm.run(inputs, save="blocks.*.attn.hook_pattern").saved
    text = vlm.config.get_text_config()
    both_ways = (
        "token_type_ids" in inputs.tensors
        or getattr(text, "use_bidirectional_attention", None) == "vision"
    )
    worst = 0.0
    for pattern in saved.values():
        for row, layout in enumerate(inputs.layouts):
            own = _own(inputs, row)
            future = torch.ones(pattern.shape[-2:], dtype=torch.bool).triu(1)
            future &= own[:, None] & own[None, :]
            if both_ways:
                seen = torch.from_numpy(layout.mask("vision", "bos", "system", "user", "template"))
                future &= ~(seen[:, None] & seen[None, :])
            for numbers in vlm.family.within_image:  # what ends an image's rows is of it, too
                of_images = inputs.tensors[numbers][row].bool().cpu()
                future &= ~(of_images[:, None] & of_images[None, :])
            weights = pattern[row][..., future.to(pattern.device)]
            worst = worse(worst, float(weights.abs().max()) if weights.numel() else 0.0)
    return Invariant(name, worst, 0.0)


def rope(vlm: Audited, saved, bound: float) -> Invariant:
    """Queries and keys before RoPE, rotated by its angles, are those after it."""
    name = "blocks: queries and keys rotated by the angles are the rotated ones"
    if vlm.rope is None:
        return Invariant(
            name, float("nan"), bound, "does not apply: nothing rotates, or not by angles"
        )
    if "rotation" in vlm.family.unlike:
        return _skipped(name, bound, vlm.family.unlike["rotation"])
    worst = 0.0
    for layer in range(vlm.layers):
        at = f"blocks.{layer}.attn.hook_"
        if at + "cos" not in saved:
            continue
        cos, sin = (saved[at + t].unsqueeze(-2) for t in ("cos", "sin"))
        for side in (side for side in "qk" if at + side in saved):
            rotated = rotate(saved[at + side], cos, sin, vlm.rope.pairing)
            worst = worse(worst, off(rotated, saved[f"{at}rot_{side}"]))
    return Invariant(name, worst, bound)


def decoding(vlm: Audited, inputs: Inputs, bound: float) -> Invariant:
    """Token by token, or all of it at once: the same logits."""
    name = "decoding with the cache: one pass over everything"
    generation = vlm.generate(inputs, max_new_tokens=3, stop=False)
    image = vlm.config.image_token_id
    if (generation.tokens == image).any():
        return Invariant(
            name, float("nan"), bound, "does not apply: the model generated image tokens"
        )
    whole = vlm.run(inputs.appended(generation.tokens)).logits
    start = len(inputs.layouts[0]) - 1
    steps = torch.stack([step.logits[:, -1] for step in generation.steps], dim=1)
    return Invariant(name, off(steps, whole[:, start : start + 3]), bound)


def own_decoding(vlm: Audited, inputs: Inputs, bound: float) -> Invariant:
    """Transformers decodes with its own cache, from ids that it counts by itself."""
    name = "decoding by transformers' own generate: one pass over everything"
    counted = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    size = inputs.tensors["input_ids"].shape[1]
    # The checkpoint's own settings choose tokens, and the invariant is of logits.
    plain = GenerationConfig(
        max_length=size + 3,
        min_length=size + 3,
        do_sample=False,
        pad_token_id=0,
        suppress_tokens=[vlm.config.image_token_id],
        output_logits=True,
        return_dict_in_generate=True,
    )
    with lent(vlm, plain), vlm.implementations.plain(), torch.no_grad():
        said = GenerationMixin.generate(vlm.hf_model, **counted)
    whole = vlm.run(inputs.appended(said.sequences[:, size:])).logits
    return Invariant(name, off(torch.stack(said.logits, 1), whole[:, size - 1 : -1]), bound)


def resuming(vlm: Audited, inputs: Inputs, bound: float) -> Invariant:
    """One edit at the first block, and one at the last position half-way up."""
    name = "resuming from a prefill: whole passes under the same edits"
    if any(point.watched for point in vlm.hook_dict.values()):
        return Invariant(
            name, float("nan"), bound, "does not apply: hooks are on, a prefill is clean"
        )
    if len(inputs) > 1 or inputs.layouts[0].mask("pad").any():
        if not inputs.samples:
            return _skipped(name, bound, NOT_TAKEN_APART)
        inputs = vlm.inputs(inputs.samples[0])
    edits = [
        Scale("blocks.0.hook_resid_pre", by=1.5),
        Scale(f"blocks.{vlm.layers // 2}.hook_mlp_out", Where(positions="last"), by=0.5),
    ]
    found = vlm.resume(vlm.prefill(inputs), [[edit] for edit in edits]).logits[:, 0]
    whole = torch.stack([vlm.run(inputs, [edit]).logits[0, -1] for edit in edits])
    return Invariant(name, off(found, whole), bound)


def batch(vlm: Audited, inputs: Inputs, bound: float) -> Invariant:
    """Padding, and who else is in the batch, is of no account."""
    name = "a padded batch: its samples one by one"
    if not inputs.samples:
        return _skipped(name, bound, NOT_TAKEN_APART)
    together, worst = vlm.run(inputs).logits, 0.0
    for row, sample in enumerate(inputs.samples):
        single = vlm.inputs([sample])
        if len(single.layouts[0]) != int(_own(inputs, row).sum()):
            return Invariant(
                name, float("nan"), bound, "does not apply: made with a system or answers"
            )
        alone = vlm.run(single).logits[0]
        beside = together[row, _own(inputs, row).to(together.device)]
        worst = worse(worst, off(beside, alone))
    return Invariant(name, worst, bound)
