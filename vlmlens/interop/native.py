"""Where nnsight finds vlmlens's points on a model that vlmlens does not run.

A server runs transformers' model as it is, with no hook point of ours. What remains is each
point's place among nnsight's own values: a module's input or output, or an argument of the
attention call inside a module's forward. ``places(vlm)`` writes these down as plain data, which
travels with a request: this file needs nothing of vlmlens but its errors, so nnsight can send it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import nnsight
import torch
from einops import rearrange

from vlmlens.errors import InputError, UnknownPointError, UnreachedPointError
from vlmlens.tensors import pieces

# A server has no vlmlens: nnsight sends the source of what a trace uses of it.
nnsight.register("vlmlens")

#: Why a step has no place among the values of a model that vlmlens does not run.
UNREACHABLE = {
    "scores": "scores exist only inside the server's attention kernel; edit attn.hook_rot_q or "
    "attn.hook_rot_k, which they are made of",
    "pattern": "patterns exist only inside the server's attention kernel; read attn.hook_rot_q "
    "and attn.hook_rot_k and compute the rows that are needed, or edit attn.hook_z",
    "heads": "each head's own write is computed by vlmlens beside the model, which holds only "
    "their sum; read or edit attn.hook_z",
    "reads": "what each head reads is shown by vlmlens beside the model, which holds one stream "
    "for all; read or edit hook_attn_in, or attn.hook_q and its like",
    "scale": "what a norm divides by is computed by vlmlens beside the model; read or edit the "
    "norm's input or output",
    "mask": "the mask is put together inside the server's attention kernel",
    "pieces": "attention is called once an image or window, and a trace would see the first alone",
}
_ARGUMENTS = {"query": 1, "key": 2, "value": 3}


@dataclass(frozen=True)
class Place:
    """Where one point lies in transformers' own model.

    Attributes:
        module: path of the module, from the model.
        stage: where at it, as in ``families.Stage``.
        axes: the point's axes.
        layout: the tensor's axes there, as einops writes them; None where they are the point's.
        sizes: the sizes of axes that the layout does not tell.
        part: which part of the last axis, and the shares of all, at fused projections.
    """

    module: str
    stage: str
    axes: str
    layout: str | None = None
    sizes: tuple[tuple[str, int], ...] = ()
    part: tuple[int, tuple[int, ...]] | None = None

    def to_point(self, x: Any) -> Any:
        """Transformers' tensor in the point's own axes."""
        if self.part is not None:
            x = pieces(x, self.part[1])[self.part[0]]
        if self.layout is None:
            return x
        return rearrange(x, f"{self.layout} -> {self.axes}", **dict(self.sizes))

    def from_point(self, x: Any, whole: Any) -> Any:
        """The point's tensor as transformers lays it out; ``whole`` is what it had there."""
        if self.layout is not None:
            x = rearrange(x, f"{self.axes} -> {self.layout}")
        if self.part is None:
            return x
        parts = pieces(whole, self.part[1])
        parts[self.part[0]] = x
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class Places:
    """Every point of a model as nnsight's own values, to be used inside a trace of any kind.

    Attributes:
        table: point name -> place.
        reasons: point name -> why it has none.
    """

    table: dict[str, Place] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, model: Any, name: str) -> Any:
        """A point's activation, in its own axes, inside a trace over ``model``.

        Raises:
            UnreachedPointError: a point that cannot be reached there; says why.
            UnknownPointError: a point that the model does not have.
        """
        place = self._place(name, model)
        return place.to_point(_get(model.get(place.module), place))

    def write(self, model: Any, name: str, x: Any) -> None:
        """Put a tensor in place of a point's activation, inside a trace over ``model``.

        Raises:
            UnreachedPointError: a point that cannot be reached there; says why.
            UnknownPointError: a point that the model does not have.
        """
        place = self._place(name, model)
        envoy = model.get(place.module)
        whole = _get(envoy, place) if place.part is not None else None
        _set(envoy, place, place.from_point(x, whole))

    def _place(self, name: str, model: Any) -> Place:
        if name in self.reasons:
            raise UnreachedPointError(
                f"{name} cannot be reached from nnsight: {self.reasons[name]}"
            )
        if name not in self.table:
            raise UnknownPointError(name, self.table)
        self._open(model)
        return self.table[name]

    def _open(self, model: Any) -> None:
        """Have nnsight look inside every attention module, before the first of them runs.

        A forward that is under way when it is asked for goes on as it was, unseen.
        """
        if "_vlmlens_opened" in vars(model):
            return
        for path in {p.module for p in self.table.values() if p.stage in _ARGUMENTS}:
            _ = model.get(path).source
        model._vlmlens_opened = True


def places(vlm: Any) -> Places:
    """Every point's place, read off an open ``HookedVLM``.

    The weights play no part: for a model that is too large to load, open an empty one, built from
    its configuration on torch's ``meta`` device.

    Examples:
        >>> from vlmlens.interop.native import places
        >>> found = places(model)
        >>> found.table["blocks.0.attn.hook_q"].module
        'model.language_model.layers.0.self_attn.q_proj'
        >>> found.reasons["blocks.0.attn.hook_pattern"]
        "patterns exist only inside the server's attention kernel; ..."
    """
    if vlm.splices:
        raise InputError(
            f"{vlm.splices[0]} is in this process only, and a server would run the plain model: "
            "find the places before it is spliced in"
        )
    paths = {module: path for path, module in vlm.hf_model.named_modules()}
    table, reasons = {}, dict(vlm.absent)
    for name, point in vlm.hook_dict.items():
        stage = point.tap.stage
        if point.tap.pieces:
            stage = "pieces"
        if stage in UNREACHABLE:
            reasons[name] = UNREACHABLE[stage]
            continue
        sizes = tuple(point.sizes.items())
        part = point.part
        table[name] = Place(
            paths[point.module], stage, " ".join(point.axes), point.layout, sizes, part
        )
    return Places(table, reasons)


def _get(envoy: Any, place: Place) -> Any:
    if place.stage in ("in", "stream"):
        return envoy.input
    if place.stage == "embeds":
        return envoy.inputs[1]["inputs_embeds"]
    if place.stage == "out":
        output = envoy.output
        return output[0] if isinstance(output, tuple) else output
    if place.stage in ("cos", "sin"):
        return envoy.inputs[1]["position_embeddings"][("cos", "sin").index(place.stage)]
    return _attention(envoy).inputs[0][_ARGUMENTS[place.stage]]


def _set(envoy: Any, place: Place, x: Any) -> None:
    if place.stage == "in":
        envoy.input = x
    elif place.stage == "embeds":
        args, kwargs = envoy.inputs
        envoy.inputs = (args, {**kwargs, "inputs_embeds": x})
    elif place.stage == "stream":
        envoy.input[:] = x  # in place: the residual branch holds this very tensor
    elif place.stage == "out":
        output = envoy.output
        envoy.output = (x, *output[1:]) if isinstance(output, tuple) else x
    elif place.stage in ("cos", "sin"):
        args, kwargs = envoy.inputs
        angles = list(kwargs["position_embeddings"])
        angles[("cos", "sin").index(place.stage)] = x
        envoy.inputs = (args, {**kwargs, "position_embeddings": tuple(angles)})
    else:
        call = _attention(envoy)
        args, kwargs = call.inputs
        at = _ARGUMENTS[place.stage]
        call.inputs = ((*args[:at], x, *args[at + 1 :]), kwargs)


def _attention(envoy: Any) -> Any:
    """The call of the attention function inside a module's forward."""
    source = envoy.source
    # The name is first bound to the implementation, then called; nnsight counts both.
    return source.attention_interface_1
