"""What an image passes through: the weights, settings and code of tower and projector."""

import types
from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from vlmlens import identity
from vlmlens.identity.libraries import NOTES
from vlmlens.model.wiring.wired import Wired

#: A module's own values that count as they are; containers, hooks and notes are left out.
PLAIN = (bool, int, float, str, type(None))
#: What adapters are switched by, in containers.
SWITCHES = ("_active_adapter", "merged_adapters", "scaling")


class Weights:
    """The weights of tower and projector, as they were when they were last looked at.

    A version counts what is written into a tensor, but for what is written through ``.data`` or
    into memory that numpy shares. So values are compared with a copy, bit by bit where they lie.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Tensor, Tensor]] = []

    def changed(self, vlm: Wired) -> bool:
        """Whether any of them is another, or holds other values, than at the last look."""
        now = [x for module in vision_modules(vlm) for x in own(module)]
        same = len(now) == len(self._known) and all(
            x is kept and _alike(x, copy) for x, (kept, copy) in zip(now, self._known, strict=True)
        )
        if not (same and _equal([(x.detach(), copy) for x, copy in self._known])):
            self._known = [(x, x.detach().clone()) for x in now]
            return True
        return False


def vision_modules(vlm: Wired) -> Iterator[nn.Module]:
    """Every module but the language model's and the unembedding."""
    text = vlm.hf_model.get_submodule(vlm.family.lm_layers.rpartition(".")[0])
    left = {id(module) for module in text.modules()}
    head = vlm.hf_model.get_output_embeddings()
    left |= set() if head is None else {id(head)}
    yield from (module for module in vlm.hf_model.modules() if id(module) not in left)


def settings(vlm: Wired, modules: Iterable[nn.Module] | None = None) -> Hashable:
    """The configuration, and what modules are set to and made of; by default tower and projector.

    Args:
        vlm: an open model.
        modules: the modules.
    """
    made = tuple(map(_made, vision_modules(vlm) if modules is None else modules))
    return identity.value(vlm.config), torch.is_autocast_enabled("cpu"), made


def _made(module: nn.Module) -> Hashable:
    held = vars(module)
    plain = tuple((k, v) for k, v in held.items() if isinstance(v, PLAIN) and k not in NOTES)
    code = tuple((k, id(v)) for k, v in held.items() if isinstance(v, types.FunctionType))
    switches = str([held.get(name) for name in SWITCHES])
    return type(module), plain, code, switches


def own(module: nn.Module) -> Iterator[Shaped[Tensor, "..."]]:
    """A module's own parameters and buffers, without those of what it holds."""
    for held in (module._parameters, module._buffers):
        yield from (x for x in held.values() if x is not None)


def _alike(x: Shaped[Tensor, "..."], copy: Shaped[Tensor, "..."]) -> bool:
    return (x.device, x.dtype, x.shape) == (copy.device, copy.dtype, copy.shape)


def _equal(pairs: Sequence[tuple[Shaped[Tensor, "..."], Shaped[Tensor, "..."]]]) -> bool:
    """Whether all hold the same values; a GPU is waited for once, and not once a tensor.

    What is on meta is offloaded: read from where it lies whenever it is needed.
    """
    there = [pair for pair in pairs if not pair[0].is_meta]
    if all(x.device.type == "cpu" for x, _ in there):
        return all(torch.equal(x, copy) for x, copy in there)
    same = [(x == copy).all() for x, copy in there]
    return bool(torch.stack([each.to(same[0].device) for each in same]).all())


def wording(vlm: Wired) -> Hashable:
    """What samples are written down with: the processor, its template, the configuration."""
    return identity.glance((vlm.processor, vlm.config))
