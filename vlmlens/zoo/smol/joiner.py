"""The parts and what was trained here, as one ordinary model folder."""

import json
from pathlib import Path

from safetensors.torch import load_file

from vlmlens.zoo.smol.compose import compose, merge, processor
from vlmlens.zoo.smol.convert import language_model, opened_gguf, tower
from vlmlens.zoo.smol.prove import Proof, prove


def join(gguf: Path, onnx: Path, trained: Path, folder: Path) -> Proof:
    """Convert, compose, prove, put in what was trained, and save.

    Everything is kept in float32: so that nothing of the originals is rounded, and because a
    CPU without bfloat16 units is slow at anything less.

    Args:
        gguf: the language model's file.
        onnx: the tower's.
        trained: a folder with ``trained.safetensors`` and ``recipe.json``.
        folder: where the model goes.

    Raises:
        MissingToolError: gguf or onnx is not installed.
        UnsupportedModelError: what was converted is not equal to the originals.
    """
    original, tokenizer = opened_gguf(gguf)
    model = compose(language_model(original), tower(onnx))
    proof = prove(model, original, tokenizer, onnx)
    recipe = json.loads((trained / "recipe.json").read_text())
    if recipe["normalize"]:
        from vlmlens.zoo.variants import normalize

        model = normalize(model, recipe["normalize"])
    state = load_file(trained / "trained.safetensors")
    parts = {"projector": {}, "adapter": {}}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value.float()
    model.model.multi_modal_projector.load_state_dict(parts["projector"])
    merge(model, parts["adapter"], recipe["alpha"] / recipe["rank"])
    model.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    return proof
