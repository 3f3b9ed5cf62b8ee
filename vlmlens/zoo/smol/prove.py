"""That what was converted computes what the originals compute.

The language model is held against the GGUF as transformers itself opens it, the tower against
onnxruntime running the original graph; where that is not installed, against numbers of its
output that were recorded from it.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vlmlens.errors import UnsupportedModelError

#: Largest differences that float32 arithmetic in another order explains.
LOGITS, FEATURES = 1e-3, 1e-3
PROMPTS = ("The capital of France is", "2, 4, 6, 8,", "The red square is left of the blue")
#: In the graph of the ONNX file, the output of the tower's last norm.
LAST = "/backbone/layernorm/Add_1_output_0"
#: Every 16th position and channel of it are recorded.
EVERY = 16


@dataclass(frozen=True)
class Proof:
    """Largest differences from the originals.

    Attributes:
        logits: of the language model inside the composed model, on text.
        features: of the tower's last output.
        against: what the tower was held against.
    """

    logits: float
    features: float
    against: str


def prove(model: Any, original: Any, tokenizer: Any, onnx_file: Path) -> Proof:
    """Compare a composed model, before an adapter is merged, with what it was made of.

    Args:
        model: the composed one.
        original: the language model as transformers opens the GGUF.
        tokenizer: the language model's.
        onnx_file: the original tower.

    Raises:
        UnsupportedModelError: a difference that rounding does not explain.
    """
    logits = 0.0
    with torch.no_grad():
        for prompt in PROMPTS:
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            ours, theirs = model(input_ids=ids).logits, original(input_ids=ids).logits
            logits = max(logits, (ours - theirs).abs().max().item())
        seen = noise()
        features = model.model.vision_tower(torch.from_numpy(seen)).last_hidden_state.numpy()
    try:
        whole, against = run_onnx(onnx_file, seen), "onnxruntime"
    except ImportError:
        whole, against = np.load(_recorded())["features"], "recorded output of onnxruntime"
        features = features[:, ::EVERY, ::EVERY]
    proof = Proof(logits, float(np.abs(features - whole).max()), against)
    if proof.logits > LOGITS or proof.features > FEATURES:
        raise UnsupportedModelError(
            f"the converted parts do not compute what the originals do: {proof}; nothing is kept"
        )
    return proof


def noise() -> Float[np.ndarray, "1 3 224 224"]:
    """The pixels that the tower is compared on: (1, 3, 224, 224)."""
    return np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)


def run_onnx(
    file: Path, pixels: Float[np.ndarray, "1 3 row column"]
) -> Float[np.ndarray, "1 pos d_model"]:
    """The original tower's last output, (1, position, channel).

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnx

    onnxruntime = import_module("onnxruntime")  # not among what this package asks for
    model = onnx.load(str(file))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(LAST))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run([LAST], {model.graph.input[0].name: pixels})[0])


def _recorded() -> Path:
    return Path(str(files("vlmlens.zoo.smol"))) / "tower_output.npz"
