"""TransformerLens's methods of a cache, by its names and with its arguments."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache.cutting import entries
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.tensors import as_device

Attributions = Shaped[Tensor, "component *lead"]
#: Of TransformerLens's cache, what is not done here, and what is.
REFUSED = {
    "logit_lens": "vlmlens.probes.logit_lens(model, run) reads the stream out block by block",
    "toggle_autodiff": "torch.set_grad_enabled(mode) does that, to everything; "
    "model.run(..., grad=True) keeps the graph of one run",
    "compute_ssm_effective_attention": "layers that keep a running state have no pattern here",
    "compute_ssm_state": "layers that keep a running state have no points of it here",
}


class AsTransformerLens:
    """What ``ActivationCache`` takes over from TransformerLens; see there."""

    cache_dict: dict[str, Shaped[Tensor, "..."]]
    axes: dict[str, tuple[str, ...]]
    layouts: tuple[Any, ...]
    has_batch_dim: bool
    _ran: weakref.ref | None
    _digest: str
    like: Callable[..., Any]

    @property
    def has_embed(self) -> bool:
        """Whether what enters block 0 was saved."""
        return "hook_embed" in self.cache_dict

    @property
    def has_pos_embed(self) -> bool:
        """False: positions are rotations, or are in ``hook_embed``."""
        return False

    def to(self, device: torch.device | str) -> Any:
        """Put all that was saved on another device, here, as in TransformerLens.

        Raises:
            InputError: a device that is not there, or ``"meta"``, which holds no values.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="hook_embed").saved
            >>> saved.to("cpu") is saved
            True
        """
        place = as_device(device)
        try:
            moved = {name: x.to(place) for name, x in self.cache_dict.items()}
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"to({shown(device)}): {error}") from error
        return self._become(moved, self.axes)

    def cpu(self) -> Any:
        """Put all that was saved into the machine's own memory.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="hook_embed").saved
            >>> saved.cpu()["hook_embed"].device
            device(type='cpu')
        """
        return self.to("cpu")

    def remove_batch_dim(self) -> Any:
        """Take the batch's axis away, here, where it is one sample, as in TransformerLens.

        Raises:
            InputError: several samples, or an axis that was taken away before.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="hook_embed").saved
            >>> saved.remove_batch_dim()["hook_embed"].shape
            torch.Size([78, 128])
        """
        if not self.has_batch_dim:
            raise InputError("the batch's axis was taken away already: has_batch_dim is False")
        batched = {name for name in self.cache_dict if self._has_batch(name)}
        if not self._sizes() <= {1}:
            raise InputError(
                f"a batch of {max(self._sizes())} samples keeps its axis: "
                "apply_slice_to_batch_dim(index) takes one of them"
            )
        self._become(
            {name: x[0] if name in batched else x for name, x in self.cache_dict.items()},
            {name: a[1:] if name in batched else a for name, a in self.axes.items()},
        )
        self.has_batch_dim = False
        return self

    def apply_slice_to_batch_dim(self, batch_slice: Any) -> Any:
        """A cache of some samples: an index, which takes the axis away, its ends, or indices.

        Raises:
            InputError: samples that are not there.

        Examples:
            >>> saved = model.run(model.inputs(samples), save="hook_embed").saved
            >>> saved.apply_slice_to_batch_dim((1, 3))["hook_embed"].shape
            torch.Size([2, 80, 128])
        """
        if not self.has_batch_dim:
            raise InputError("the batch's axis was taken away: there is one sample")
        rows = entries(batch_slice, max(self._sizes(), default=0), "batch_slice")
        one = isinstance(rows, int)
        made: Any = self.like(
            {name: x[rows] if self._has_batch(name) else x for name, x in self.cache_dict.items()},
            {name: a[1:] if one and a[:1] == ("batch",) else a for name, a in self.axes.items()},
        )
        chosen = [rows] if one else rows
        made.layouts = tuple(self.layouts[row] for row in chosen) if self.layouts else ()
        made.has_batch_dim = not one
        return made

    def compute_head_results(self) -> None:
        """Put every head's write beside what was saved, as ``blocks.*.attn.hook_result``, here.

        Raises:
            UnknownPointError: ``attn.hook_z`` was not saved.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="blocks.*.attn.hook_z").saved
            >>> saved.compute_head_results()
            >>> saved["result", 0].shape  # batch pos head d_model
            torch.Size([1, 78, 4, 128])
        """
        made = self._stream().results()
        if not self.has_batch_dim:
            made = {name: x[0] for name, x in made.items()}
        axes = {name: (*self.axes[name.replace("result", "z")][:-1], "d_model") for name in made}
        self._become({**self.cache_dict, **made}, {**self.axes, **axes})

    def decompose_resid(self, *args: Any, **options: Any) -> Any:
        """``ResidualStream.decompose_resid`` of this run.

        Examples:
            >>> from vlmlens.model.reading.residual import RESIDUAL
            >>> run = model.run(model.inputs(sample), save=RESIDUAL)
            >>> run.saved.decompose_resid(pos_slice=-1).shape  # component batch d_model
            torch.Size([9, 1, 128])
        """
        return self._taken("decompose_resid", args, options)

    def accumulated_resid(self, *args: Any, **options: Any) -> Any:
        """``ResidualStream.accumulated_resid`` of this run.

        Examples:
            >>> run = model.run(model.inputs(sample), save="blocks.*.hook_resid_*")
            >>> run.saved.accumulated_resid().shape  # component batch pos d_model
            torch.Size([5, 1, 78, 128])
        """
        return self._taken("accumulated_resid", args, options)

    def stack_head_results(self, *args: Any, **options: Any) -> Any:
        """``ResidualStream.stack_head_results`` of this run.

        Examples:
            >>> run = model.run(model.inputs(sample), save="blocks.*.attn.hook_z")
            >>> run.saved.stack_head_results().shape  # component batch pos d_model
            torch.Size([16, 1, 78, 128])
        """
        return self._taken("stack_head_results", args, options)

    def stack_neuron_results(self, *args: Any, **options: Any) -> Any:
        """``ResidualStream.stack_neuron_results`` of this run.

        Examples:
            >>> run = model.run(model.inputs(sample), save="blocks.*.mlp.hook_post")
            >>> run.saved.stack_neuron_results(2, pos_slice=-1).shape  # component batch d_model
            torch.Size([704, 1, 128])
        """
        return self._taken("stack_neuron_results", args, options)

    def get_neuron_results(self, *args: Any, **options: Any) -> Shaped[Tensor, "..."]:
        """``ResidualStream.get_neuron_results`` of this run.

        Examples:
            >>> run = model.run(model.inputs(sample), save="blocks.*.mlp.hook_post")
            >>> run.saved.get_neuron_results(0, pos_slice=-1).shape  # batch neuron d_model
            torch.Size([1, 352, 128])
        """
        found = self._stream().get_neuron_results(*args, **options)
        return found if self.has_batch_dim else found[0]

    def get_full_resid_decomposition(self, *args: Any, **options: Any) -> Any:
        """``ResidualStream.get_full_resid_decomposition`` of this run.

        Examples:
            >>> from vlmlens.model.reading.residual import RESIDUAL
            >>> run = model.run(model.inputs(sample), save=[*RESIDUAL, "blocks.*.mlp.hook_post"])
            >>> parts = run.saved.get_full_resid_decomposition(pos_slice=-1)
            >>> torch.allclose(parts.sum(0), run.saved["resid_post", 3][:, -1], atol=1e-3)
            True
        """
        return self._taken("get_full_resid_decomposition", args, options)

    def logit_attrs(
        self, residual_stack: Shaped[Tensor, "component *lead d_model"], *args: Any, **options: Any
    ) -> Attributions:
        """``ResidualStream.logit_attrs`` of this run.

        Examples:
            >>> from vlmlens.model.reading.residual import RESIDUAL
            >>> saved = model.run(model.inputs(sample), save=RESIDUAL).saved
            >>> saved.logit_attrs(saved.decompose_resid(pos_slice=-1), " red", pos_slice=-1).shape
            torch.Size([9, 1])
        """
        return self._stream().logit_attrs(residual_stack, *args, **self._batched(options))

    def apply_ln_to_stack(
        self, residual_stack: Shaped[Tensor, "component *lead d_model"], *args: Any, **options: Any
    ) -> Shaped[Tensor, "component *lead d_model"]:
        """``ResidualStream.apply_ln_to_stack`` of this run.

        Examples:
            >>> from vlmlens.model.reading.residual import RESIDUAL
            >>> saved = model.run(model.inputs(sample), save=RESIDUAL).saved
            >>> saved.apply_ln_to_stack(saved.decompose_resid()).shape
            torch.Size([9, 1, 78, 128])
        """
        return self._stream().apply_ln_to_stack(residual_stack, *args, **self._batched(options))

    def _stream(self) -> Any:
        ran = None if self._ran is None else self._ran()
        if ran is None:
            raise InputError(
                "this cache does not know the model that ran, or it is gone: "
                "vlmlens.model.ResidualStream(model, cache) takes the stream apart"
            )
        return ran.stream(self)

    def _taken(self, method: str, args: Any, options: Any) -> Any:
        found = getattr(self._stream(), method)(*args, **options)
        if self.has_batch_dim:
            return found
        return (found[0][:, 0], found[1]) if isinstance(found, tuple) else found[:, 0]

    def _batched(self, options: dict[str, Any]) -> dict[str, Any]:
        return options if self.has_batch_dim else {**options, "has_batch_dim": False}

    def _has_batch(self, name: str) -> bool:
        return self.axes.get(name, ())[:1] == ("batch",)

    def _sizes(self) -> set[int]:
        return {len(x) for name, x in self.cache_dict.items() if self._has_batch(name)}

    def _become(
        self, tensors: dict[str, Shaped[Tensor, "..."]], axes: dict[str, tuple[str, ...]]
    ) -> Any:
        self.cache_dict, self.axes, self._digest = tensors, axes, ""
        return self


def _refused(name: str, why: str) -> Any:
    def method(self: AsTransformerLens, *args: Any, **options: Any) -> Any:
        raise InputError(f"cache.{name}: {why}")

    method.__doc__ = f"Refused: {why}."
    return method


for _name, _why in REFUSED.items():
    setattr(AsTransformerLens, _name, _refused(_name, _why))
