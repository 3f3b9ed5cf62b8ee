"""The bundled shapes models: configuration, tokenizer and processor.

A LLaVA in miniature, with stock transformers classes: a CLIP tower, a two-layer projector and a
Llama language model with RoPE. 64 x 64 pixels in 8 x 8 patches make 64 vision tokens.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

IMAGE_SIZE, PATCH_SIZE = 64, 8
GRID = IMAGE_SIZE // PATCH_SIZE
SPECIAL = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>", "image": "<image>"}
SYSTEM = "Answer in a word or two."

#: LLaVA-1.5's layout: an optional system prompt, then USER and ASSISTANT turns.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %} "
    "{% else %}{{ message['role'] | upper }}:"
    "{% for part in message['content'] if part['type'] == 'image' %} <image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{% if message['role'] == 'assistant' %} {% generation %}{{ part['text'] }}{{ eos_token }}"
    "{% endgeneration %}{% else %}"
    "{{ '' if loop.first and message['content'][0]['type'] == 'image' else ' ' }}"
    "{{ part['text'] }} {% endif %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def shapes_tokenizer(
    corpus: Iterable[str], vocab_size: int = 512, named: Mapping[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from a corpus.

    Args:
        corpus: texts.
        vocab_size: how many tokens are learned, bytes and special ones among them.
        named: special tokens by the attribute that a processor looks for.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL.values()),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL["pad"],
        bos_token=SPECIAL["bos"],
        eos_token=SPECIAL["eos"],
        unk_token=SPECIAL["unk"],
        extra_special_tokens={"image_token": SPECIAL["image"]} | dict(named or {}),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def shapes_processor(corpus: Iterable[str], vocab_size: int = 512) -> LlavaProcessor:
    """The tokenizer, CLIP pixels, and the chat template."""
    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=shapes_tokenizer(corpus, vocab_size),
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def shapes_config(tokenizer: Any) -> LlavaConfig:
    """The configuration of ``shapes-base``: a tower and a language model of 4 layers each."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        # About 1 / sqrt(width). With the default of 0.02, made for wide models, attention starts
        # out so even that it had not learned to look things up after 4,500 steps.
        initializer_range=0.08,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(SPECIAL["image"]),
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )
