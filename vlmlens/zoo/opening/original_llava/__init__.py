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

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.opening.original_llava.parts import Parts, parts_of
from vlmlens.zoo.opening.original_llava.prompt import SYSTEM, original_processor
from vlmlens.zoo.opening.original_llava.settings import is_normalized, is_original, settings_of
from vlmlens.zoo.opening.original_llava.tower import tower_config
from vlmlens.zoo.opening.original_llava.weights import HEAD, read, renamed, with_image_row

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

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.zoo.opening.original_llava import load
        >>> load(Path("no/llava-v1.5-7b"))  # a folder that is not there
        Traceback (most recent call last):
        vlmlens.errors.UnsupportedModelError: no/llava-v1.5-7b has no config.json ...
    """
    settings = settings_of(folder)
    given = read(folder)
    normalized = is_normalized(settings, given)
    weights = renamed(given)
    parts = parts_of(settings, weights, normalized, vision_tower, hub)
    processor = original_processor(folder, settings, parts.tower_config)
    tokenizer = processor.tokenizer
    weights |= parts.added
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    with_image_row(weights, image_id, tokenizer.unk_token_id or 0)
    config = parts.config(image_id, len(weights[HEAD]))
    if isinstance(dtype, str) and dtype == "auto":
        dtype = weights[HEAD].dtype
    try:
        model = _filled(config, weights, dtype=dtype, **options)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{folder}: {error}") from error
    for token in ("bos", "eos", "pad"):
        setattr(
            model.generation_config, f"{token}_token_id", getattr(tokenizer, f"{token}_token_id")
        )
    model.generation_config.suppress_tokens = [image_id]
    return model, processor


def configuration(folder: Path, hub: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """What ``load`` would give its model for a configuration, from ``config.json`` alone.

    What only weights and tokenizer tell is taken as its settings say: that the arms of the paper
    are what the two flags call them, and that the vocabulary ends right before the placeholder.

    Args:
        folder: with ``config.json``.
        hub: how the configuration of a tower that is not known is fetched, as in ``load``.

    Raises:
        UnsupportedModelError: settings that ``load`` refuses, or no size of the vocabulary.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.zoo.opening.original_llava import configuration
        >>> configuration(Path("no/llava-v1.5-7b"))  # a folder that is not there
        Traceback (most recent call last):
        vlmlens.errors.UnsupportedModelError: no/llava-v1.5-7b has no config.json ...
    """
    settings = settings_of(folder)
    name, words = settings.get("mm_vision_tower"), settings.get("vocab_size")
    if not name or not isinstance(words, int):
        raise UnsupportedModelError(
            f"{folder}: config.json names no mm_vision_tower, or no vocab_size: it does not say "
            "how large the model is, so open it with its weights"
        )
    normalized, multilayer = (
        bool(settings.get(flag)) for flag in ("normalize_projector", "use_multilayer_features")
    )
    parts = Parts(settings, tower_config(name, hub), {}, normalized, multilayer)
    return parts.config(words, words + 1)


def _filled(config: Any, weights: dict[str, Shaped[Tensor, "..."]], **options: Any) -> Any:
    """A model that holds just these weights."""
    from transformers import AutoModelForImageTextToText

    import vlmlens.zoo.variants  # noqa: F401  model types of our own

    kind: Any = AutoModelForImageTextToText._model_mapping[type(config)]
    options["output_loading_info"] = True
    try:
        model, report = kind.from_pretrained(None, config=config, state_dict=weights, **options)
    except RuntimeError as error:
        raise UnsupportedModelError(
            f"weights of other shapes than config.json says: {error}"
        ) from error
    for what in ("missing_keys", "unexpected_keys"):
        if report[what]:
            raise UnsupportedModelError(
                f"not whole, or more than config.json says: {what.replace('_', ' ')} "
                f"{', '.join(sorted(report[what])[:6])}"
            )
    return model


def convert(folder: Path | str, to: Path | str, **options: Any) -> Path:
    """Write a folder in the original layout once more, as transformers reads and saves models.

    Args:
        folder: in the original layout.
        to: where the new one is written.
        options: of ``load``.

    Returns:
        The new folder, which ``HookedVLM.from_pretrained`` opens.

    Examples:
        >>> from vlmlens.zoo.opening.original_llava import convert
        >>> convert("no/llava-v1.5-7b", "llava-1.5-7b-hf")  # a folder that is not there
        Traceback (most recent call last):
        vlmlens.errors.UnsupportedModelError: no/llava-v1.5-7b has no config.json ...
    """
    model, processor = load(Path(folder), **options)
    model.save_pretrained(to)
    processor.save_pretrained(to)
    return Path(to)
