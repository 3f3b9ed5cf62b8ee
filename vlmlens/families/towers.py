"""The transformer stacks that families share, by the ``model_type`` of the sub-configuration.

Towers that see one picture at a time have the axes ``image pos``. Towers that pack the patches of
all images into one row have ``patch``.
"""

from collections.abc import Mapping

from vlmlens.families.family import Block, Tap

# ---------------------------------------------------------------------- language models

LLAMA_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    "attn.hook_q": Tap("self_attn.q_proj", "out", "batch pos (head d_head)"),
    "attn.hook_k": Tap("self_attn.k_proj", "out", "batch pos (kv_head d_head)"),
    "attn.hook_cos": Tap("self_attn", "cos"),
    "attn.hook_sin": Tap("self_attn", "sin"),
    "attn.hook_rot_q": Tap("self_attn", "query", "batch head pos d_head"),
    "attn.hook_rot_k": Tap("self_attn", "key", "batch kv_head pos d_head"),
    "attn.hook_v": Tap("self_attn", "value", "batch kv_head pos d_head"),
    "attn.hook_attn_scores": Tap("self_attn", "scores"),
    "attn.hook_pattern": Tap("self_attn", "pattern"),
    "attn.hook_z": Tap("self_attn.o_proj", "in", "batch pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj", "heads"),
    "hook_attn_out": Tap("self_attn.o_proj", "out"),
    "hook_resid_mid": Tap("post_attention_layernorm", "stream"),
    "mlp.hook_pre": Tap("mlp.gate_proj", "out"),
    "mlp.hook_post": Tap("mlp.down_proj", "in"),
    "hook_mlp_out": Tap("mlp", "out"),
    "hook_resid_post": Tap("", "out"),
}

# Queries and keys are normed before they turn.
NORMED: Block = {
    "attn.hook_q": Tap("self_attn.q_norm", "out"),
    "attn.hook_k": Tap("self_attn.k_norm", "out"),
}
QWEN3_BLOCK: Block = LLAMA_BLOCK | NORMED

# Every token has several small MLPs of its own.
EXPERTS: Block = {
    "mlp.hook_pre": "a token goes to some experts only, whose hidden units no module shows",
    "mlp.hook_post": "a token goes to some experts only, whose hidden units no module shows",
}

# Sublayers norm what they write, so the stream gets the norm's output.
GEMMA2_BLOCK: Block = LLAMA_BLOCK | {
    "hook_attn_out": Tap("post_attention_layernorm", "out"),
    "hook_resid_mid": Tap("pre_feedforward_layernorm", "stream"),
    "hook_mlp_out": Tap("post_feedforward_layernorm", "out"),
}
GEMMA3_BLOCK: Block = GEMMA2_BLOCK | {
    "attn.hook_q": Tap("self_attn.q_norm", "out", "batch head pos d_head"),
    "attn.hook_k": Tap("self_attn.k_norm", "out", "batch kv_head pos d_head"),
}
# With experts beside it, the MLP whose hidden units are offered is the one that all tokens share.
GEMMA4_BLOCK: Block = GEMMA2_BLOCK | NORMED
GEMMA4_SHARED: Block = GEMMA4_BLOCK | {
    "attn.hook_k": "this layer makes no keys: it reads those of an earlier one, already turned",
}
RECURRENT = "this layer keeps a running state: it has neither pattern nor positions"
QWEN3_5_LINEAR: Block = {
    name: RECURRENT if name.startswith("attn.") else tap for name, tap in QWEN3_BLOCK.items()
} | {"hook_attn_out": Tap("linear_attn", "out")}
LLAMA4_BLOCK: Block = LLAMA_BLOCK | {
    "mlp.hook_pre": Tap("feed_forward.gate_proj", "out"),
    "mlp.hook_post": Tap("feed_forward.down_proj", "in"),
    "hook_mlp_out": Tap("feed_forward", "out"),
}
UNTURNED: Block = {
    "attn.hook_cos": "this layer sees all positions and turns nothing",
    "attn.hook_sin": "this layer sees all positions and turns nothing",
}
LFM2_BLOCK: Block = LLAMA_BLOCK | {
    "attn.hook_q": Tap("self_attn.q_layernorm", "out"),
    "attn.hook_k": Tap("self_attn.k_layernorm", "out"),
    "attn.hook_z": Tap("self_attn.out_proj", "in", "batch pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.out_proj", "heads"),
    "hook_attn_out": Tap("self_attn.out_proj", "out"),
    "hook_resid_mid": Tap("ffn_norm", "stream"),
    "mlp.hook_pre": Tap("feed_forward.w1", "out"),
    "mlp.hook_post": Tap("feed_forward.w2", "in"),
    "hook_mlp_out": Tap("feed_forward", "out"),
}
CONVOLVES = "this layer convolves over positions: it has no attention"
LFM2_CONV: Block = {name: CONVOLVES if "attn" in name else tap for name, tap in LFM2_BLOCK.items()}
GLM4V_BLOCK: Block = LLAMA_BLOCK | {
    "hook_attn_out": Tap("post_self_attn_layernorm", "out"),
    "hook_mlp_out": Tap("post_mlp_layernorm", "out"),
    "mlp.hook_pre": Tap("mlp.gate_up_proj", "out", part=(0, 2)),
}

