"""Whether inputs fit the model that runs them, and its training."""

from typing import Any

from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.model.sequence.trained_length import warn_beyond


def kind_of(config: Any) -> str:
    """What token ids and image tensors mean something to."""
    size = config.get_text_config().vocab_size
    return f"{config.model_type} with {size} tokens, image token {config.image_token_id}"


def check_fit(config: Any, inputs: Inputs, step: int = 0) -> None:
    """Refuse inputs of another kind of model; warn of more positions than this one knows.

    Args:
        config: the model's.
        inputs: up to the newest token.
        step: of decoding; after the first, only the step that goes beyond is warned of.

    Raises:
        InputError: names both kinds.
    """
    if inputs.made_for and inputs.made_for != (here := kind_of(config)):
        raise InputError(
            f"these inputs were made for {inputs.made_for}, and this is {here}: their ids and "
            "pixels mean something else to it, so make them with this model's own inputs(...)"
        )
    warn_beyond(config, inputs.layouts, inputs.tensors["position_ids"], step)
