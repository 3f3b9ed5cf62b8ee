"""Videos for tests: noise, and grey frames of which one is painted."""

from contextlib import contextmanager
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

import vlmlens as vl
from vlmlens.interventions import ZeroAblate
from vlmlens.zoo.tiny import build

#: Families that are shown videos. Two are always tried, the others where slow tests run.
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
OMNI = ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
GLM = ("glm4v", "glm46v", "glmga", "glm4v_moe", "glm_ocr")
LIKE_QWEN = ("exaone4_5", "hyperclovax_vision_v2", "cohere_compass", "cosmos3_edge")
LLAVA = ("llava_onevision", "llava_next_video", "video_llava")
OTHERS = (*LLAVA, "smolvlm", "internvl", "gemma4", "molmo2", "video_llama_3", "ernie4_5_vl_moe")
FAMILIES = (*QWEN, *OMNI, *GLM, *LIKE_QWEN, *OTHERS)
#: Those that merge two frames into one.
IN_PAIRS = {*QWEN, *OMNI, *GLM, *LIKE_QWEN, "ernie4_5_vl_moe"} - {"cosmos3_edge"}
#: Those whose videos' tokens and tensors are those of pictures.
AS_PICTURES = ("smolvlm", "internvl")
#: Those whose videos stand by the token of pictures, with tensors of their own.
BY_PICTURES_TOKEN = (*GLM, "molmo2")
#: Those that take pictures and videos in samples of their own.
UNMIXED = ("smolvlm", "molmo2", *GLM)
#: Those that take one video in a sample.
ONE = ("molmo2",)
#: What a family's processor chooses frames by, of those that do not take both.
CHOOSES_BY = dict.fromkeys(GLM, ("fps",)) | dict.fromkeys(("glm46v", "glm_ocr"), ())
#: What makes a processor leave out no patch, where it otherwise does.
ALL_PATCHES = {"video_llama_3": {"use_token_compression": False}}
ALWAYS = ("qwen2_5_vl",)
SIZE = (72, 48)
#: What is seen of frames of this size: all of them, but where they are cropped to a square.
SEEN = dict.fromkeys(("llava_next_video", "video_llava"), (12, 0, 60, 48))


@cache
def opened(name):
    return vl.HookedVLM(*build(name), name=name)


@contextmanager
def silenced(vlm):
    """Edits that silence the tower's attention: a token holds nothing but its own patches.

    A tower that is not watched is silenced by torch's own hooks.
    """
    if not vlm.family.tower_of_videos:
        yield [ZeroAblate(point="vision.blocks.*.attn.hook_z")]
        return
    layers = vlm.hf_model.get_submodule(vlm.family.tower_of_videos).encoder.layers
    handles = [
        layer.self_attn.out_proj.register_forward_pre_hook(lambda _, given: (given[0] * 0,))
        for layer in layers
    ]
    try:
        yield []
    finally:
        for handle in handles:
            handle.remove()


def films(vlm, frames=4):
    """Two videos, or as many as this family takes in a sample."""
    return [noise(frames, seed=seed) for seed in range(1 if vlm.name in ONE else 2)]


def noise(frames=5, size=SIZE, fps=2, seed=0):
    rng = np.random.default_rng(seed)
    return vl.Video(rng.integers(0, 256, (frames, size[1], size[0], 3), dtype=np.uint8), fps)


def rope_index(vlm, made):
    """Positions by the model's own rule, which Omni's asks for under other names."""
    names = {"video_second_per_grid": "second_per_grids"} if vlm.name in OMNI else {}
    said = {names.get(name, name): x for name, x in made.items()}
    return vlm.hf_model.model.get_rope_index(**said)


def grey(frames, size=SIZE):
    return [Image.new("RGB", size, (90, 90, 90)) for _ in range(frames)]


def painted(frames, at, box, size=SIZE):
    """Grey frames, one of them with the middle of a box in white."""
    made = grey(frames, size)
    left, top, right, bottom = box
    width, height = (right - left) / 4, (bottom - top) / 4
    corner = (left + width, top + height, right - width - 1, bottom - height - 1)
    ImageDraw.Draw(made[at]).rectangle([round(x) for x in corner], fill=(255, 255, 255))
    return made


def asked(videos, question="What moves?", **rest):
    return vl.Sample(question, videos=videos, **rest)
