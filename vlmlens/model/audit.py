"""What a model offers and which laws hold on it, measured on the model itself."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import transformers
from PIL import Image
from torch import Tensor

from vlmlens.interventions import Scale
from vlmlens.model.findings import Audit, Law, PointReport
from vlmlens.model.inputs import Inputs
from vlmlens.model.rotary import rotate
from vlmlens.points import BLOCK_POINTS, SINGLE_POINTS
from vlmlens.sample import Sample

if TYPE_CHECKING:
    from vlmlens.model.hooked import HookedVLM

#: How far two ways of computing one thing may differ, relative to the largest entry.
BOUNDS = {torch.float64: 1e-10, torch.float32: 5e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def audit(vlm: "HookedVLM", inputs: Inputs | None = None) -> Audit:
    """Measure a model; see ``HookedVLM.audit``."""
    inputs = own_inputs(vlm) if inputs is None else inputs
    plain = _plain(vlm, inputs)
    whole = vlm.run_with_cache(inputs)
    bound = BOUNDS.get(plain.dtype, 1e-1)
    laws = [
        Law(
            "nobody watching: plain transformers' logits", _off(vlm.run(inputs).logits, plain), 0.0
        ),
        Law("every point saved: plain transformers' logits", _off(whole[0], plain), 0.0),
        *(_stream(vlm, whole[1], part, bound) for part in ("vision.blocks", "blocks")),
        _causal(vlm, inputs),
        _rope(vlm, whole[1], bound),
        _decoding(vlm, inputs, bound),
        _batch(vlm, inputs, bound),
    ]
    points = tuple(_points(vlm, inputs, set(whole[1]), plain))
    return Audit(
        model=str(vlm.name),
        family=vlm.config.model_type,
        recognised=vlm.recognised,
        transformers=transformers.__version__,
        torch=torch.__version__,
        dtype=str(next(vlm.hf_model.parameters()).dtype).removeprefix("torch."),
        attention=vlm.attention,
        points=points,
        laws=tuple(laws),
    )


def own_inputs(vlm: "HookedVLM") -> Inputs:
    """Two questions of different length, about two pictures of different shape."""
    questions = ("What is left?", "Is the red square above the blue circle, or not?")
    sizes = ((96, 96), (160, 72))
    pictures = []
    for (width, height), tone in zip(sizes, (60, 180), strict=True):
        ramp = [
            (x * 255 // width, y * 255 // height, tone) for y in range(height) for x in range(width)
        ]
        picture = Image.new("RGB", (width, height))
        picture.putdata(ramp)
        pictures.append(picture)
    return vlm.inputs(
        [Sample(question=q, images=(p,)) for q, p in zip(questions, pictures, strict=True)]
    )


def _plain(vlm: "HookedVLM", inputs: Inputs) -> Tensor:
    """Logits of transformers alone: its own attention functions, no hook of ours."""
    with vlm._roads.plain(), torch.no_grad():
        return vlm.hf_model(**inputs.tensors, use_cache=False).logits


def _off(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest entry of b."""
    if a.shape != b.shape:
        return float("inf")
    scale = b.float().abs().max().clamp(min=1e-12)
    return float((a.float() - b.float()).abs().max() / scale)


def _worse(a: float, b: float) -> float:
    """The larger difference; NaN if either is, which ``max`` would lose."""
    return float(torch.tensor([a, b]).max())


def _own(inputs: Inputs, row: int) -> Tensor:
    return torch.from_numpy(~inputs.layouts[row].mask("pad"))


