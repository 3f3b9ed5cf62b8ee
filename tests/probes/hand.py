"""Runs made by hand: one letter a position, tensors as written down."""

import numpy as np
import torch

import vlmlens as vl
from vlmlens.layout import TokenLayout
from vlmlens.model import Rope

ROLES = {
    "b": "bos",
    "s": "system",
    "t": "template",
    "v": "vision",
    "u": "user",
    "a": "assistant",
    ".": "pad",
}


def layout(letters: str, columns: int | None = None) -> TokenLayout:
    """A layout from one letter a position; ``.`` is padding; one image, ``columns`` wide."""
    roles = tuple(ROLES[letter] for letter in letters)
    vision = np.array([role == "vision" for role in roles])
    number = np.where(vision, vision.cumsum() - 1, -1)
    row, column = np.divmod(number, columns or max(1, int(vision.sum())))
    zero = np.where(vision, 0, -1)
    row, column = np.where(vision, row, -1), np.where(vision, column, -1)
    box = np.full((len(roles), 4), np.nan)
    if columns:  # patches of 10 x 10 pixels
        box[vision] = np.stack([column, row, column + 1, row + 1], 1)[vision] * 10.0
    return TokenLayout(roles, tuple(letters), zero, row, column, box)


def run_saving(letters, tensors, *, columns=None, **more):
    """A run of one sample a word, whose saved tensors are these, one a layer."""
    layouts = tuple(layout(word, columns) for word in letters)
    size = len(layouts[0])
    inputs = vl.Inputs({"input_ids": torch.zeros(len(layouts), size, dtype=torch.long)}, layouts)
    saved = {
        f"blocks.{number}.{site}": tensor
        for site, layers in tensors.items()
        for number, tensor in enumerate(layers)
    }
    logits = torch.zeros(len(layouts), size, 5)
    return vl.Run(inputs, logits, vl.ActivationCache(saved, {}), "sdpa", **more)


def attending(letters, *layers, columns=None):
    """A run whose last rows are these weights: layer, then sample, then head, then key."""
    rows = [torch.tensor(layer, dtype=torch.float)[:, :, None] for layer in layers]
    return run_saving(letters, {"attn.hook_pattern": rows}, columns=columns)


def generation(*steps, lengths):
    """Runs as the steps of a generation; ``lengths`` are the samples' own."""
    tokens = torch.zeros(len(lengths), len(steps), dtype=torch.long)
    return vl.Generation(steps[0].inputs, tokens, torch.tensor(lengths), (), tuple(steps))


def rope_of(step):
    """One layer's rotation with these radians a position."""
    return Rope(torch.tensor([[step]]))
