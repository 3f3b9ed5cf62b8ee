"""The transformer stacks that families share, by the ``model_type`` of the sub-configuration."""

from vlmlens.families.family import Block, Tap

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

#: model_type of a sub-configuration -> what its blocks offer.
BLOCKS: dict[str, Block] = {
    "llama": LLAMA_BLOCK,
    "qwen2": LLAMA_BLOCK,
    "clip_vision_model": CLIP_BLOCK,
    "siglip_vision_model": CLIP_BLOCK,
}
