"""PaliGemma 1 and 2: SigLIP, one linear map, Gemma; the whole prompt sees itself both ways."""

from collections.abc import Mapping
from typing import Any

from vlmlens.families.family import Family, count
from vlmlens.families.llava import one_grid


def _from_one(model: Any, tensors: Mapping[str, Any]) -> Any:
    return count(model, tensors) + 1


#: The images and then the words, and nothing else: the checkpoints were trained without a chat.
PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{{ raise_exception('there is no system prompt') }}{% endif %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)

PALIGEMMA = Family(
    model_type="paligemma",
    views=one_grid,
    per_token={"token_type_ids": (0, 1)},  # what is generated sees the past only
    positions=_from_one,
    chat_template=PLAIN,
)
