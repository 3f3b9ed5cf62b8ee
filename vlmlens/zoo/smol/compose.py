"""A stock LLaVA out of a language model and a tower: configuration, tokenizer, processor."""

from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    Dinov2Model,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

#: 112 x 112 pixels in patches of 14 make 64 vision tokens.
IMAGE_SIZE, PATCH_SIZE = 112, 14
GRID = IMAGE_SIZE // PATCH_SIZE
#: What the tower was trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: After this many blocks a patch's own colour, kind, row and column are read best (by a linear
#: read-out of drawn scenes: 0.98, 1.00, 0.98, 0.99; after the last 0.89, 1.00, 0.89, 0.93).
LAYER = 6
#: A special token of SmolLM2 that it never needs here; its name becomes ``<image>``.
SPARE, IMAGE = "<empty_output>", "<image>"

#: SmolLM2's own template, for contents in parts and without the system prompt that it puts in.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ part['text'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ part['text'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def compose(lm: LlamaForCausalLM, tower: Dinov2Model) -> LlavaForConditionalGeneration:
    """The two under one roof, with a projector that is yet to be learned.

    The image token is one the language model has already, so no table is resized and its answers
    to text alone stay what they were, bit for bit.
    """
    text, vision = lm.config, tower.config
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=16,
        image_seq_length=GRID**2,
        vision_feature_layer=LAYER,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(lm.model.state_dict())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.tie_weights()
    # Plain nn.Linear initialisation, as LLaVA's projector has it.
    model.model.multi_modal_projector.linear_1.reset_parameters()
    model.model.multi_modal_projector.linear_2.reset_parameters()
    model.generation_config.eos_token_id = text.eos_token_id
    model.generation_config.pad_token_id = 0
    return model.eval()


def processor(tokenizer: Any) -> LlavaProcessor:
    """Pixels by pillow, and SmolLM2's tokenizer with its spare token named ``<image>``."""
    named = tokenizer.backend_tokenizer.to_str().replace(f'"{SPARE}"', f'"{IMAGE}"')
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            do_center_crop=False,
            image_mean=MEAN,
            image_std=STD,
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(named),
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            unk_token="<|endoftext|>",
            extra_special_tokens={"image_token": IMAGE},
            padding_side="left",
            clean_up_tokenization_spaces=False,
        ),
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def merge(
    model: LlavaForConditionalGeneration,
    adapter: dict[str, Float[Tensor, "_row _column"]],
    scale: float,
) -> None:
    """Add a low-rank adapter to the language model's matrices: W becomes W + scale B A.

    Args:
        model: whose language model is changed.
        adapter: ``layers.0.self_attn.q_proj.lora_A`` and so on.
        scale: LoRA's alpha over its rank.

    Source: Hu et al. 2021, "LoRA", arXiv:2106.09685.
    """
    matrices = dict(model.model.language_model.named_parameters())
    with torch.no_grad():
        for name, down in adapter.items():
            if name.endswith(".lora_A"):
                path = name.removesuffix(".lora_A")
                up = adapter[f"{path}.lora_B"]
                matrices[f"{path}.weight"] += scale * (up.float() @ down.float())
