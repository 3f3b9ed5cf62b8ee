"""A tiny smolvlm."""

from vlmlens.zoo.tiny.idefics_parts import IDEFICS_TILES, idefics
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "smolvlm": idefics(
        "smolvlm_vision",
        frames=IDEFICS_TILES,
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    ),
}
