"""Models of every family with the pictures' sizes of published checkpoints, and tiny widths.

Sizes of pictures, tiles and patches, canvases and limits are those of the checkpoints that are
named; widths, depths and vocabularies are the tiny models'.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vlmlens.zoo.tiny.families import TINY
from vlmlens.zoo.tiny.tiny import Tiny


def _real(
    name: str,
    vision: Mapping[str, Any],
    pixels: Mapping[str, Any],
    processor: Mapping[str, Any] | None = None,
    plain: tuple[str, ...] = (),
    **config: Any,
) -> tuple[str, Tiny]:
    """A tiny model's entry with one block a stack and these sizes instead of its own."""
    tiny = TINY[name]
    depth = "depth" if "depth" in tiny.config["vision_config"] else "num_hidden_layers"
    text = dict(tiny.config["text_config"]) | {"max_position_embeddings": 32768}
    sizes = {
        "vision_config": tiny.config["vision_config"] | {depth: 1} | vision,
        "text_config": text,
    }
    return name.partition("/")[0], replace(
        tiny,
        config=tiny.config | sizes | config,
        pixels=(tiny.pixels[0], tiny.pixels[1] | pixels),
        processor=tiny.processor | (processor or {}),
        plain=tiny.plain + plain,
    )


def _tower(image: int, patch: int) -> dict[str, int]:
    return {"image_size": image, "patch_size": patch}


