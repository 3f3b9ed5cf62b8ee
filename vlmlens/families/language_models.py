"""What the blocks of language models offer; ``blocks.py`` says which model has which."""

from vlmlens.families.around import norm_before, readers
from vlmlens.families.family import Block, Tap

PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
LLAMA_BLOCK: Block = {
    "hook_resid_pre": Tap("", "in"),
    **norm_before("attention", "input_layernorm"),
    **readers("input_layernorm", *PROJECTIONS),
    "attn.hook_q": Tap("self_attn.q_proj", "out", "batch pos (head d_head)"),
    "attn.hook_k": Tap("self_attn.k_proj", "out", "batch pos (kv_head d_head)"),
    "attn.hook_cos": Tap("self_attn", "cos"),
    "attn.hook_sin": Tap("self_attn", "sin"),
    "attn.hook_rot_q": Tap("self_attn", "query", "batch head pos d_head"),
    "attn.hook_rot_k": Tap("self_attn", "key", "batch kv_head pos d_head"),
    "attn.hook_v": Tap("self_attn", "value", "batch kv_head pos d_head"),
    "attn.hook_mask": Tap("self_attn", "mask", "batch 1 query key"),
    "attn.hook_attn_scores": Tap("self_attn", "scores"),
    "attn.hook_pattern": Tap("self_attn", "pattern"),
    "attn.hook_z": Tap("self_attn.o_proj", "in", "batch pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.o_proj", "heads"),
    "hook_attn_out": Tap("self_attn.o_proj", "out"),
    "hook_resid_mid": Tap("post_attention_layernorm", "stream"),
    **norm_before("MLP", "post_attention_layernorm"),
    "mlp.hook_in": Tap("mlp", "in"),
    "mlp.hook_pre": Tap("mlp.gate_proj", "out"),
    "mlp.hook_pre_linear": Tap("mlp.up_proj", "out"),
    "mlp.hook_post": Tap("mlp.down_proj", "in"),
    "hook_mlp_out": Tap("mlp", "out"),
    "hook_resid_post": Tap("", "out"),
}

# Queries and keys are normed before RoPE.
NORMED: Block = {
    "attn.hook_q": Tap("self_attn.q_norm", "out"),
    "attn.hook_k": Tap("self_attn.k_norm", "out"),
}
QWEN3_BLOCK: Block = LLAMA_BLOCK | NORMED

# Every token has several small MLPs of its own.
NO_UNITS = "a token goes to some experts only, whose hidden units no module shows"
EXPERTS: Block = dict.fromkeys(("mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"), NO_UNITS)
LLAMA_EXPERTS: Block = LLAMA_BLOCK | EXPERTS
QWEN3_EXPERTS: Block = QWEN3_BLOCK | EXPERTS

