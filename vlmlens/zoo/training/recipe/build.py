"""A shapes model before it has learned anything."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from vlmlens.zoo.shapes import shapes_config


def new_model(processor: LlavaProcessor, seed: int) -> LlavaForConditionalGeneration:
    """A LLaVA of the shapes configuration with weights drawn by a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(shapes_config(processor.tokenizer))
        new_projector(model)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model


def new_projector(model: Any) -> None:
    """Plain ``nn.Linear`` initialisation, as LLaVA's projector has it."""
    projector = model.model.multi_modal_projector
    projector.linear_1.reset_parameters()
    projector.linear_2.reset_parameters()


def save_model(model: Any, processor: LlavaProcessor, folder: Path) -> Path:
    """Save both so that ``from_pretrained`` opens the folder."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
