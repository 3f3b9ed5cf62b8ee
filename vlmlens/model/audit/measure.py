"""What a model offers and which invariants hold on it, measured on the model itself."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
import transformers
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vlmlens.inputs import Inputs
from vlmlens.interventions import Edit
from vlmlens.model.audit import checks
from vlmlens.model.audit.filmed import video
from vlmlens.model.audit.findings import Audit, Invariant, PointReport
from vlmlens.model.passes.runs import Audited
from vlmlens.model.reading.made_of import in_words
from vlmlens.points import BLOCK_POINTS, SINGLE_POINTS
from vlmlens.sample import Sample

#: How far two ways of computing one thing may differ, relative to the largest entry.
BOUNDS = {torch.float64: 1e-10, torch.float32: 5e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def audit(vlm: Audited, inputs: Inputs | None = None) -> Audit:
    """Measure a model; see ``HookedVLM.audit``."""
    inputs = own_inputs(vlm) if inputs is None else inputs
    plain = checks.plain_logits(vlm, inputs)
    whole = vlm.run_with_cache(inputs)
    assert whole[0] is not None
    bound = BOUNDS.get(plain.dtype, 1e-1)
    found = [
        Invariant(
            "nobody watching: plain transformers' logits",
            checks.off(vlm.run(inputs).logits, plain),
            0.0,
        ),
        Invariant(
            "every point saved: plain transformers' logits", checks.off(whole[0], plain), 0.0
        ),
        *(checks.stream(vlm, whole[1], part, bound) for part in ("vision.blocks", "blocks")),
        checks.causal(vlm, inputs),
        checks.rope(vlm, whole[1], bound),
        checks.decoding(vlm, inputs, bound),
        checks.own_decoding(vlm, inputs, bound),
        checks.resuming(vlm, inputs, bound),
        checks.batch(vlm, inputs, bound),
        video(vlm),
    ]
    points = tuple(_points(vlm, inputs, set(whole[1]), plain, bound))
    return Audit(
        model=str(vlm.name),
        family=vlm.config.model_type,
        recognised=vlm.recognised,
        transformers=transformers.__version__,
        torch=torch.__version__,
        dtype=in_words(vlm.hf_model),
        attention=vlm.attention,
        points=points,
        invariants=tuple(found),
    )


def failed(name: str, family: str, error: Exception) -> Audit:
    """The audit of a model that could not be opened or run at all."""
    said = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return Audit(
        model=name,
        family=family,
        recognised=False,
        transformers=transformers.__version__,
        torch=torch.__version__,
        dtype="",
        attention="",
        points=(),
        invariants=(),
        error=said,
    )


def own_inputs(vlm: Audited) -> Inputs:
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


def _points(
    vlm: Audited,
    inputs: Inputs,
    fired: set[str],
    plain: Float[Tensor, "batch pos vocab"],
    bound: float,
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
        edited = sum(_reaches(vlm, inputs, names[at], plain, bound) for at in tried)
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


def _reaches(
    vlm: Audited, inputs: Inputs, name: str, plain: Float[Tensor, "batch pos vocab"], bound: float
) -> bool:
    """Whether an edit moves the logits, and not by rounding alone.

    It bends the last axis: a common factor would be undone by the next norm. An edit of scores or
    pattern changes how attention is computed, so that a small effect is compared with that of
    another edit, which the same kernels compute: only an edit that arrives tells them apart.
    """
    mask = name.endswith("hook_mask")
    edited = vlm.run(inputs, [Edit(name, by=partial(bent, to=0.5, mask=mask))]).logits
    if checks.off(edited, plain) > bound:
        return True
    other = vlm.run(inputs, [Edit(name, by=partial(bent, to=2.0, mask=mask))]).logits
    return not torch.equal(edited, other)


def bent(x: Float[Tensor, "*axes"], to: float, mask: bool = False) -> Float[Tensor, "*axes"]:
    """From the first entry of the last axis that has several, as it was, to the last, times ``to``.

    A mask, which holds zeros and minus infinities, is added to instead: the weights of its keys
    are what is multiplied.
    """
    axis = -1 if x.shape[-1] > 1 else -2
    line = torch.linspace(1.0, to, x.shape[axis], dtype=x.dtype, device=x.device)
    line = line.reshape(-1, *(1,) * (-1 - axis))
    return x + line.log() if mask else x * line
