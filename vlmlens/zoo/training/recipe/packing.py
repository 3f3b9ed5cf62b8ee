"""Prefix and questions as one row of ids: several questions share a picture, or its words.

Each question attends to the prefix and to itself, and has the position ids that it would have
alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlavaProcessor

from vlmlens.datasets.shapes.questions import Question
from vlmlens.datasets.shapes.scene import Scene
from vlmlens.errors import InputError
from vlmlens.zoo.shapes import GRID
from vlmlens.zoo.training.recipe.words import GROUND, cell_of, drawn, listed, shape_word


class Packer:
    """Turns a prefix and questions into ids and what belongs to each token."""

    def __init__(self, processor: LlavaProcessor):
        self.tokenizer, self.image_token = processor.tokenizer, processor.image_token

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without any that the tokenizer would add."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def picture(self, system: str) -> list[int]:
        """The prefix of a picture."""
        return self.encode(f"<s>{system}USER: " + self.image_token * GRID**2)

    def words(
        self, system: str, scene: Scene, rng: np.random.Generator, *, in_cells: bool
    ) -> tuple[list[int], list[int]]:
        """The prefix of a scene in words, drawn or listed, and where its shapes' words are.

        A drawing has one token a cell, just where a picture has its.

        Returns:
            Ids, and for each the number of a cell, row by row, or -1 where it is no shape's word.

        Raises:
            InputError: a tokenizer that has not learned these words.
        """
        said = drawn(scene) if in_cells else listed(scene, rng)
        tokens = [self.encode(word) for word in said]
        if broken := [word for word, ids in zip(said, tokens, strict=True) if len(ids) != 1]:
            raise InputError(
                f"{broken[0]!r} comes out as several tokens: the tokenizer has to be learned from "
                "corpus(in_words=True)"
            )
        before = self.encode(f"<s>{system}USER:" + (" " if in_cells else ""))
        if in_cells:
            cells = [i if word != GROUND else -1 for i, word in enumerate(said)]
        else:
            where = {shape_word(s): cell_of(s) for s in scene.shapes}
            places = [where.get(word) for word in said]
            cells = [-1 if p is None else p[0] * GRID + p[1] for p in places]
        return before + [ids[0] for ids in tokens], [-1] * len(before) + cells

    def pack(
        self, prefix: list[int], asked: Sequence[Question], recalled: Sequence[Question] = ()
    ) -> tuple[list[int], ...]:
        """Ids, segment (0: shared prefix), position id and whether the loss counts, per token.

        Args:
            prefix: of all.
            asked: questions as a model gets them.
            recalled: names alone, each with what follows it.
        """
        pairs = [(f"\n{q.text} ASSISTANT:", f" {q.answer}</s>") for q in asked]
        pairs += [(f"\n{q.text}", f" {q.answer}") for q in recalled]
        ids, segments = list(prefix), [0] * len(prefix)
        positions, learn = list(range(len(prefix))), [0] * len(prefix)
        for number, (question, answer) in enumerate(pairs, start=1):
            said, told = self.encode(question), self.encode(answer)
            ids += said + told
            segments += [number] * len(said + told)
            positions += range(len(prefix), len(prefix) + len(said + told))
            learn += [0] * len(said) + [1] * len(told)
        return ids, segments, positions, learn


def padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "row token"]:
    """(row, token): rows of several lengths, -1 where one has ended."""
    length = max(map(len, rows))
    filled = [np.pad(np.array(r), (0, length - len(r)), constant_values=-1) for r in rows]
    return torch.from_numpy(np.stack(filled))


def stacked(rows: list[tuple[list[int], ...]]) -> dict[str, Any]:
    """Packed rows as tensors; padding is a segment of its own, -1."""
    ids, segments, positions, learn = map(padded, zip(*rows, strict=True))
    return {
        "input_ids": ids.clamp(min=0),
        "segments": segments,
        "positions": positions.clamp(min=0),
        "learn": learn > 0,
    }


def packed_mask(segments: Int[Tensor, "row token"]) -> Float[Tensor, "row 1 token token"]:
    """Who sees whom: the past of one's own question, and the shared prefix.

    Args:
        segments: (row, token), 0 for the prefix, -1 for padding.

    Returns:
        (row, 1, query, key), to be added to attention scores: 0 where a token is seen, the lowest
        number where it is not.
    """
    size = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    allowed = ((key == 0) | (key == query)) & (key >= 0)
    allowed &= torch.ones(size, size, dtype=torch.bool).tril()
    allowed |= torch.eye(size, dtype=torch.bool)  # padding sees itself, or its softmax is empty
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
