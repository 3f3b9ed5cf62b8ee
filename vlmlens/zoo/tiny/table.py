"""What the tiny models are built from: small numbers, and their processors' settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Stands for the tokenizer's size, where a configuration says it once more.
OF_TOKENIZER = "as many as the tokenizer has"


@dataclass(frozen=True)
class Tiny:
    """What a tiny model is built from.

    Attributes:
        config: of the model; sub-configurations name their ``model_type``.
        pixels: name and settings of the image processor.
        image: what stands for an image in a prompt.
        processor: further settings of the processor.
        parts: further parts of the processor, by the names of their classes.
        tokens: special tokens by the attribute that the processor looks for.
        plain: further special tokens.
        ids: configuration fields that hold a token's id, or a list of them.
        bos: whether the chat template writes the start token; PaliGemma's processor does.
        seed: of the weights, such that what is generated holds no image token.
    """

    config: Mapping[str, Any]
    pixels: tuple[str, Mapping[str, Any]]
    image: str = "<image>"
    processor: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    plain: tuple[str, ...] = ()
    ids: Mapping[str, str | list[str]] = field(
        default_factory=lambda: {"image_token_id": "<image>"}
    )
    bos: bool = True
    seed: int = 0


def _tower(kind: str, **settings: Any) -> dict[str, Any]:
    usual = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
    }
    return {"model_type": kind} | usual | settings


def _text(kind: str, **settings: Any) -> dict[str, Any]:
    usual = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    }
    return {"model_type": kind} | usual | settings


def _square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


CLIP = _tower("clip_vision_model", num_hidden_layers=3, image_size=32, patch_size=8)
SIGLIP = _tower("siglip_vision_model", image_size=32, patch_size=8, vision_use_head=False)
CLIP_PIXELS = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
PADDED_PIXELS = ("LlavaImageProcessorPil", CLIP_PIXELS | {"do_pad": True})
WITH_CLS = {
    "patch_size": 8,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}
# Every second layer sees everything and turns nothing.
COHERE2 = _text(
    "cohere2",
    sliding_window=8,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
)
PINPOINTS = [[32, 64], [64, 32], [64, 64], [32, 96], [96, 32]]

QWEN_TOWER = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
QWEN_TEXT = {
    "head_dim": 16,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 3, 3],
    },
}
QWEN_PIXELS = (
    "Qwen2VLImageProcessorPil",
    {"size": {"shortest_edge": 256, "longest_edge": 2048}, "patch_size": 4},
)
QWEN_TOKENS = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
QWEN_PLAIN = ("<|vision_start|>", "<|vision_end|>")
QWEN_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def _qwen(kind: str, text: Mapping[str, Any] | None = None, **vision: Any) -> Tiny:
    # Without a head_dim of their own, wide heads have to be few.
    heads = (
        {} if kind.startswith("qwen3_vl") else {"num_attention_heads": 2, "num_key_value_heads": 1}
    )
    return Tiny(
        config={
            "vision_config": {"model_type": f"{kind}_vision"} | QWEN_TOWER | vision,
            "text_config": _text(f"{kind}_text", **QWEN_TEXT | heads | dict(text or {})),
        },
        pixels=QWEN_PIXELS,
        image="<|vision_start|><|image_pad|><|vision_end|>",
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids=QWEN_IDS,
    )


QWEN3_TOWER = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "out_hidden_size": 32,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}
IDEFICS_TILES = {
    "size": {"longest_edge": 64},
    "max_image_size": {"longest_edge": 32},
}
IDEFICS_TOKENS = (
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)),
)

GEMMA4_TOKENS = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}


def _gemma4(**text: Any) -> Tiny:
    return Tiny(
        config={
            "vision_config": _tower("gemma4_vision", num_key_value_heads=3, head_dim=8)
            | {"patch_size": 4, "pooling_kernel_size": 2, "position_embedding_size": 64},
            "text_config": _text(
                "gemma4_text",
                num_hidden_layers=4,
                layer_types=["sliding_attention", "full_attention"] * 2,
                sliding_window=8,
                head_dim=8,
                global_head_dim=16,
                **text,
            ),
        },
        pixels=(
            "Gemma4ImageProcessorPil",
            {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        ),
        image="<|image|>",
        parts={"feature_extractor": "Gemma4AudioFeatureExtractor"},
        tokens=GEMMA4_TOKENS,
        plain=("<|video|>",),
        ids={
            "image_token_id": "<|image|>",
            "boi_token_id": "<|image>",
            "eoi_token_id": "<image|>",
            "video_token_id": "<|video|>",
            "audio_token_id": "<|audio|>",
            "boa_token_id": "<|audio>",
            "eoa_token_index": "<audio|>",
        },
    )


OVIS_INDICATORS = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]


def _idefics(tower: str, **tokens: str) -> Tiny:
    kind = {"idefics3_vision": "Idefics3", "smolvlm_vision": "SmolVLM"}[tower]
    return Tiny(
        config={
            "vision_config": _tower(tower, image_size=32, patch_size=8),
            "text_config": _text("llama"),
            "scale_factor": 2,
        },
        pixels=(f"{kind}ImageProcessorPil", IDEFICS_TILES),
        processor={"image_seq_len": 4},
        tokens=tokens,
        plain=IDEFICS_TOKENS,
    )


#: Family, or family/variant -> what it is built from.
TINY: dict[str, Tiny] = {
    # LLaVA-1.5's parts: CLIP, whose last block is not read, and Llama without grouped heads.
    "llava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": _text("llama", num_key_value_heads=4),
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        pixels=("CLIPImageProcessorPil", CLIP_PIXELS),
        processor=WITH_CLS,
    ),
    # SigLIP without CLS, whose patches do not fill the picture; Qwen2 with biases.
    "llava/siglip-qwen2": Tiny(
        config={
            "vision_config": SIGLIP | {"image_size": 32, "patch_size": 10},
            "text_config": _text("qwen2"),
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        pixels=("SiglipImageProcessorPil", _square(32)),
        processor={"patch_size": 10, "vision_feature_select_strategy": "full"},
    ),
    # DINOv2, whose sublayers scale what they write; a middle block is read.
    "llava/dinov2": Tiny(
        config={
            "vision_config": _tower("dinov2", num_hidden_layers=3, image_size=64, patch_size=8)
            | {"mlp_ratio": 2, "use_mask_token": False},
            "text_config": _text("llama"),
            "vision_feature_layer": 2,
            "vision_feature_select_strategy": "default",
        },
        pixels=("CLIPImageProcessorPil", CLIP_PIXELS),
        processor=WITH_CLS,
    ),
    "vipllava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": _text("llama"),
            "vision_feature_layers": [-2, 1],
        },
        pixels=("CLIPImageProcessorPil", CLIP_PIXELS),
        processor=WITH_CLS,
    ),
    "llava_next": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": _text("mistral"),
            "image_grid_pinpoints": PINPOINTS,
        },
        pixels=("LlavaNextImageProcessorPil", CLIP_PIXELS | {"image_grid_pinpoints": PINPOINTS}),
        processor=WITH_CLS,
    ),
    "llava_onevision": Tiny(
        config={
            "vision_config": SIGLIP,
            "text_config": _text("qwen2"),
            "image_grid_pinpoints": PINPOINTS,
            "vision_aspect_ratio": "anyres_max_2",
        },
        pixels=(
            "LlavaOnevisionImageProcessorPil",
            _square(32) | {"image_grid_pinpoints": PINPOINTS},
        ),
        processor={
            "num_image_tokens": 16,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_2",
        },
        tokens={"video_token": "<video>"},
        ids={"image_token_id": "<image>", "video_token_id": "<video>"},
    ),
    "qwen2_vl": _qwen("qwen2_vl", embed_dim=24, hidden_size=32),
    "qwen2_5_vl": _qwen(
        "qwen2_5_vl",
        hidden_size=24,
        intermediate_size=40,
        out_hidden_size=32,
        window_size=16,
        fullatt_block_indexes=[1],
    ),
    "qwen3_vl": _qwen("qwen3_vl", **QWEN3_TOWER),
    # Experts in two layers of three.
    "qwen3_vl_moe": _qwen("qwen3_vl_moe", EXPERTS | {"mlp_only_layers": [1]}, **QWEN3_TOWER),
    # One layer of four has linear attention; RoPE turns half of a head.
    "qwen3_5": _qwen(
        "qwen3_5",
        {
            "num_hidden_layers": 4,
            "layer_types": ["full_attention"] * 2 + ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "rope_parameters": QWEN_TEXT["rope_parameters"]
            | {"mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5},
        },
        **{name: size for name, size in QWEN3_TOWER.items() if name != "deepstack_visual_indexes"},
    ),
    "glm4v": Tiny(
        config={
            "vision_config": {"model_type": "glm4v_vision", "hidden_size": 24, "image_size": 32}
            | QWEN_TOWER
            | {"out_hidden_size": 32, "intermediate_size": 40},
            "text_config": _text(
                "glm4v_text",
                head_dim=32,
                hidden_size=32,
                rope_parameters=QWEN_TEXT["rope_parameters"] | {"partial_rotary_factor": 0.5},
                num_attention_heads=2,
                num_key_value_heads=1,
            ),
        },
        pixels=("Glm4vImageProcessorPil", QWEN_PIXELS[1]),
        image="<|begin_of_image|><|image|><|end_of_image|>",
        tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
        plain=("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
        ids={
            "image_token_id": "<|image|>",
            "video_token_id": "<|video|>",
            "image_start_token_id": "<|begin_of_image|>",
            "image_end_token_id": "<|end_of_image|>",
            "video_start_token_id": "<|begin_of_video|>",
            "video_end_token_id": "<|end_of_video|>",
        },
    ),
    # One layer of three sees everything, the others six positions.
    "gemma3": Tiny(
        config={
            "vision_config": SIGLIP,
            "text_config": _text(
                "gemma3_text",
                head_dim=8,
                query_pre_attn_scalar=8,
                sliding_window=6,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            ),
            "mm_tokens_per_image": 4,
        },
        pixels=("Gemma3ImageProcessorPil", _square(32)),
        image="<start_of_image>",
        processor={"image_seq_length": 4},
        tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        ids={
            "image_token_id": "<image_soft_token>",
            "boi_token_index": "<start_of_image>",
            "eoi_token_index": "<end_of_image>",
        },
    ),
    # Late layers read earlier ones' keys; wide heads in half of the layers; per-layer embeddings.
    "gemma4": _gemma4(
        hidden_size_per_layer_input=4, vocab_size_per_layer_input=400, num_kv_shared_layers=2
    ),
    # Keys are values before their norms; experts beside the MLP; images see themselves both ways.
    "gemma4/experts": _gemma4(
        hidden_size_per_layer_input=0,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
        use_bidirectional_attention="vision",
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=24,
    ),
    "paligemma": Tiny(
        config={
            "vision_config": SIGLIP | {"projection_dim": 32},
            "text_config": _text("gemma", head_dim=8, num_key_value_heads=1),
            "projection_dim": 32,
        },
        pixels=("SiglipImageProcessorPil", _square(32) | {"image_seq_length": 16}),
        bos=False,
    ),
    # PaliGemma 2: soft caps on scores and logits, sliding windows, norms on both sides.
    "paligemma/gemma2": Tiny(
        config={
            "vision_config": SIGLIP | {"projection_dim": 32},
            "text_config": _text("gemma2", head_dim=8, query_pre_attn_scalar=8, sliding_window=8),
            "projection_dim": 32,
        },
        pixels=("SiglipImageProcessorPil", _square(32) | {"image_seq_length": 16}),
        bos=False,
    ),
    "idefics3": _idefics("idefics3_vision"),
    "smolvlm": _idefics(
        "smolvlm_vision",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    ),
    "mistral3": Tiny(
        config={
            "vision_config": _tower("pixtral", image_size=64, patch_size=4, num_attention_heads=2)
            | {"head_dim": 12},
            "text_config": _text("mistral", head_dim=8),
            "spatial_merge_size": 2,
        },
        pixels=("PixtralImageProcessorPil", {"size": {"longest_edge": 48}, "patch_size": 4}),
        image="[IMG]",
        processor={"patch_size": 4, "spatial_merge_size": 2},
        plain=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        ids={"image_token_id": "[IMG]"},
    ),
    "internvl": Tiny(
        config={
            "vision_config": _tower("internvl_vision", image_size=[32, 32], patch_size=[8, 8])
            | {"use_qk_norm": True},
            "text_config": _text("qwen2"),
        },
        pixels=(
            "GotOcr2ImageProcessorPil",
            _square(32) | {"crop_to_patches": True, "max_patches": 4},
        ),
        image="<IMG_CONTEXT>",
        processor={"image_seq_length": 4},
        tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        ids={"image_token_id": "<IMG_CONTEXT>"},
    ),
    "ovis2": Tiny(
        config={
            "vision_config": _tower("ovis2_vision", image_size=32, patch_size=8, vocab_size=45)
            | {"hidden_stride": 2, "qkv_bias": True},
            "text_config": _text("qwen2"),
            "hidden_size": 32,
            "vocab_size": OF_TOKENIZER,
        },
        pixels=(
            "Ovis2ImageProcessorPil",
            _square(32) | {"crop_to_patches": True, "max_patches": 6},
        ),
        processor={"image_seq_length": 4},
        plain=("<IMG_ATOM>", *OVIS_INDICATORS),
        ids={"image_token_id": "<IMG_ATOM>", "visual_indicator_token_ids": OVIS_INDICATORS},
    ),
    "aya_vision": Tiny(
        config={
            "vision_config": SIGLIP,
            "text_config": COHERE2,
        },
        pixels=(
            "GotOcr2ImageProcessorPil",
            _square(32) | {"crop_to_patches": True, "max_patches": 4},
        ),
        processor={"patch_size": 8, "img_size": 32, "downsample_factor": 2},
        plain=(
            "<|START_OF_IMG|>",
            "<|END_OF_IMG|>",
            "<|IMG_PATCH|>",
            "<|IMG_LINE_BREAK|>",
            "TILE_GLOBAL",
            *(f"TILE_{number}" for number in range(1, 5)),
        ),
        ids={"image_token_id": "<|IMG_PATCH|>"},
        seed=1,
    ),
    "deepseek_vl": Tiny(
        config={"vision_config": SIGLIP, "text_config": _text("llama")},
        pixels=("DeepseekVLImageProcessorPil", _square(32) | {"min_size": 8}),
        processor={"num_image_tokens": 16},
    ),
    "janus": Tiny(
        config={
            "vision_config": _tower("janus_vision_model", image_size=32, patch_size=8)
            | {"projection_dim": 32},
            "text_config": _text("llama"),
            "vq_config": {
                "model_type": "janus_vqgan",
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "latent_channels": 32,
                "num_embeddings": 16,
                "projection_dim": 32,
                "image_token_embed_dim": 32,
            },
        },
        pixels=("JanusImageProcessorPil", _square(32) | {"min_size": 8}),
        processor={"num_image_tokens": 16},
        tokens={"boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"},
    ),
    # Dense layers and experts, with RoPE and without. transformers' image processor needs
    # torchvision: ours stands in.
    "llama4": Tiny(
        config={
            "vision_config": _tower("llama4_vision_model", hidden_size=32, num_attention_heads=2)
            | {"image_size": 32, "patch_size": 8, "vision_output_dim": 20}
            | {"intermediate_size": 128, "projector_input_dim": 20, "projector_output_dim": 20},
            "text_config": _text(
                "llama4_text",
                num_hidden_layers=4,
                head_dim=8,
                intermediate_size_mlp=40,
                moe_layers=[1, 3],
                no_rope_layers=[1, 1, 0, 0],
                num_local_experts=4,
                attention_chunk_size=16,
            ),
        },
        pixels=("Llama4Pixels", {"side": 32, "max_patches": 6}),
        image="<|image|>",
        processor={"patch_size": 8},
        plain=(
            "<|image|>",
            "<|image_start|>",
            "<|image_end|>",
            "<|patch|>",
            "<|tile_x_separator|>",
            "<|tile_y_separator|>",
        ),
        ids={"image_token_id": "<|patch|>"},
    ),
    # transformers' image processor needs torchvision: ours stands in.
    "lfm2_vl": Tiny(
        config={
            "vision_config": _tower("siglip2_vision_model", num_patches=64, patch_size=4)
            | {"vision_use_head": False},
            "text_config": _text(
                "lfm2",
                num_hidden_layers=4,
                layer_types=["full_attention", "full_attention", "conv", "full_attention"],
            ),
            "projector_hidden_size": 40,
        },
        pixels=(
            "Lfm2Pixels",
            {
                "encoder_patch_size": 4,
                "tile_size": 32,
                "min_image_tokens": 4,
                "max_image_tokens": 16,
                "max_tiles": 6,
            },
        ),
        plain=(
            "<|image_start|>",
            "<|image_end|>",
            "<|img_thumbnail|>",
            *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 7) for column in range(1, 7)),
        ),
    ),
    # transformers' image processor needs torchvision: ours stands in.
    "cohere2_vision": Tiny(
        config={"vision_config": SIGLIP, "text_config": COHERE2, "alignment_intermediate_size": 40},
        pixels=(
            "Cohere2Pixels",
            _square(32) | {"crop_to_patches": True, "max_patches": 6, "patch_size": 2},
        ),
        tokens={
            "image_token": "<image>",
            "boi_token": "<|START_OF_IMG|>",
            "eoi_token": "<|END_OF_IMG|>",
            "img_line_break_token": "<|IMG_LINE_BREAK|>",
        },
    ),
    # The paper's +Normalize and +Multilayer.
    "vlmlens_llava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": _text("llama", num_key_value_heads=4),
            "vision_feature_layer": [1, 3],
            "feature_norm": True,
            "normalize": {"kind": "paper", "mean": 0.83, "most": 1.22, "eps": 1e-6},
        },
        pixels=PADDED_PIXELS,
        processor=WITH_CLS,
    ),
    # Pooled 2 x 2, as seen through coordinates, with registers after each image.
    "vlmlens_llava/tokens": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": _text("llama"),
            "normalize": {"kind": "match_mean", "mean": 0.9},
            "coordinates": True,
            "pool": 2,
            "registers": 3,
        },
        pixels=PADDED_PIXELS,
        processor=WITH_CLS | {"patch_size": 32, "num_additional_image_tokens": 7},
    ),
    "vlmlens_llava_grid": Tiny(
        config={"vision_config": CLIP, "text_config": _text("llama", num_key_value_heads=4)},
        pixels=PADDED_PIXELS,
        processor=WITH_CLS,
    ),
}