COHERE2_BLOCK: Block = LLAMA_BLOCK | {
    "hook_resid_mid": "attention and MLP both read the block's input: there is no stream between",
}

# ---------------------------------------------------------------------- towers, picture by picture

# CLIP and SigLIP: absolute positions, so queries and keys never turn.
CLIP_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    "attn.hook_q": Tap("self_attn.q_proj", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("self_attn.k_proj", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("self_attn", "value", "image kv_head pos d_head"),
    "attn.hook_attn_scores": Tap("self_attn", "scores"),
    "attn.hook_pattern": Tap("self_attn", "pattern"),
    "attn.hook_z": Tap("self_attn.out_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.out_proj", "heads"),
    "hook_attn_out": Tap("self_attn.out_proj", "out"),
    "hook_resid_mid": Tap("layer_norm2", "stream"),
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
COMPLEX = "the angles are complex numbers, the same for every picture"
LLAMA4_VISION_BLOCK: Block = CLIP_BLOCK | {
    "attn.hook_cos": COMPLEX,
    "attn.hook_sin": COMPLEX,
    "attn.hook_rot_q": Tap("self_attn", "query", "image head pos d_head"),
    "attn.hook_rot_k": Tap("self_attn", "key", "image kv_head pos d_head"),
    "attn.hook_z": Tap("self_attn.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj", "heads"),
    "hook_attn_out": Tap("self_attn.o_proj", "out"),
    "hook_resid_mid": Tap("post_attention_layernorm", "stream"),
}
OVIS2_VISION_BLOCK: Block = CLIP_BLOCK | {
    "attn.hook_q": Tap("attention.q_proj", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("attention.k_proj", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("attention", "value", "image kv_head pos d_head"),
    "attn.hook_attn_scores": Tap("attention", "scores"),
    "attn.hook_pattern": Tap("attention", "pattern"),
    "attn.hook_z": Tap("attention.out_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("attention.out_proj", "heads"),
    "hook_attn_out": Tap("attention.out_proj", "out"),
    "hook_resid_mid": Tap("rms_norm2", "stream"),
    "mlp.hook_pre": Tap("ffn.gate_proj", "out"),
    "mlp.hook_post": Tap("ffn.down_proj", "in"),
    "hook_mlp_out": Tap("ffn", "out"),
}

GEMMA4_VISION_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    "attn.hook_q": Tap("self_attn.q_norm", "out"),
    "attn.hook_k": Tap("self_attn.k_norm", "out"),
    "attn.hook_cos": Tap("self_attn", "cos", axes="image pos trig"),
    "attn.hook_sin": Tap("self_attn", "sin", axes="image pos trig"),
    "attn.hook_rot_q": Tap("self_attn", "query", "image head pos d_head"),
    "attn.hook_rot_k": Tap("self_attn", "key", "image kv_head pos d_head"),
    "attn.hook_v": Tap("self_attn", "value", "image kv_head pos d_head"),
    "attn.hook_attn_scores": Tap("self_attn", "scores"),
    "attn.hook_pattern": Tap("self_attn", "pattern"),
    "attn.hook_z": Tap("self_attn.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj.linear", "heads"),  # o_proj may clip its sum
    "hook_attn_out": Tap("post_attention_layernorm", "out"),
    "hook_resid_mid": Tap("pre_feedforward_layernorm", "stream"),
    "mlp.hook_pre": Tap("mlp.gate_proj", "out"),
    "mlp.hook_post": Tap("mlp.down_proj", "in"),
    "hook_mlp_out": Tap("post_feedforward_layernorm", "out"),
    "hook_resid_post": Tap("", "out"),
}

SCALED = "what is written is scaled by a bare parameter, so no module's output is what is added"
INTERNVL_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    "attn.hook_q": Tap("attention.q_norm", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("attention.k_norm", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("attention", "value", "image kv_head pos d_head"),
    "attn.hook_attn_scores": Tap("attention", "scores"),
    "attn.hook_pattern": Tap("attention", "pattern"),
    "attn.hook_z": Tap("attention.projection_layer", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("attention.projection_layer", "heads"),
    "hook_attn_out": SCALED,
    "hook_resid_mid": Tap("layernorm_after", "stream"),
    "mlp.hook_pre": Tap("mlp.fc1", "out"),
    "mlp.hook_post": Tap("mlp.fc2", "in"),
    "hook_mlp_out": SCALED,
    "hook_resid_post": Tap("", "out"),
}

# DINOv2 scales what a sublayer writes in a module of its own, whose output is what is added.
DINOV2_BLOCK: Block = CLIP_BLOCK | {
    "attn.hook_q": Tap("attention.q_proj", "out", "image pos (head d_head)"),
    "attn.hook_k": Tap("attention.k_proj", "out", "image pos (kv_head d_head)"),
    "attn.hook_v": Tap("attention", "value", "image kv_head pos d_head"),
    "attn.hook_attn_scores": Tap("attention", "scores"),
    "attn.hook_pattern": Tap("attention", "pattern"),
    "attn.hook_z": Tap("attention.o_proj", "in", "image pos (head d_head)"),
    "attn.hook_result": Tap("attention.o_proj", "heads"),
    "hook_attn_out": Tap("layer_scale1", "out"),
    "hook_resid_mid": Tap("norm2", "stream"),
    "hook_mlp_out": Tap("layer_scale2", "out"),
}

# ---------------------------------------------------------------------- towers, all images packed

STREAM, HEADS, KV_HEADS = "patch d_model", "patch head d_head", "patch kv_head d_head"
WINDOWS = "attention is computed image by image or window by window: a whole pattern never exists"

# Qwen's towers: axial RoPE, queries, keys and values from one projection.
QWEN_VISION_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in", axes=STREAM),
    "attn.hook_q": Tap("attn.qkv", "out", "patch (head d_head)", HEADS, part=(0, 3)),
    "attn.hook_k": Tap("attn.qkv", "out", "patch (kv_head d_head)", KV_HEADS, part=(1, 3)),
    "attn.hook_cos": Tap("attn", "cos", axes="patch trig"),
    "attn.hook_sin": Tap("attn", "sin", axes="patch trig"),
    "attn.hook_rot_q": Tap("attn", "query", "1 head patch d_head", HEADS, pieces=True),
    "attn.hook_rot_k": Tap("attn", "key", "1 kv_head patch d_head", KV_HEADS, pieces=True),
    "attn.hook_v": Tap("attn", "value", "1 kv_head patch d_head", KV_HEADS, pieces=True),
    "attn.hook_attn_scores": WINDOWS,
    "attn.hook_pattern": WINDOWS,
    "attn.hook_z": Tap("attn.proj", "in", "patch (head d_head)", HEADS),
    "attn.hook_result": Tap("attn.proj", "heads", axes="patch head d_model"),
    "hook_attn_out": Tap("attn.proj", "out", axes=STREAM),
    "hook_resid_mid": Tap("norm2", "stream", axes=STREAM),
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
    "mlp.hook_post": Tap("mlp.down_proj", "in", axes="patch d_mlp"),
}

PIXTRAL_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in", "1 patch d_model", STREAM),
    "attn.hook_q": Tap("attention.q_proj", "out", "1 patch (head d_head)", HEADS),
    "attn.hook_k": Tap("attention.k_proj", "out", "1 patch (kv_head d_head)", KV_HEADS),
    "attn.hook_cos": Tap("attention", "cos", axes="patch trig"),
    "attn.hook_sin": Tap("attention", "sin", axes="patch trig"),
    "attn.hook_rot_q": Tap("attention", "query", "1 head patch d_head", HEADS),
    "attn.hook_rot_k": Tap("attention", "key", "1 kv_head patch d_head", KV_HEADS),
    "attn.hook_v": Tap("attention", "value", "1 kv_head patch d_head", KV_HEADS),
    "attn.hook_attn_scores": Tap("attention", "scores", "1 head query key", "head query key"),
    "attn.hook_pattern": Tap("attention", "pattern", "1 head query key", "head query key"),
    "attn.hook_z": Tap("attention.o_proj", "in", "1 patch (head d_head)", HEADS),
    "attn.hook_result": Tap(
        "attention.o_proj", "heads", "1 patch head d_model", "patch head d_model"
    ),
    "hook_attn_out": Tap("attention.o_proj", "out", "1 patch d_model", STREAM),
    "hook_resid_mid": Tap("ffn_norm", "stream", "1 patch d_model", STREAM),
    "mlp.hook_pre": Tap("feed_forward.gate_proj", "out", "1 patch d_mlp", "patch d_mlp"),
    "mlp.hook_post": Tap("feed_forward.down_proj", "in", "1 patch d_mlp", "patch d_mlp"),
    "hook_mlp_out": Tap("feed_forward", "out", "1 patch d_model", STREAM),
    "hook_resid_post": Tap("", "out", "1 patch d_model", STREAM),
}

#: model_type of a sub-configuration -> what its blocks offer. Layers of one kind that differ are
#: named ``model_type:layer_type``.
BLOCKS: dict[str, Block] = {
    "llama": LLAMA_BLOCK,
    "mistral": LLAMA_BLOCK,
    "qwen2": LLAMA_BLOCK,
    "qwen2_vl_text": LLAMA_BLOCK,
    "qwen2_5_vl_text": LLAMA_BLOCK,
    "qwen3": QWEN3_BLOCK,
    "qwen3_vl_text": QWEN3_BLOCK,
    "qwen3_vl_moe_text": QWEN3_BLOCK,
    "qwen3_vl_moe_text:experts": QWEN3_BLOCK | EXPERTS,
    "qwen3_5_text": QWEN3_BLOCK,
    "qwen3_5_text:linear_attention": QWEN3_5_LINEAR,
    "gemma": LLAMA_BLOCK,
    "gemma2": GEMMA2_BLOCK,
    "gemma3_text": GEMMA3_BLOCK,
    "gemma4_text": GEMMA4_BLOCK,
    "gemma4_text:shared": GEMMA4_SHARED,
    "glm4v_text": GLM4V_BLOCK,
    "llama4_text": LLAMA4_BLOCK,
    "llama4_text:turned experts": LLAMA4_BLOCK | EXPERTS,
    "llama4_text:unturned": LLAMA4_BLOCK | UNTURNED,
    "llama4_text:unturned experts": LLAMA4_BLOCK | UNTURNED | EXPERTS,
    "lfm2": LFM2_BLOCK,
    "lfm2:conv": LFM2_CONV,
    "cohere2": COHERE2_BLOCK,
    "cohere2:full_attention": COHERE2_BLOCK | UNTURNED,
    "clip_vision_model": CLIP_BLOCK,
    "siglip_vision_model": CLIP_BLOCK,
    "siglip2_vision_model": CLIP_BLOCK,
    "idefics3_vision": CLIP_BLOCK,
    "smolvlm_vision": CLIP_BLOCK,
    "janus_vision_model": JANUS_VISION_BLOCK,
    "llama4_vision_model": LLAMA4_VISION_BLOCK,
    "gemma4_vision": GEMMA4_VISION_BLOCK,
    "dinov2": DINOV2_BLOCK,
    "internvl_vision": INTERNVL_BLOCK,
    "ovis2_vision": OVIS2_VISION_BLOCK,
    "qwen2_vl_vision": QWEN_VISION_BLOCK,
    "qwen2_5_vl_vision": GATED_VISION_BLOCK,
    "glm4v_vision": GATED_VISION_BLOCK,
    "qwen3_vl_vision": QWEN3_VISION_BLOCK,
    "qwen3_vl_moe_vision": QWEN3_VISION_BLOCK,
    "qwen3_5_vision": QWEN3_VISION_BLOCK,
    "pixtral": PIXTRAL_BLOCK,
}


def block_table(blocks: Mapping[str, Block], model_type: str, layer_type: str = "") -> Block | None:
    """What blocks of one kind offer, by the family's own table and then by the shared one."""
    for table in (blocks, BLOCKS):
        for name in (f"{model_type}:{layer_type}", model_type):
            if name in table:
                return table[name]
    return None