# Sublayers norm what they write, so the stream gets the norm's output.
GEMMA2_BLOCK: Block = LLAMA_BLOCK | {
    "hook_attn_out": Tap("post_attention_layernorm", "out"),
    "hook_resid_mid": Tap("pre_feedforward_layernorm", "stream"),
    **norm_before("MLP", "pre_feedforward_layernorm"),
    "hook_mlp_out": Tap("post_feedforward_layernorm", "out"),
}
# Normed when heads are apart already.
NORMED_BY_HEAD: Block = {
    "attn.hook_q": Tap("self_attn.q_norm", "out", "batch head pos d_head"),
    "attn.hook_k": Tap("self_attn.k_norm", "out", "batch kv_head pos d_head"),
}
GEMMA3_BLOCK: Block = GEMMA2_BLOCK | NORMED_BY_HEAD
# With experts beside it, the MLP whose hidden units are offered is the one that all tokens share.
UNDONE = "queries, keys and values are all normed after it, which undoes what it divides by"
GEMMA4_BLOCK: Block = GEMMA2_BLOCK | NORMED | {"ln1.hook_scale": UNDONE}
GEMMA4_ONE_PROJECTION: Block = GEMMA4_BLOCK | {
    "hook_v_input": "values are what keys are, before their norm: hook_k_input is read by both"
}
SHARED = "this layer makes no keys or values: it reads those of an earlier one"
GEMMA4_SHARED: Block = GEMMA4_BLOCK | dict.fromkeys(
    ("attn.hook_k", "hook_k_input", "hook_v_input"), SHARED
)
#: What each head reads; where there are no heads, there is nothing.
READERS = ("hook_q_input", "hook_k_input", "hook_v_input")
RECURRENT = "this layer keeps a running state: it has neither pattern nor positions"
QWEN3_5_LINEAR: Block = {
    name: RECURRENT if name.startswith("attn.") or name in READERS else tap
    for name, tap in QWEN3_BLOCK.items()
} | {"hook_attn_out": Tap("linear_attn", "out")}
QWEN3_5_LINEAR_EXPERTS: Block = QWEN3_5_LINEAR | EXPERTS
LLAMA4_BLOCK: Block = LLAMA_BLOCK | {
    "mlp.hook_in": Tap("feed_forward", "in"),
    "mlp.hook_pre": Tap("feed_forward.gate_proj", "out"),
    "mlp.hook_pre_linear": Tap("feed_forward.up_proj", "out"),
    "mlp.hook_post": Tap("feed_forward.down_proj", "in"),
    "hook_mlp_out": Tap("feed_forward", "out"),
}
UNROTATED: Block = {
    "attn.hook_cos": "this layer sees all positions and rotates nothing",
    "attn.hook_sin": "this layer sees all positions and rotates nothing",
}
LLAMA4_EXPERTS: Block = LLAMA4_BLOCK | EXPERTS
LLAMA4_UNROTATED: Block = LLAMA4_BLOCK | UNROTATED
LLAMA4_UNROTATED_EXPERTS: Block = LLAMA4_UNROTATED | EXPERTS
LFM2_BLOCK: Block = LLAMA_BLOCK | {
    **norm_before("attention", "operator_norm"),
    **readers("operator_norm", *PROJECTIONS),
    "attn.hook_q": Tap("self_attn.q_layernorm", "out"),
    "attn.hook_k": Tap("self_attn.k_layernorm", "out"),
    "attn.hook_z": Tap("self_attn.out_proj", "in", "batch pos (head d_head)"),
    "attn.hook_result": Tap("self_attn.out_proj", "heads"),
    "hook_attn_out": Tap("self_attn.out_proj", "out"),
    "hook_resid_mid": Tap("ffn_norm", "stream"),
    **norm_before("MLP", "ffn_norm"),
    "mlp.hook_in": Tap("feed_forward", "in"),
    "mlp.hook_pre": Tap("feed_forward.w1", "out"),
    "mlp.hook_pre_linear": Tap("feed_forward.w3", "out"),
    "mlp.hook_post": Tap("feed_forward.w2", "in"),
    "hook_mlp_out": Tap("feed_forward", "out"),
}
CONVOLVES = "this layer convolves over positions: it has no attention"
LFM2_CONV: Block = {
    name: CONVOLVES if "attn" in name or name in READERS else tap
    for name, tap in LFM2_BLOCK.items()
}
GLM4V_BLOCK: Block = LLAMA_BLOCK | {
    "hook_attn_out": Tap("post_self_attn_layernorm", "out"),
    "hook_mlp_out": Tap("post_mlp_layernorm", "out"),
    "mlp.hook_pre": Tap("mlp.gate_up_proj", "out", part=(0, 2)),
    "mlp.hook_pre_linear": Tap("mlp.gate_up_proj", "out", part=(1, 2)),
}

# EXAONE 4 norms what its sublayers write, and nothing that they read.
AS_IT_IS = "what attention and the MLP read is the stream as it is: there is no norm before them"
EXAONE4_BLOCK: Block = (
    LLAMA_BLOCK
    | NORMED_BY_HEAD
    | dict.fromkeys(
        ("ln1.hook_scale", "ln1.hook_normalized", "ln2.hook_scale", "ln2.hook_normalized"), AS_IT_IS
    )
    | readers("", *PROJECTIONS)
    | {
        "hook_attn_in": Tap("self_attn", "in"),
        "hook_attn_out": Tap("post_attention_layernorm", "out"),
        "hook_resid_mid": Tap("mlp", "stream"),
        "hook_mlp_in": Tap("mlp", "in"),
        "hook_mlp_out": Tap("post_feedforward_layernorm", "out"),
    }
)
EXAONE4_UNROTATED: Block = EXAONE4_BLOCK | UNROTATED

# Molmo 2's larger kind does so too, and norms all heads' queries and keys together.
MOLMO2_AFTER: Block = EXAONE4_BLOCK | {
    "attn.hook_q": Tap("self_attn.q_norm", "out", "batch pos (head d_head)"),
    "attn.hook_k": Tap("self_attn.k_norm", "out", "batch pos (kv_head d_head)"),
    "hook_attn_out": Tap("input_layernorm", "out"),
    "hook_mlp_out": Tap("post_attention_layernorm", "out"),
}

# HyperCLOVA X may norm what is written.
HYPERCLOVAX_NORMED: Block = LLAMA_BLOCK | {
    "hook_attn_out": Tap("post_norm1", "out"),
    "hook_mlp_out": Tap("post_norm2", "out"),
}
UNGATED_BLOCK: Block = {
    name: tap for name, tap in LLAMA_BLOCK.items() if name != "mlp.hook_pre_linear"
} | {"mlp.hook_pre": Tap("mlp.fc1", "out"), "mlp.hook_post": Tap("mlp.fc2", "in")}

PARALLEL = "attention and MLP both read the block's input: there is no stream between"
ONE_NORM = "attention and MLP read what one norm makes: see ln1, mlp.hook_in and hook_q_input"
COHERE2_BLOCK: Block = LLAMA_BLOCK | {
    "hook_resid_mid": PARALLEL,
    **dict.fromkeys(norm_before("MLP", ""), ONE_NORM),
    "hook_attn_in": ONE_NORM,
}
COHERE2_UNROTATED: Block = COHERE2_BLOCK | UNROTATED
