"""Checkpoints in the layout of LLaVA's own code, opened as transformers models.

``liuhaotian/llava-v1.5-7b`` is one, and so are the paper's: they hold keys that transformers does
not know (``model.mm_projector``), name their tower instead of describing it, and rely on what
stands in code only. Everything here is read off the weights' names and shapes, checked against
what ``config.json`` says, and refused where the two disagree or where something is unknown: a
checkpoint that opens wrongly answers nearly as well as one that opens rightly.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.original_llava.parts import parts_of
from vlmlens.zoo.original_llava.prompt import SYSTEM, original_processor
from vlmlens.zoo.original_llava.settings import is_original, settings_of
from vlmlens.zoo.original_llava.weights import HEAD, read, renamed, with_image_row

__all__ = ["SYSTEM", "convert", "is_original", "load"]


def load(
    folder: Path,
    *,
    dtype: Any = "auto",
    vision_tower: str | None = None,
    hub: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> tuple[Any, Any]:
    """Open a folder in the original layout: a LLaVA of transformers, or a variant of it.

    Args:
        folder: ``config.json``, weights (``*.safetensors`` or ``pytorch_model*.bin``, in one file
            or several) and the tokenizer.
        dtype: of the weights; ``"auto"`` as they were saved.
        vision_tower: folder or hub id of the CLIP tower, instead of the one that the checkpoint
            names; its weights are used if the checkpoint holds none.
        hub: how the tower is fetched: ``token``, ``cache_dir``, ``local_files_only``.
        options: passed on to ``from_pretrained``, such as ``device_map``.

    Returns:
        The model and its processor.

    Raises:
        UnsupportedModelError: a checkpoint that is not whole, or that this cannot be sure to open
            as it was trained; the message says what does not fit.
    """
    from transformers import AutoModelForImageTextToText

    import vlmlens.zoo.variants  # noqa: F401  model types of our own

    given = read(folder)
    weights = renamed(given)
    settings = settings_of(folder, set(given))
    parts = parts_of(settings, weights, vision_tower, hub)
    processor = original_processor(folder, settings, parts.tower_config)
    weights |= parts.added
    image_id = processor.tokenizer.convert_tokens_to_ids("<image>")
    unknown = processor.tokenizer.unk_token_id or 0
    with_image_row(weights, image_id, unknown)
    config = parts.config(image_id, len(weights[HEAD]))
    kind: Any = AutoModelForImageTextToText._model_mapping[type(config)]
    if isinstance(dtype, str) and dtype == "auto":
        dtype = weights[HEAD].dtype
    try:
        model, told = kind.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            output_loading_info=True,
            **options,
        )
    except RuntimeError as error:
        raise UnsupportedModelError(
            f"{folder}: weights of other shapes than config.json says: {error}"
        ) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if told[what]:
            raise UnsupportedModelError(
                f"{folder} is not whole, or more than LLaVA-1.5: {what.replace('_', ' ')} "
                f"{', '.join(sorted(map(str, told[what]))[:6])}"
            )
    tokenizer = processor.tokenizer
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.suppress_tokens = [image_id]
    return model, processor


def convert(folder: Path | str, to: Path | str, **options: Any) -> Path:
    """Write a folder in the original layout once more, as transformers reads and saves models.

    Args:
        folder: in the original layout.
        to: where the new one is written.
        options: of ``load``.

    Returns:
        The new folder, which ``HookedVLM.from_pretrained`` opens.
    """
    model, processor = load(Path(folder), **options)
    model.save_pretrained(to)
    processor.save_pretrained(to)
    return Path(to)
