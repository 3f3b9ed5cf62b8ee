"""Weights in the original layout: read, renamed, and one row longer."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors.torch import load_file
from torch import Tensor

from vlmlens.errors import UnsupportedModelError

#: Original name -> transformers' name, by the first pattern that matches all of it.
NAMES = (
    (r"model\.mm_projector\.(?:projector\.)?0\.(.+)", r"model.multi_modal_projector.linear_1.\1"),
    (r"model\.mm_projector\.(?:projector\.)?2\.(.+)", r"model.multi_modal_projector.linear_2.\1"),
    (r"model\.mm_projector\.norm\.weight", r"model.multi_modal_projector.norm.weight"),
    (r"model\.vision_tower\.vision_tower\.(?:vision_model\.)?(.+)", r"model.vision_tower.\1"),
    (r"model\.((?:embed_tokens|layers|norm)\..+)", r"model.language_model.\1"),
    (r"(lm_head\.weight)", r"\1"),
)

#: Tables that older versions of transformers saved and newer ones compute.
COMPUTED = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")

HEAD = "lm_head.weight"
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WHOLE = ("model.safetensors", "pytorch_model.bin")


def read(folder: Path) -> dict[str, Shaped[Tensor, "..."]]:
    """Every tensor of a checkpoint, from one file or several.

    Raises:
        UnsupportedModelError: no weights, or not all of the files that the index names; a folder
            that holds no more than a projector or an adapter.
    """
    found = _files(folder)
    weights: dict[str, Tensor] = {}
    for path in found:
        if path.suffix == ".safetensors":
            weights |= load_file(path)
        else:
            weights |= torch.load(path, map_location="cpu", weights_only=True)
    return weights


def renamed(weights: Mapping[str, Shaped[Tensor, "..."]]) -> dict[str, Shaped[Tensor, "..."]]:
    """The same tensors under transformers' names; what transformers computes is left out.

    Raises:
        UnsupportedModelError: names that LLaVA-1.5 does not have, such as a newline's.
    """
    named: dict[str, Tensor] = {}
    strange = []
    for name, tensor in weights.items():
        if COMPUTED.fullmatch(name):
            continue
        fits = (m.expand(new) for old, new in NAMES if (m := re.fullmatch(old, name)))
        new = next(fits, None)
        if new is None:
            strange.append(name)
        else:
            named[new] = tensor
    if strange:
        raise UnsupportedModelError(
            f"weights that LLaVA-1.5 does not have, so what they are for is not known: "
            f"{', '.join(sorted(strange)[:6])}"
        )
    return named


def with_image_row(weights: dict[str, Shaped[Tensor, "..."]], image_id: int, like: int) -> None:
    """Add the placeholder's row to the table and the head, where they end right before it.

    The original marks an image with the number -200, which is in no table; transformers looks
    the placeholder up before it puts the vision tokens there. Its embedding is zeros, and its
    logit is that of another token, which a trained model never says.

    Args:
        weights: under transformers' names; two of them are replaced.
        image_id: the placeholder's.
        like: whose logit it gets.

    Raises:
        UnsupportedModelError: a table that is shorter, or longer than that.
    """
    table, head = (weights.get(n) for n in ("model.language_model.embed_tokens.weight", HEAD))
    if table is None or head is None:
        raise UnsupportedModelError("the checkpoint holds no model.embed_tokens or no lm_head")
    if len(table) != len(head) or len(head) - image_id not in (0, 1):
        raise UnsupportedModelError(
            f"the tokenizer has {image_id} tokens, but the embedding table {len(table)} rows and "
            f"the head {len(head)}"
        )
    if len(head) == image_id:
        weights["model.language_model.embed_tokens.weight"] = torch.cat(
            [table, torch.zeros_like(table[:1])]
        )
        weights[HEAD] = torch.cat([head, head[like : like + 1]])


def _files(folder: Path) -> list[Path]:
    for index in INDICES:
        if (folder / index).is_file():
            listed = json.loads((folder / index).read_text())["weight_map"].values()
            paths = [folder / name for name in sorted(set(listed))]
            if lost := [path.name for path in paths if not path.is_file()]:
                raise UnsupportedModelError(
                    f"{folder} lacks {', '.join(lost)}, which {index} names: fetch them"
                )
            return paths
    for name in WHOLE:
        if (folder / name).is_file():
            return [folder / name]
    if (folder / "adapter_config.json").is_file():
        raise UnsupportedModelError(
            f"{folder} holds a LoRA adapter and no model: merge it into its base model first"
        )
    if (folder / "mm_projector.bin").is_file():
        raise UnsupportedModelError(
            f"{folder} holds a projector and no language model: it is what stage 1 of the training "
            "leaves; open the model of stage 2"
        )
    raise UnsupportedModelError(f"{folder} holds none of {', '.join(INDICES + WHOLE)}")
