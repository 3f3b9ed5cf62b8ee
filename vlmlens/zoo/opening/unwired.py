"""Architectures of transformers that cannot be wired as they are, and why."""

from collections.abc import Mapping

from vlmlens.errors import UnsupportedModelError

TIMM = "its tower is one of timm's, whose blocks have other parts in every checkpoint"
QUERIES = (
    "learned queries read the image, and what enters the prompt is theirs: no token has a place on "
    "the picture"
)
CROSS = (
    "its language model reads the image by cross-attention of its own layers: no position of the "
    "sequence is the image's"
)
CODES = "pictures enter as words of a codebook: there is neither a tower of blocks nor a projector"
ENCODER = "its image and its text meet in an encoder-decoder, not in one sequence"
PIXELS = "pixels enter the language model as they are: there is no tower"
SAM = (
    "its tower is SAM's, which attends within windows that are filled up with padding: what "
    "happens in its blocks has no row of the picture's patches"
)
MERGED = (
    "its tower merges patches halfway through: what its blocks before and after read is no one "
    "stream"
)
DEPTHS = (
    "its pictures enter the language model at several depths, each through a projector of its own: "
    "there is no one projector, and no embedding of a picture's token"
)
EMBEDDED = (
    "transformers opens it as a language model, whose embedding looks at the pictures itself, one "
    "by one: there is no pass of a projector over all of them"
)

#: model_type -> why there is no family of it. What is neither here nor a family may be recognised.
UNWIRED: Mapping[str, str] = {
    "fast_vlm": TIMM,
    "gemma3n": TIMM,
    "perception_lm": TIMM,
    "blip-2": QUERIES,
    "instructblip": QUERIES,
    "instructblipvideo": QUERIES,
    "aria": QUERIES,
    "deepseek_ocr2": QUERIES,
    "idefics2": QUERIES,
    "kosmos-2": QUERIES,
    "kosmos-2.5": QUERIES,
    "mllama": CROSS,
    "idefics": CROSS,
    "blip": CROSS,
    "chameleon": CODES,
    "emu3": CODES,
    "florence2": ENCODER,
    "t5gemma2": ENCODER,
    "pix2struct": ENCODER,
    "udop": ENCODER,
    "vision-encoder-decoder": ENCODER,
    "pp_formulanet": ENCODER,
    "got_ocr2": SAM,
    "pp_chart2table": SAM,
    "minicpm_ocr": MERGED,
    "minicpmv4_6": MERGED,
    "minicpmv4_7": MERGED,
    "granite4_vision": DEPTHS,
    "phi4_multimodal": EMBEDDED,
    "git": "its picture stands before the words without token ids: no prompt says where it is",
    "fuyu": PIXELS,
    "gemma4_unified": PIXELS,
    "diffusion_gemma": "it writes a block of tokens at once, in steps: there is no next token",
    "evolla": "it reads proteins, not pictures",
    "pi0": "it answers with movements of a robot, not with words",
}


def refuse_unwired(name: str, model_type: str) -> None:
    """Refuse an architecture that cannot be wired.

    Raises:
        UnsupportedModelError: says why.
    """
    if why := UNWIRED.get(model_type):
        raise UnsupportedModelError(
            f"{name} is a {model_type!r} model, and these cannot be looked into: {why} "
            "(docs/compatibility.md lists the families that can)"
        )
