"""A model by TransformerLens's paths: ``blocks[3].attn.W_O``, ``blocks[3].attn.hook_z``."""

from collections.abc import Callable, Iterator
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import whole
from vlmlens.errors import InputError, UnknownPartError
from vlmlens.model.reading.weights import names_of, weight
from vlmlens.model.wiring.wired import Wired

Reader = Callable[[], Shaped[Tensor, "..."]]


class Part:
    """A part of a model: its points, its weights and its own parts, as attributes.

    Args:
        vlm: an open model.
        path: where it is, as points' names begin.
        weights: weights that belong to no block, by name.
        call: what it computes, for parts that TransformerLens's users call.

    Examples:
        >>> model.blocks[0].attn.W_O.shape  # head d_head d_model
        torch.Size([4, 32, 128])
        >>> model.blocks[0].attn.hook_z is model.hook_dict["blocks.0.attn.hook_z"]
        True
        >>> model.blocks[0].atn
        Traceback (most recent call last):
        vlmlens.errors.UnknownPartError: no part 'atn'; did you mean attn? in blocks.0
    """

    def __init__(
        self,
        vlm: Wired,
        path: str,
        weights: dict[str, Reader] | None = None,
        call: Callable[..., Any] | None = None,
    ):
        self._vlm, self._path = vlm, path
        self._weights, self._called = weights or {}, call

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        full = f"{self._path}.{name}"
        if full in self._vlm.hook_dict:
            return self._vlm.hook_dict[full]
        if name in self._weights:
            return self._weights[name]()
        block, _, part = self._path.rpartition(".")
        if ".".join(block.split(".")[-2:-1]) == "blocks" and name in names_of(part):
            return weight(self._vlm, block, part, name)
        if name == "blocks":
            return Blocks(self._vlm, full)
        if any(own.startswith(f"{full}.") for own in (*self._vlm.hook_dict, *self._vlm.absent)):
            return Part(self._vlm, full, call=self._module(full))
        why = self._vlm.absent.get(full)
        known = [known for known in dir(self) if not known.startswith("_")]
        raise UnknownPartError(name, known, f"in {self._path}" + (f" ({why})" if why else ""))

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise InputError(
                f"{self._path}.{name} is read off the model: write into the parameters of "
                "model.hf_model, or edit activations with hooks and interventions"
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        inside = [n for n in self._vlm.hook_dict if n.startswith(f"{self._path}.")]
        own = {n[len(self._path) + 1 :].partition(".")[0] for n in inside}
        block, _, part = self._path.rpartition(".")
        there = names_of(part) if block.rpartition(".")[0].endswith("blocks") else []
        return sorted({*own, *self._weights, *there})

    def __call__(self, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """What the model makes of a tensor here, past all hooks: norms and the two embeddings."""
        if self._called is None:
            raise InputError(
                f"{self._path} is not called by itself: model.run(inputs, save=...) shows what it "
                "makes in a pass"
            )
        return self._called(x)

    def __repr__(self) -> str:
        return f"Part({self._path}: {', '.join(dir(self))})"

    def _module(self, path: str) -> Callable[..., Any] | None:
        norm = self._vlm.hook_dict.get(f"{path}.hook_normalized")
        return None if norm is None else norm.module.forward


class Blocks:
    """The blocks of a stack, each a ``Part``."""

    def __init__(self, vlm: Wired, path: str):
        self._vlm, self._path = vlm, path

    def __len__(self) -> int:
        return self._vlm.depth(self._path)

    def __getitem__(self, layer: int) -> Part:
        """One block; negative layers count from the last.

        Raises:
            InputError: no such block.
        """
        at = whole(layer, "blocks", -len(self), len(self) - 1)
        return Part(self._vlm, f"{self._path}.{at % len(self)}")

    def __iter__(self) -> Iterator[Part]:
        return (self[layer] for layer in range(len(self)))

    def __repr__(self) -> str:
        return f"Blocks({self._path}: {len(self)})"
