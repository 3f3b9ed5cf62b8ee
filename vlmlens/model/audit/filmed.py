"""A video through vlmlens, and through transformers' own processor and model alone."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model.audit.checks import off, worse
from vlmlens.model.audit.findings import Invariant
from vlmlens.model.lifetime.device import device_of
from vlmlens.model.passes.runs import Audited
from vlmlens.sample import Sample
from vlmlens.versions import unsaid
from vlmlens.video import Video

QUESTION, RATE = "What moves?", 2


def video(vlm: Audited) -> Invariant:
    """Logits about a video, with nobody watching and with every point saved."""
    name = "a video: logits of transformers' own processor and model"
    if vlm.family.videos is None:
        return Invariant(name, float("nan"), 0.0, "does not apply: it is shown no videos")
    if not hasattr(getattr(vlm.processor, "video_processor", None), "sample_frames"):
        note = "does not apply: it was opened without a video processor"
        return Invariant(name, float("nan"), 0.0, note)
    frames = moving_square()
    every = {"do_sample_frames": False}
    try:
        inputs = vlm.inputs(Sample(QUESTION, videos=Video(frames, RATE)), videos_kwargs=every)
    except UnsupportedModelError as error:  # this version of transformers cannot
        return Invariant(name, float("nan"), 0.0, f"does not apply: {error}")
    except InputError as error:
        try:
            _theirs(vlm, frames)
        except Exception:  # theirs raises whatever it stumbles over, at a template say
            return Invariant(name, float("nan"), 0.0, f"does not apply: {error}")
        return Invariant(name, float("inf"), 0.0, f"refused here, and not there: {error}")
    with vlm.implementations.plain(), torch.no_grad():
        plain = vlm.hf_model(**_theirs(vlm, frames), use_cache=False).logits
    saved, _ = vlm.run_with_cache(inputs)
    return Invariant(name, worse(off(vlm.run(inputs).logits, plain), off(saved, plain)), 0.0)


def moving_square() -> UInt8[np.ndarray, "frame height width 3"]:
    """Four frames: a white square goes from left to right over a ramp."""
    across, down = np.meshgrid(np.arange(96), np.arange(72))
    ramp = np.stack([across * 2, down * 3, np.full_like(across, 60)], -1).astype(np.uint8)
    frames = np.stack([ramp] * 4)
    for number, frame in enumerate(frames):
        frame[24:48, 24 * number : 24 * (number + 1)] = 255
    return frames


def _theirs(
    vlm: Audited, frames: UInt8[np.ndarray, "frame height width 3"]
) -> dict[str, Shaped[Tensor, "..."]]:
    """What transformers' processor makes of the same question and frames."""
    from transformers.video_utils import VideoMetadata

    processor: Any = vlm.processor
    content = [{"type": "video"}, {"type": "text", "text": QUESTION}]
    own = getattr(processor, "chat_template", None)
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=None if own else vlm.family.chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    count = len(frames)
    known = VideoMetadata(
        total_num_frames=count,
        fps=RATE,
        duration=count / RATE,
        frames_indices=list(range(count)),
    )
    bos = processor.tokenizer.bos_token
    # What a model of this family is given for every token, where its processor has to be asked.
    asked = {f"return_{name}": True for name in vlm.family.per_token if name.startswith("mm_")}
    made = processor(
        text=[text],
        videos=[[frames]],
        videos_kwargs=unsaid(processor.video_processor)
        | {
            "video_metadata": [known],
            "do_sample_frames": False,
            "return_metadata": True,  # Cosmos3 Edge's writes every frame's second by it
        },
        add_special_tokens=not (bos and text.startswith(bos)),
        return_tensors="pt",
        **asked,
    )
    model: Any = vlm.hf_model
    device = device_of(model.get_input_embeddings())
    return {name: x.to(device) for name, x in made.items() if isinstance(x, Tensor)}