def _both(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


def _crop(side: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def _canvases(side: int, most: int) -> list[list[int]]:
    return [[r * side, c * side] for r in range(1, most + 1) for c in range(1, most + 1)]


NEXT = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
GRANITE = [
    [384 * rows, 384 * columns]
    for rows, columns in [*((1, n) for n in range(1, 11)), *((n, 1) for n in range(2, 11))]
    + [(2, n) for n in range(2, 6)]
    + [(n, 2) for n in range(3, 6)]
    + [(3, 3)]
]
ROWS = tuple(
    f"<row_{row}_col_{column}>" for row in range(1, 8) for column in range(1, 8) if row + column > 6
)
#: Qwen's pictures: at most this many pixels here, so that one pass stays short.
QWEN = {"size": {"shortest_edge": 56 * 56, "longest_edge": 1024 * 1024}}

#: What it is like -> family, and what it is built from.
REAL: dict[str, tuple[str, Tiny]] = {
    "LLaVA-1.5, CLIP 336/14": _real(
        "llava", _tower(336, 14), _crop(336), {"patch_size": 14}, vision_feature_layer=-1
    ),
    "LLaVA, SigLIP 384/14": _real(
        "llava/siglip-qwen2", _tower(384, 14), _both(384), {"patch_size": 14}
    ),
    "LLaVA, SigLIP 224/14": _real(
        "llava/siglip-qwen2", _tower(224, 14), _both(224), {"patch_size": 14}
    ),
    "ViP-LLaVA, CLIP 336/14": _real(
        "vipllava",
        _tower(336, 14),
        _crop(336),
        {"patch_size": 14},
        vision_feature_layers=[-1, -1],
    ),
    "Video-LLaVA, CLIP 224/14": _real(
        "video_llava", _tower(224, 14), _crop(224), {"patch_size": 14}, vision_feature_layer=-1
    ),
    "LLaVA-NeXT, CLIP 336/14": _real(
        "llava_next",
        _tower(336, 14),
        _crop(336) | {"image_grid_pinpoints": NEXT},
        {"patch_size": 14},
        image_grid_pinpoints=NEXT,
        vision_feature_layer=-1,
    ),
    "Granite Vision, SigLIP 384/14 in LLaVA-NeXT": _real(
        "llava_next",
        {"model_type": "siglip_vision_model", "vision_use_head": False} | _tower(384, 14),
        _crop(384) | {"image_grid_pinpoints": GRANITE},
        {
            "patch_size": 14,
            "vision_feature_select_strategy": "full",
            "num_additional_image_tokens": 0,
        },
        image_grid_pinpoints=GRANITE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    ),
    "LLaVA-NeXT-Video, CLIP 336/14": _real(
        "llava_next_video",
        _tower(336, 14),
        _crop(336) | {"image_grid_pinpoints": NEXT},
        {"patch_size": 14},
        image_grid_pinpoints=NEXT,
        vision_feature_layer=-1,
    ),
    "LLaVA-OneVision, SigLIP 384/14": _real(
        "llava_onevision",
        _tower(384, 14),
        _both(384) | {"image_grid_pinpoints": _canvases(384, 6)},
        {"num_image_tokens": 729, "vision_aspect_ratio": "anyres_max_9"},
        image_grid_pinpoints=_canvases(384, 6),
        vision_aspect_ratio="anyres_max_9",
        vision_feature_layer=-1,
    ),
    "Qwen2-VL, 14 x 2": _real("qwen2_vl", {"patch_size": 14}, QWEN | {"patch_size": 14}),
    "Qwen2.5-VL, 14 x 2": _real(
        "qwen2_5_vl",
        {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": []},
        QWEN | {"patch_size": 14},
    ),
    "Qwen3-VL, 16 x 2": _real(
        "qwen3_vl",
        {"patch_size": 16, "num_position_embeddings": 2304, "deepstack_visual_indexes": [0]},
        QWEN | {"patch_size": 16},
    ),
    "Qwen3.5, 16 x 2": _real(
        "qwen3_5", {"patch_size": 16, "num_position_embeddings": 2304}, QWEN | {"patch_size": 16}
    ),
    "Qwen3.5 of experts, 16 x 2": _real(
        "qwen3_5_moe",
        {"patch_size": 16, "num_position_embeddings": 2304},
        QWEN | {"patch_size": 16},
    ),
    "GLM-4.1V, 14 x 2": _real("glm4v", _tower(336, 14), QWEN | {"patch_size": 14}),
    "GLM-4.5V, 14 x 2": _real("glm4v_moe", _tower(336, 14), QWEN | {"patch_size": 14}),
    "GLM-4.6V, 14 x 2": _real("glm46v", _tower(336, 14), QWEN | {"patch_size": 14}),
    "GLM-GA, 14 x 2": _real("glmga", _tower(336, 14), QWEN | {"patch_size": 14}),
    "GLM-OCR, 14 x 2": _real("glm_ocr", _tower(336, 14), QWEN | {"patch_size": 14}),
    "North Vision, 16 x 2": _real(
        "cohere_compass",
        {"patch_size": 16, "num_position_embeddings": 2304, "deepstack_visual_indexes": [0]},
        QWEN | {"patch_size": 16},
    ),
    "EXAONE 4.5, 14 x 2": _real(
        "exaone4_5",
        {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": []},
        QWEN | {"patch_size": 14},
    ),
    "Cosmos3 Edge, SigLIP 2 16 x 2": _real(
        "cosmos3_edge", {"patch_size": 16, "num_patches": 256}, QWEN | {"patch_size": 16}
    ),
    "HyperCLOVA X SEED Vision, 14 x 2": _real(
        "hyperclovax_vision_v2",
        {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": []},
        QWEN | {"patch_size": 14},
    ),
    "ERNIE 4.5 VL, 14 x 2": _real("ernie4_5_vl_moe", {"patch_size": 14}, QWEN | {"patch_size": 14}),
    "PaddleOCR-VL, SigLIP 384/14 x 2": _real(
        "paddleocr_vl", _tower(384, 14), QWEN | {"patch_size": 14}
    ),
    "VideoLLaMA3, SigLIP 14 x 2": _real(
        "video_llama_3", {"patch_size": 14}, QWEN | {"patch_size": 14}
    ),
    "Gemma 3, SigLIP 896/14": _real(
        "gemma3",
        _tower(896, 14),
        _both(896),
        {"image_seq_length": 256},
        mm_tokens_per_image=256,
    ),
    "Gemma 4, 16 pooled by 3": _real(
        "gemma4",
        {"patch_size": 16, "pooling_kernel_size": 3, "position_embedding_size": 4096},
        {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 280},
    ),
    "PaliGemma, SigLIP 224/14": _real(
        "paligemma", _tower(224, 14), _both(224) | {"image_seq_length": 256}
    ),
    "PaliGemma 2, SigLIP 448/14": _real(
        "paligemma/gemma2", _tower(448, 14), _both(448) | {"image_seq_length": 1024}
    ),
    "Idefics3, SigLIP 364/14": _real(
        "idefics3",
        _tower(364, 14),
        {"size": {"longest_edge": 1456}, "max_image_size": {"longest_edge": 364}},
        {"image_seq_len": 169},
        ROWS,
    ),
    "SmolVLM 500M, 512/16, scale 4": _real(
        "smolvlm",
        _tower(512, 16),
        {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}},
        {"image_seq_len": 64},
        ROWS,
        scale_factor=4,
    ),
    "SmolVLM 2.2B, SigLIP 384/14, scale 3": _real(
        "smolvlm",
        _tower(384, 14),
        {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}},
        {"image_seq_len": 81},
        ROWS,
        scale_factor=3,
    ),
    "Mistral Small 3.1, Pixtral 14 x 2": _real(
        "mistral3",
        _tower(1540, 14),
        {"size": {"longest_edge": 1540}, "patch_size": 14},
        {"patch_size": 14},
    ),
    "LightOnOCR, Pixtral 14 x 2": _real(
        "lighton_ocr",
        _tower(1540, 14),
        {"size": {"longest_edge": 1540}, "patch_size": 14},
        {"patch_size": 14},
    ),
    "Qianfan-OCR, 448/14": _real(
        "qianfan_ocr",
        {"image_size": [448, 448], "patch_size": [14, 14]},
        _both(448) | {"max_patches": 12},
        {"image_seq_length": 256},
    ),
    "InternVL3, 448/14": _real(
        "internvl",
        {"image_size": [448, 448], "patch_size": [14, 14]},
        _both(448) | {"max_patches": 12},
        {"image_seq_length": 256},
    ),
    "Molmo 2, SigLIP 2 378/14, pooled 2 x 2": _real(
        "molmo2",
        {"image_size": [378, 378], "patch_size": 14},
        _both(378) | {"patch_size": 14, "max_crops": 8, "overlap_margins": [4, 4]},
        adapter_config=TINY["molmo2"].config["adapter_config"] | {"vision_feature_layer": [0, 0]},
    ),
    "Ovis2, AIMv2 448/14": _real(
        "ovis2",
        _tower(448, 14),
        _both(448) | {"max_patches": 9},
        {"image_seq_length": 256},
    ),
    "Aya Vision, SigLIP 364/14": _real(
        "aya_vision",
        _tower(364, 14),
        _both(364) | {"max_patches": 12},
        {"patch_size": 14, "img_size": 364},
        tuple(f"TILE_{number}" for number in range(5, 13)),
    ),
    "DeepSeek-VL, SigLIP 384/16": _real(
        "deepseek_vl",
        _tower(384, 16),
        _both(384) | {"min_size": 14},
        {"num_image_tokens": 576},
    ),
    "DeepSeek-VL 7B, SigLIP 384/16 and SAM 1024/16": _real(
        "deepseek_vl_hybrid",
        _tower(384, 16),
        _both(384) | {"min_size": 14, "high_res_size": {"height": 1024, "width": 1024}},
        {"num_image_tokens": 576},
        high_res_vision_config=TINY["deepseek_vl_hybrid"].config["high_res_vision_config"]
        | _tower(1024, 16),
    ),
    "Janus, 384/16": _real(
        "janus", _tower(384, 16), _both(384) | {"min_size": 14}, {"num_image_tokens": 576}
    ),
    "Llama 4, 336/14": _real(
        "llama4", _tower(336, 14), {"side": 336, "max_patches": 16}, {"patch_size": 14}
    ),
    "LFM2-VL, SigLIP 2 16 x 2": _real(
        "lfm2_vl",
        {"patch_size": 16, "num_patches": 256},
        {
            "encoder_patch_size": 16,
            "tile_size": 512,
            "min_image_tokens": 64,
            "max_image_tokens": 256,
            "max_tiles": 10,
        },
        plain=tuple(
            f"<|img_row_{row}_col_{column}|>"
            for row in range(1, 11)
            for column in range(1, 11)
            if max(row, column) > 6 and row * column <= 10
        ),
    ),
    "Command A Vision, SigLIP 512/16": _real(
        "cohere2_vision",
        _tower(512, 16),
        _both(512) | {"max_patches": 12, "patch_size": 16},
    ),
    "vlmlens_llava, CLIP 336/14, pooled by 4": _real(
        "vlmlens_llava/tokens",
        _tower(336, 14),
        _crop(336),
        {"patch_size": 56, "num_additional_image_tokens": 4},
        pool=6,
        coordinates=False,
        vision_feature_layer=-1,
    ),
    "vlmlens_llava, CLIP 336/14, pooled to 5 x 5": _real(
        "vlmlens_llava/tokens",
        _tower(336, 14),
        _crop(336),
        {"patch_size": 67, "num_additional_image_tokens": 4},
        pool=5,
        coordinates=False,
        vision_feature_layer=-1,
    ),
}


def linear(model: Any, family: Any) -> Any:
    """The model, whose image tokens are now the mean brightness of the pixels that they see.

    Blocks pass on what they get; every other matrix takes the mean; norms and nonlinearities are
    the identity, and gates are open. What is left is which pixels meet in which token.
    """
    for path in (family.vision_layers, family.lm_layers):
        for parameter in model.get_submodule(path).parameters():
            nn.init.zeros_(parameter)
    second = "model.high_res_vision"  # a further tower, which is left out
    tower = family.vision_layers + "."
    for name, parameter in model.named_parameters():
        if not name.startswith((tower, family.lm_layers)):
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            mean = parameter.ndim > 1 and "position" not in name and not name.startswith(second)
            value = 1 / fan if mean else 0.0
            nn.init.constant_(parameter, value)
    for name, module in model.named_modules():
        kind = type(module)
        if "Norm" in kind.__name__:
            module.forward = lambda x, *_: x.contiguous()
        elif kind.__module__.startswith(
            ("transformers.activations", "torch.nn.modules.activation")
        ):
            gated = name.endswith(GATES.get(model.config.model_type, "no gate"))
            module.forward = torch.ones_like if gated else lambda x: x
    if model.config.model_type == "ovis2":  # a mixture of words that hardly differ is linear, too
        head, table = model.model.vision_tower.head_linear, model.model.visual_embeddings_table
        with torch.no_grad():
            tilt = torch.linspace(-0.01, 0.01, len(head.weight))[:, None]
            head.weight.copy_(tilt / head.weight.shape[1])
            table.weight.copy_(torch.arange(len(table.weight))[:, None])
    return model


#: Where what comes out of a nonlinearity is multiplied with something.
GATES = {
    **dict.fromkeys(("glm4v", "glm46v", "glmga", "glm4v_moe", "glm_ocr"), "merger.act_fn"),
    "aya_vision": "multi_modal_projector.act",
    "molmo2": "image_projector.act_fn",
    "cohere2_vision": "multi_modal_projector.act",
}
