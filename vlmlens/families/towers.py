"""What the blocks of vision towers offer; ``blocks.py`` says which model has which.

Towers that see one picture at a time have the axes ``image pos``. Towers that pack the patches of
all images into one row have ``patch``.
"""

from vlmlens.families.around import norm_before, readers
from vlmlens.families.family import Block, Tap
from vlmlens.families.language_models import UNDONE

#: Where most towers, and the others, keep their three projections.
SELF_ATTN = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
ATTENTION = ("attention.q_proj", "attention.k_proj", "attention.v_proj")

# ---------------------------------------------------------------------- towers, picture by picture

# CLIP and SigLIP: absolute positions, so queries and keys are never rotated.
CLIP_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    **norm_before("attention", "layer_norm1"),
    **readers("layer_norm1", *SELF_ATTN),
    "attn.hook_q": Tap("self_attn.q_proj", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("self_attn.k_proj", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("self_attn", "value", "image kv_head pos d_head"),
    "attn.hook_mask": Tap("self_attn", "mask", "image 1 query key"),
    "attn.hook_attn_scores": Tap("self_attn", "scores"),
    "attn.hook_pattern": Tap("self_attn", "pattern"),
    "attn.hook_z": Tap("self_attn.out_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.out_proj", "heads"),
    "hook_attn_out": Tap("self_attn.out_proj", "out"),
    "hook_resid_mid": Tap("layer_norm2", "stream"),
    **norm_before("MLP", "layer_norm2"),
    "mlp.hook_in": Tap("mlp", "in"),
    "mlp.hook_pre": Tap("mlp.fc1", "out"),
    "mlp.hook_post": Tap("mlp.fc2", "in"),
    "hook_mlp_out": Tap("mlp", "out"),
    "hook_resid_post": Tap("", "out"),
}

JANUS_VISION_BLOCK: Block = CLIP_BLOCK | {
    "attn.hook_z": Tap("self_attn.projection_layer", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.projection_layer", "heads"),
    "hook_attn_out": Tap("self_attn.projection_layer", "out"),
}
MOLMO2_VISION_BLOCK: Block = CLIP_BLOCK | {
    "attn.hook_z": Tap("self_attn.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj", "heads"),
    "hook_attn_out": Tap("self_attn.o_proj", "out"),
}
COMPLEX = "the angles are complex numbers, the same for every picture"
LLAMA4_VISION_BLOCK: Block = CLIP_BLOCK | {
    **norm_before("attention", "input_layernorm"),
    **readers("input_layernorm", *SELF_ATTN),
    "attn.hook_cos": COMPLEX,
    "attn.hook_sin": COMPLEX,
    "attn.hook_rot_q": Tap("self_attn", "query", "image head pos d_head"),
    "attn.hook_rot_k": Tap("self_attn", "key", "image kv_head pos d_head"),
    "attn.hook_z": Tap("self_attn.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj", "heads"),
    "hook_attn_out": Tap("self_attn.o_proj", "out"),
    "hook_resid_mid": Tap("post_attention_layernorm", "stream"),
    **norm_before("MLP", "post_attention_layernorm"),
}
OVIS2_VISION_BLOCK: Block = CLIP_BLOCK | {
    **norm_before("attention", "rms_norm1"),
    **readers("rms_norm1", *ATTENTION),
    "attn.hook_q": Tap("attention.q_proj", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("attention.k_proj", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("attention", "value", "image kv_head pos d_head"),
    "attn.hook_mask": Tap("attention", "mask", "image 1 query key"),
    "attn.hook_attn_scores": Tap("attention", "scores"),
    "attn.hook_pattern": Tap("attention", "pattern"),
    "attn.hook_z": Tap("attention.out_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("attention.out_proj", "heads"),
    "hook_attn_out": Tap("attention.out_proj", "out"),
    "hook_resid_mid": Tap("rms_norm2", "stream"),
    **norm_before("MLP", "rms_norm2"),
    "mlp.hook_in": Tap("ffn", "in"),
    "mlp.hook_pre": Tap("ffn.gate_proj", "out"),
    "mlp.hook_pre_linear": Tap("ffn.up_proj", "out"),
    "mlp.hook_post": Tap("ffn.down_proj", "in"),
    "hook_mlp_out": Tap("ffn", "out"),
}

GEMMA4_VISION_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    **norm_before("attention", "input_layernorm"),
    **readers("input_layernorm", *SELF_ATTN),
    "ln1.hook_scale": UNDONE,
    "attn.hook_q": Tap("self_attn.q_norm", "out"),
    "attn.hook_k": Tap("self_attn.k_norm", "out"),
    "attn.hook_cos": Tap("self_attn", "cos", axes="image pos trig"),
    "attn.hook_sin": Tap("self_attn", "sin", axes="image pos trig"),
    "attn.hook_rot_q": Tap("self_attn", "query", "image head pos d_head"),
    "attn.hook_rot_k": Tap("self_attn", "key", "image kv_head pos d_head"),
    "attn.hook_v": Tap("self_attn", "value", "image kv_head pos d_head"),
    "attn.hook_mask": Tap("self_attn", "mask", "image 1 query key"),
    "attn.hook_attn_scores": Tap("self_attn", "scores"),
    "attn.hook_pattern": Tap("self_attn", "pattern"),
    "attn.hook_z": Tap("self_attn.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj.linear", "heads"),  # o_proj may clip its sum
    "hook_attn_out": Tap("post_attention_layernorm", "out"),
    "hook_resid_mid": Tap("pre_feedforward_layernorm", "stream"),
    **norm_before("MLP", "pre_feedforward_layernorm"),
    "mlp.hook_in": Tap("mlp", "in"),
    "mlp.hook_pre": Tap("mlp.gate_proj", "out"),
    "mlp.hook_pre_linear": Tap("mlp.up_proj", "out"),
    "mlp.hook_post": Tap("mlp.down_proj", "in"),
    "hook_mlp_out": Tap("post_feedforward_layernorm", "out"),
    "hook_resid_post": Tap("", "out"),
}

SCALED = "what is written is scaled by a bare parameter, so no module's output is what is added"
INTERNVL_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    **norm_before("attention", "layernorm_before"),
    **readers("layernorm_before", *ATTENTION),
    "attn.hook_q": Tap("attention.q_norm", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("attention.k_norm", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("attention", "value", "image kv_head pos d_head"),
    "attn.hook_mask": Tap("attention", "mask", "image 1 query key"),
    "attn.hook_attn_scores": Tap("attention", "scores"),
    "attn.hook_pattern": Tap("attention", "pattern"),
    "attn.hook_z": Tap("attention.projection_layer", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("attention.projection_layer", "heads"),
    "hook_attn_out": SCALED,
    "hook_resid_mid": Tap("layernorm_after", "stream"),
    **norm_before("MLP", "layernorm_after"),
    "mlp.hook_in": Tap("mlp", "in"),
    "mlp.hook_pre": Tap("mlp.fc1", "out"),
    "mlp.hook_post": Tap("mlp.fc2", "in"),
    "hook_mlp_out": SCALED,
    "hook_resid_post": Tap("", "out"),
}

# DINOv2 scales what a sublayer writes in a module of its own, whose output is what is added.
DINOV2_BLOCK: Block = CLIP_BLOCK | {
    **norm_before("attention", "norm1"),
    **readers("norm1", *ATTENTION),
    "attn.hook_q": Tap("attention.q_proj", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("attention.k_proj", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("attention", "value", "image kv_head pos d_head"),
    "attn.hook_mask": Tap("attention", "mask", "image 1 query key"),
    "attn.hook_attn_scores": Tap("attention", "scores"),
    "attn.hook_pattern": Tap("attention", "pattern"),
    "attn.hook_z": Tap("attention.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("attention.o_proj", "heads"),
    "hook_attn_out": Tap("layer_scale1", "out"),
    "hook_resid_mid": Tap("norm2", "stream"),
    **norm_before("MLP", "norm2"),
    "hook_mlp_out": Tap("layer_scale2", "out"),
}

# ---------------------------------------------------------------------- towers, all images packed

STREAM, HEADS, KV_HEADS = "patch d_model", "patch head d_head", "patch kv_head d_head"
WINDOWS = "attention is computed image by image or window by window: a whole pattern never exists"

# Qwen's towers: axial RoPE, queries, keys and values from one projection.
QWEN_VISION_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in", axes=STREAM),
    **norm_before("attention", "norm1", "patch"),
    **readers("norm1", "attn.qkv", "attn.qkv", "attn.qkv", "patch"),
    "attn.hook_q": Tap("attn.qkv", "out", "patch (head d_head)", HEADS, part=(0, 3)),
    "attn.hook_k": Tap("attn.qkv", "out", "patch (kv_head d_head)", KV_HEADS, part=(1, 3)),
    "attn.hook_cos": Tap("attn", "cos", axes="patch trig"),
    "attn.hook_sin": Tap("attn", "sin", axes="patch trig"),
    "attn.hook_rot_q": Tap("attn", "query", "1 head patch d_head", HEADS, pieces=True),
    "attn.hook_rot_k": Tap("attn", "key", "1 kv_head patch d_head", KV_HEADS, pieces=True),
    "attn.hook_v": Tap("attn", "value", "1 kv_head patch d_head", KV_HEADS, pieces=True),
    "attn.hook_mask": WINDOWS,
    "attn.hook_attn_scores": WINDOWS,
    "attn.hook_pattern": WINDOWS,
    "attn.hook_z": Tap("attn.proj", "in", "patch (head d_head)", HEADS),
    "attn.hook_result": Tap("attn.proj", "heads", axes="patch head d_model"),
    "hook_attn_out": Tap("attn.proj", "out", axes=STREAM),
    "hook_resid_mid": Tap("norm2", "stream", axes=STREAM),
    **norm_before("MLP", "norm2", "patch"),
    "mlp.hook_in": Tap("mlp", "in", axes=STREAM),
    "mlp.hook_pre": Tap("mlp.fc1", "out", axes="patch d_mlp"),
    "mlp.hook_post": Tap("mlp.fc2", "in", axes="patch d_mlp"),
    "hook_mlp_out": Tap("mlp", "out", axes=STREAM),
    "hook_resid_post": Tap("", "out", axes=STREAM),
}
QWEN3_VISION_BLOCK: Block = QWEN_VISION_BLOCK | {
    "mlp.hook_pre": Tap("mlp.linear_fc1", "out", axes="patch d_mlp"),
    "mlp.hook_post": Tap("mlp.linear_fc2", "in", axes="patch d_mlp"),
}
GATED_VISION_BLOCK: Block = QWEN_VISION_BLOCK | {
    "mlp.hook_pre": Tap("mlp.gate_proj", "out", axes="patch d_mlp"),
    "mlp.hook_pre_linear": Tap("mlp.up_proj", "out", axes="patch d_mlp"),
    "mlp.hook_post": Tap("mlp.down_proj", "in", axes="patch d_mlp"),
}

# Qwen2.5-Omni's has a projection each for queries, keys and values.
SPLIT_VISION_BLOCK: Block = GATED_VISION_BLOCK | {
    **readers("norm1", "attn.q", "attn.k", "attn.v", "patch"),
    "attn.hook_q": Tap("attn.q", "out", "patch (head d_head)", HEADS),
    "attn.hook_k": Tap("attn.k", "out", "patch (kv_head d_head)", KV_HEADS),
}

# GLM-OCR's norms queries and keys before RoPE.
GLM_OCR_VISION_BLOCK: Block = GATED_VISION_BLOCK | {
    "attn.hook_q": Tap("attn.q_norm", "out", axes=HEADS),
    "attn.hook_k": Tap("attn.k_norm", "out", axes=KV_HEADS),
}

# SigLIP's modules, with axial RoPE and all images in one row.
PACKED_CLIP_BLOCK: Block = QWEN_VISION_BLOCK | {
    **norm_before("attention", "layer_norm1", "patch"),
    **readers("layer_norm1", *SELF_ATTN, "patch"),
    "attn.hook_q": Tap("self_attn.q_proj", "out", "patch (head d_head)", HEADS),
    "attn.hook_k": Tap("self_attn.k_proj", "out", "patch (kv_head d_head)", KV_HEADS),
    "attn.hook_cos": Tap("self_attn", "cos", axes="patch trig"),
    "attn.hook_sin": Tap("self_attn", "sin", axes="patch trig"),
    "attn.hook_rot_q": Tap("self_attn", "query", "1 head patch d_head", HEADS, pieces=True),
    "attn.hook_rot_k": Tap("self_attn", "key", "1 kv_head patch d_head", KV_HEADS, pieces=True),
    "attn.hook_v": Tap("self_attn", "value", "1 kv_head patch d_head", KV_HEADS, pieces=True),
    "attn.hook_z": Tap("self_attn.out_proj", "in", "patch (head d_head)", HEADS),
    "attn.hook_result": Tap("self_attn.out_proj", "heads", axes="patch head d_model"),
    "hook_attn_out": Tap("self_attn.out_proj", "out", axes=STREAM),
    "hook_resid_mid": Tap("layer_norm2", "stream", axes=STREAM),
    **norm_before("MLP", "layer_norm2", "patch"),
}

#: Steps of attention that rotates.
ROTATING = ("attn.hook_cos", "attn.hook_sin", "attn.hook_rot_q", "attn.hook_rot_k")
PACKED_UNROTATED_BLOCK: Block = {
    name: tap for name, tap in PACKED_CLIP_BLOCK.items() if name not in ROTATING
}

PIXTRAL_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in", "1 patch d_model", STREAM),
    **norm_before("attention", "attention_norm", "1 patch"),
    **readers("attention_norm", *ATTENTION, "1 patch"),
    "attn.hook_q": Tap("attention.q_proj", "out", "1 patch (head d_head)", HEADS),
    "attn.hook_k": Tap("attention.k_proj", "out", "1 patch (kv_head d_head)", KV_HEADS),
    "attn.hook_cos": Tap("attention", "cos", axes="patch trig"),
    "attn.hook_sin": Tap("attention", "sin", axes="patch trig"),
    "attn.hook_rot_q": Tap("attention", "query", "1 head patch d_head", HEADS),
    "attn.hook_rot_k": Tap("attention", "key", "1 kv_head patch d_head", KV_HEADS),
    "attn.hook_v": Tap("attention", "value", "1 kv_head patch d_head", KV_HEADS),
    "attn.hook_mask": Tap("attention", "mask", "1 1 query key", "query key"),
    "attn.hook_attn_scores": Tap("attention", "scores", "1 head query key", "head query key"),
    "attn.hook_pattern": Tap("attention", "pattern", "1 head query key", "head query key"),
    "attn.hook_z": Tap("attention.o_proj", "in", "1 patch (head d_head)", HEADS),
    "attn.hook_result": Tap(
        "attention.o_proj", "heads", "1 patch head d_model", "patch head d_model"
    ),
    "hook_attn_out": Tap("attention.o_proj", "out", "1 patch d_model", STREAM),
    "hook_resid_mid": Tap("ffn_norm", "stream", "1 patch d_model", STREAM),
    **norm_before("MLP", "ffn_norm", "1 patch"),
    "mlp.hook_in": Tap("feed_forward", "in", "1 patch d_model", STREAM),
    "mlp.hook_pre": Tap("feed_forward.gate_proj", "out", "1 patch d_mlp", "patch d_mlp"),
    "mlp.hook_pre_linear": Tap("feed_forward.up_proj", "out", "1 patch d_mlp", "patch d_mlp"),
    "mlp.hook_post": Tap("feed_forward.down_proj", "in", "1 patch d_mlp", "patch d_mlp"),
    "hook_mlp_out": Tap("feed_forward", "out", "1 patch d_model", STREAM),
    "hook_resid_post": Tap("", "out", "1 patch d_model", STREAM),
}
