"""Pixels and words as LLaVA-1.5 was trained on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmlens.errors import UnsupportedModelError

#: Vicuna's system prompt. Left out, the template writes it, and its tokens play the role
#: ``template``; given as ``system=``, the same tokens play the role ``system``.
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

#: Vicuna v1: a system prompt, then USER and ASSISTANT turns; an image is a line of its own.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] != 'system' %}" + SYSTEM + " {% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'][0]['text'] }} "
    "{% elif message['role'] == 'user' %}USER: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %} "
    "{% else %}ASSISTANT: "
    "{% for part in message['content'] %}"
    "{% generation %}{{ part['text'] }}{{ eos_token }}{% endgeneration %}"
    "{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def original_processor(folder: Path, settings: Mapping[str, Any], tower: Any) -> Any:
    """The tokenizer of the folder, CLIP's pixels, and Vicuna's template.

    Raises:
        UnsupportedModelError: no tokenizer, or one that cuts texts in another way.
    """
    from transformers import LlavaImageProcessorPil, LlavaProcessor

    side = tower.image_size
    pixels = LlavaImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        do_pad=settings.get("image_aspect_ratio") == "pad",
    )
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=_tokenizer(folder),
        patch_size=tower.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import LlamaTokenizerFast

    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise UnsupportedModelError(f"{folder} has no tokenizer.model and no tokenizer.json")
    try:
        # The original cuts a prompt at its images and encodes each piece as a text of its own,
        # which begins with a space. The "legacy" way does that after every special token.
        tokenizer = LlamaTokenizerFast.from_pretrained(
            folder, legacy=True, extra_special_tokens={"image_token": "<image>"}
        )
    except (OSError, ValueError, ImportError) as error:
        raise UnsupportedModelError(f"{folder} has no tokenizer that opens: {error}") from error
    tokenizer.init_kwargs["legacy"] = True  # which is not saved otherwise
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    tokenizer.padding_side = "left"
    return tokenizer
