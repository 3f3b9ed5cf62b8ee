"""A tiny random model of every family; nothing is downloaded."""

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2Config,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

import vlmlens as vl
from vlmlens.zoo.shapes import shapes_processor

# Every example is a pass or two of a model; the same ones each time.
settings.register_profile("models", max_examples=8, deadline=None, derandomize=True)
settings.load_profile("models")

WORDS = [
    "Answer in a word or two. USER: \nWhat color is the circle? ASSISTANT: red",
    "Is the red square left of the blue star? yes no Describe the image. user USER",
]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)  # five times faster on models as tiny as these


def _processor(image_processor, patch: int, extra: int):
    made = shapes_processor(WORDS * 4, vocab_size=300)
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=made.tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default" if extra else "full",
        num_additional_image_tokens=extra,
        chat_template=made.chat_template,
    )


def clip_llama():
    """LLaVA-1.5's parts: CLIP, whose last block is not read, and Llama without grouped heads."""
    processor = _processor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        patch=8,
        extra=1,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=3,
            num_attention_heads=3,
            image_size=32,
            patch_size=8,
        ),
        text_config=LlamaConfig(
            vocab_size=len(processor.tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
        ),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return config, processor


def siglip_qwen2():
    """SigLIP without CLS, and Qwen2 with biases and grouped heads."""
    processor = _processor(
        SiglipImageProcessorPil(size={"height": 30, "width": 30}), patch=10, extra=0
    )
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=30,
            patch_size=10,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=len(processor.tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        ),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return config, processor


TINY = {"llava-clip-llama": clip_llama, "llava-siglip-qwen2": siglip_qwen2}


def build(name: str):
    """A tiny random model and its processor, every weight of it random."""
    config, processor = TINY[name]()
    tokenizer = processor.tokenizer
    config.image_token_index = tokenizer.convert_tokens_to_ids("<image>")
    for part in (config.text_config,):
        part.bos_token_id, part.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        part.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        # Norms and biases too: an identity norm would hide a point in the wrong place.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.9 / parameter.shape[-1] ** 0.5)
    return model, processor


@pytest.fixture(scope="session", params=list(TINY))
def parts(request):
    return build(request.param)


@pytest.fixture(scope="module")
def vlm(parts):
    with vl.HookedVLM(*parts) as model:
        yield model


def picture(seed: int = 0, size: tuple[int, int] = (40, 40)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


QUESTIONS = ("What color is the circle?", "Is the red square left of the blue star?")


@pytest.fixture(scope="module")
def inputs(vlm):
    """Two samples of different length, one image each."""
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS), system="Answer in a word or two.")