def _stream(vlm: "HookedVLM", saved, part: str, bound: float) -> Law:
    name = f"{part}: what the sublayers add is what the stream gains"
    if part == "blocks" and "stream" in vlm.family.unlike:
        return Law(name, float("nan"), bound, vlm.family.unlike["stream"])
    worst, found = 0.0, False
    for layer in range(vlm.depth(part)):
        at = f"{part}.{layer}.hook_"
        parts = [at + p for p in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
        if all(p in saved for p in parts):
            pre, attention, mlp, post = (saved[p] for p in parts)
            worst, found = _worse(worst, _off(pre + attention + mlp, post)), True
    if not found:
        return Law(name, float("nan"), bound, "does not apply: not all of its terms are points")
    return Law(name, worst, bound)


def _causal(vlm: "HookedVLM", inputs: Inputs) -> Law:
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
            weights = pattern[row][..., future.to(pattern.device)]
            worst = _worse(worst, float(weights.abs().max()) if weights.numel() else 0.0)
    return Law(name, worst, 0.0)


def _rope(vlm: "HookedVLM", saved, bound: float) -> Law:
    name = "blocks: queries and keys turned by the angles are the turned ones"
    if vlm.rope is None:
        return Law(name, float("nan"), bound, "does not apply: nothing turns, or not by angles")
    if "turn" in vlm.family.unlike:
        return Law(name, float("nan"), bound, vlm.family.unlike["turn"])
    worst = 0.0
    for layer in range(vlm.layers):
        at = f"blocks.{layer}.attn.hook_"
        if at + "cos" not in saved:
            continue
        cos, sin = (saved[at + t].unsqueeze(-2) for t in ("cos", "sin"))
        for side in (side for side in "qk" if at + side in saved):
            turned = rotate(saved[at + side], cos, sin, vlm.rope.pairing)
            worst = _worse(worst, _off(turned, saved[f"{at}rot_{side}"]))
    return Law(name, worst, bound)


def _decoding(vlm: "HookedVLM", inputs: Inputs, bound: float) -> Law:
    name = "decoding with the cache: one pass over everything"
    generation = vlm.generate(inputs, max_new_tokens=3, stop=False)
    image = vlm.config.image_token_id
    if (generation.tokens == image).any():
        return Law(name, float("nan"), bound, "does not apply: the model generated image tokens")
    whole = vlm.run(inputs.appended(generation.tokens)).logits
    start = len(inputs.layouts[0]) - 1
    steps = torch.stack([step.logits[:, -1] for step in generation.steps], dim=1)
    return Law(name, _off(steps, whole[:, start : start + 3]), bound)


def _batch(vlm: "HookedVLM", inputs: Inputs, bound: float) -> Law:
    name = "a padded batch: its samples one by one"
    if not inputs.samples:
        return Law(name, float("nan"), bound, "does not apply: raw tensors are not taken apart")
    together, worst = vlm.run(inputs).logits, 0.0
    for row, sample in enumerate(inputs.samples):
        single = vlm.inputs([sample])
        if len(single.layouts[0]) != int(_own(inputs, row).sum()):
            return Law(name, float("nan"), bound, "does not apply: made with a system or answers")
        alone = vlm.run(single).logits[0]
        off = _off(together[row, _own(inputs, row).to(together.device)], alone)
        worst = _worse(worst, off)
    return Law(name, worst, bound)


def _points(
    vlm: "HookedVLM", inputs: Inputs, fired: set[str], plain: Tensor
) -> Iterable[PointReport]:
    single = [p.name for p in SINGLE_POINTS]
    blocks = [p.name for p in BLOCK_POINTS]
    deeper = ["projector.deepstack.*.hook_out"] if vlm.family.deepstack else []
    order = [
        *single[:1],
        *(f"vision.blocks.*.{name}" for name in blocks),
        *single[1:3],
        *deeper,
        *single[3:4],
        *(f"blocks.*.{name}" for name in blocks),
        *single[4:],
    ]
    for kind in order:
        names = _of_kind(kind, vlm.hook_dict)
        missing = _of_kind(kind, vlm.absent)
        tried = sorted({0, len(names) // 2, len(names) - 1}) if names else []
        edited = sum(_reaches(vlm, inputs, names[at], plain) for at in tried)
        yield PointReport(
            kind,
            " ".join(vlm.hook_dict[names[0]].axes) if names else "",
            len(names),
            sum(name in fired for name in names),
            len(tried),
            edited,
            vlm.absent[missing[0]] if missing else "",
        )


def _of_kind(kind: str, names: Iterable[str]) -> Sequence[str]:
    before, star, after = kind.partition("*")
    if not star:
        return [name for name in names if name == kind]
    return [
        name
        for name in names
        if name.startswith(before)
        and name.endswith(after)
        and name[len(before) : len(name) - len(after)].isdigit()
    ]


def _reaches(vlm: "HookedVLM", inputs: Inputs, name: str, plain: Tensor) -> bool:
    edited = vlm.run(inputs, [Scale(point=name, by=0.5)]).logits
    return not torch.equal(edited, plain)
