"""Two files of others' weights as transformers' own classes: a GGUF and an ONNX.

Conversion renames and unpacks; it changes no number. ``prove.py`` compares the results with the
originals.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM

from vlmlens.errors import UnsupportedModelError
from vlmlens.extras import require

#: DINOv2-small as the file's shapes tell it: 37 x 37 positions are 518 pixels in patches of 14.
TOWER: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "patch_size": 14,
    "image_size": 518,
    "use_mask_token": False,
}
#: The file has the names of an earlier transformers.
RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def opened_gguf(file: Path) -> tuple[Any, Any]:
    """A GGUF's language model in float32 and its tokenizer, as transformers opens them.

    Raises:
        MissingToolError: gguf is not installed.
    """
    require("gguf", "opening a GGUF")  # transformers' own message does not name the extra
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(**where)


def language_model(opened: Any) -> LlamaForCausalLM:
    """The same numbers in a model that never heard of quantisation.

    transformers opens a GGUF, and refuses to save what it opened.
    """
    settings = opened.config.to_dict()
    for stale in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(stale, None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(opened.state_dict())
    return model.eval()


def tower(file: Path) -> Dinov2Model:
    """The ONNX file's backbone, a DINOv2-small, in float32; its saliency head is left behind.

    Raises:
        MissingToolError: onnx is not installed.
        UnsupportedModelError: a parameter of the tower is not in the file, or has another shape.
    """
    require("onnx", "opening an ONNX")
    import onnx

    graph = onnx.load(str(file)).graph
    model = Dinov2Model(Dinov2Config(**TOWER))
    try:
        model.load_state_dict(_tower_state(graph, onnx.numpy_helper.to_array))
    except (KeyError, RuntimeError) as error:
        raise UnsupportedModelError(f"{file.name} holds no DINOv2-small: {error}") from error
    return model.eval()


def _tower_state(graph: Any, to_array: Any) -> dict[str, Float[Tensor, "..."]]:
    """Parameters by transformers' names, out of an ONNX graph's initialisers.

    Vectors and convolutions kept their names. Matrices lost theirs: they are named by the path of
    the product that reads them, and lie transposed. The positions are two nameless constants.
    """
    stored = {t.name: to_array(t) for t in graph.initializer}
    state = {
        name.removeprefix("backbone."): value
        for name, value in stored.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            path = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            state[f"{path}.weight"] = stored[node.input[1]].T
    places = {v.shape: v for k, v in stored.items() if k.startswith("onnx::") and v.ndim == 3}
    state["embeddings.position_embeddings"] = np.concatenate(
        [places[1, 1, 384], places[1, 1369, 384]], axis=1
    )
    return {_renamed(name): torch.from_numpy(value.copy()) for name, value in state.items()}


def _renamed(name: str) -> str:
    return re.sub("|".join(map(re.escape, RENAMED)), lambda found: RENAMED[found[0]], name)
