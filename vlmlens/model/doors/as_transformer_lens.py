"""TransformerLens's methods, by its names; an option that means nothing here is refused by name."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache, Save
from vlmlens.checks import flag, refuse_unknown, shown, whole
from vlmlens.errors import InputError, UnreachedPointError
from vlmlens.inputs import Inputs
from vlmlens.model.doors.caching import filtered, only, shaped, wanted
from vlmlens.model.doors.given import as_hooks, as_inputs
from vlmlens.model.doors.tools import Tools
from vlmlens.model.lifetime.journal import in_turn
from vlmlens.model.passes.edits import refuse_unreached
from vlmlens.model.passes.refused import told
from vlmlens.model.passes.run import Run
from vlmlens.model.passes.stopping import before_block
from vlmlens.model.passes.watching import as_watched, seated
from vlmlens.model.sequence.fitting import check_fit

#: What TransformerLens's models take, and what to do here.
INSTEAD = {
    "attention_mask": "model.inputs makes one, inputs_from(..., attention_mask=...) takes one",
    "input": "pass what model.inputs(...) made",
    "input_ids": "model.inputs_from(input_ids, pixel_values=...) makes inputs of tensors",
    "loss_per_token": "take log_softmax of the logits",
    "past_key_values": "model.prefill and model.resume start from keys and values",
    "past_kv_cache": "model.prefill and model.resume start from keys and values",
    "padding_side": "model.inputs(..., padding='left')",
    "pixel_values": "model.inputs_from(input_ids, pixel_values=...) makes inputs of tensors",
    "prepend_bos": "the chat template begins as the model expects",
    "start_at_layer": "model.prefill and model.resume start from a block",
    "tokens": "model.inputs_from(input_ids, ...) makes inputs of tensors",
}
#: What ``forward`` takes beside inputs.
TAKES = ("return_type", "stop_at_layer")
#: What ``run_with_cache`` passes on to ``run``.
OF_A_RUN = ("interventions", "attention", "grad", "logits")


class AsTransformerLens(Tools):
    """What ``HookedVLM`` takes over from TransformerLens; see there."""

    run: Callable[..., Run]  # of HookedVLM

    @in_turn
    def forward(
        self,
        inputs: Inputs,
        *,
        return_type: str | None = "logits",
        stop_at_layer: int | None = None,
        **unknown: Any,
    ) -> Float[Tensor, "batch pos width"] | None:
        """Logits (batch pos vocab), for ``run_with_hooks`` and the like.

        Args:
            inputs: from ``inputs`` or ``inputs_from``.
            return_type: ``"logits"``, or None, which returns None.
            stop_at_layer: end the pass before this block, and return the residual stream that
                would enter it (batch pos d_model); negative counts from the last.
            unknown: refused.

        Raises:
            UnknownKeywordError: any other keyword: nobody would read it.
            InputError: what is no inputs, or ``return_type="loss"``.

        Examples:
            >>> inputs = model.inputs(sample)
            >>> model(inputs).shape, model(inputs, stop_at_layer=2).shape
            (torch.Size([1, 78, 418]), torch.Size([1, 78, 128]))
        """
        refuse_unknown(unknown, TAKES, "model(...)", INSTEAD)
        inputs = as_inputs(inputs, "model")
        self.check_open()
        _refuse_loss(return_type)
        vlm: Any = self
        check_fit(vlm.config, inputs)
        with told(vlm, inputs), as_watched(vlm), seated(vlm, inputs.layouts):
            if stop_at_layer is not None:
                with before_block(vlm, self._block(stop_at_layer)) as stream:
                    self.hf_model(**inputs.tensors, use_cache=False)
                made = stream[0]
            else:
                made = self.hf_model(**inputs.tensors, use_cache=False).logits
        return made if return_type is not None else None

    def run_with_hooks(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Inputs,
        *,
        fwd_hooks: Sequence[tuple[str | Callable[[str], bool], Callable]] = (),
        bwd_hooks: Sequence[tuple[str | Callable[[str], bool], Callable]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        **options: Any,
    ) -> Float[Tensor, "batch pos width"] | None:
        """A pass with these hooks on, as in TransformerLens; the graph is kept.

        Args:
            inputs: from ``inputs`` or ``inputs_from``.
            fwd_hooks: pairs of a point's name, or a condition on names, and a hook.
            bwd_hooks: the same, for gradients.
            reset_hooks_end: take them off at the end.
            clear_contexts: clear the hooks' contexts with them.
            options: of ``forward``.

        Raises:
            UnknownKeywordError: any other keyword.
            UnreachedPointError: hooks of points that this pass never reached.

        Examples:
            >>> inputs = model.inputs(sample)
            >>> silent = ("blocks.0.hook_attn_out", lambda x, hook: torch.zeros_like(x))
            >>> logits = model.run_with_hooks(inputs, fwd_hooks=[silent])
            >>> logits.shape, torch.allclose(logits, model(inputs))
            (torch.Size([1, 78, 418]), False)
        """
        known = ("fwd_hooks", "bwd_hooks", "reset_hooks_end", "clear_contexts", *TAKES)
        refuse_unknown(options, known, "run_with_hooks(...)", INSTEAD)
        inputs = as_inputs(inputs, "run_with_hooks")
        forward = as_hooks(fwd_hooks, "fwd_hooks")
        before = {name: point.fired for name, point in self.hook_dict.items()}
        vlm: Any = self
        made = super().run_with_hooks(
            inputs,
            fwd_hooks=forward,
            bwd_hooks=as_hooks(bwd_hooks, "bwd_hooks"),
            reset_hooks_end=reset_hooks_end,
            clear_contexts=clear_contexts,
            **options,
        )
        named = [(name, "a hook") for name, _ in forward if isinstance(name, str)]
        refuse_unreached(vlm, named, before, inputs.tensors)
        for name, _ in forward:
            if not isinstance(name, str):
                meant = [own for own in self.hook_dict if name(own)]
                if all(self.hook_dict[own].fired == before[own] for own in meant):
                    raise UnreachedPointError(
                        f"a hook is for {', '.join(meant[:3])}{' ...' * (len(meant) > 3)}, none of "
                        "which this pass reached"
                    )
        return made

    def run_with_cache(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Inputs,
        names_filter: Any = None,
        *,
        return_type: str | None = "logits",
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        pos_slice: Any = None,
        stop_at_layer: int | None = None,
        return_cache_object: bool = True,
        clear_contexts: bool = False,
        reset_hooks_end: bool = True,
        incl_bwd: bool = False,
        **options: Any,
    ) -> tuple[Float[Tensor, "..."] | None, ActivationCache | dict[str, Shaped[Tensor, "..."]]]:
        """Logits and every activation that the filter names, as in TransformerLens.

        Args:
            inputs: from ``inputs`` or ``inputs_from``.
            names_filter: a name, a list of names, a predicate, or None for every point that
                this pass reaches.
            return_type: ``"logits"``, or None.
            device: where to keep what is saved.
            remove_batch_dim: take the batch's axis away, where it is one sample.
            pos_slice: keep these positions (queries, at scores and patterns) only: an index, which
                takes the axis away, a slice, or its ends as a tuple.
            stop_at_layer: end the pass before this block, and return the residual stream that
                would enter it in place of logits.
            return_cache_object: False for a dictionary of tensors.
            clear_contexts: clear the hooks' contexts at the end.
            reset_hooks_end: must be True: what saves is always taken off.
            incl_bwd: must be False: take gradients with ``run(..., grad=True)``.
            options: ``interventions``, ``attention``, ``grad`` and ``logits``, as in ``run``.

        Raises:
            UnknownKeywordError: any other keyword.
            UnknownPointError: a filter that names no point.

        Examples:
            >>> inputs = model.inputs(sample)
            >>> logits, cache = model.run_with_cache(inputs, "blocks.*.hook_resid_post")
            >>> len(cache), cache["resid_post", 0].shape
            (4, torch.Size([1, 78, 128]))
            >>> _, cache = model.run_with_cache(inputs, remove_batch_dim=True, pos_slice=-1)
            >>> cache["resid_post", 0].shape
            torch.Size([128])
        """
        vlm: Any = self
        known = [*OF_A_RUN, *(AsTransformerLens.run_with_cache.__kwdefaults__ or ())]
        refuse_unknown(options, known, "run_with_cache(...)", INSTEAD)
        inputs = as_inputs(inputs, "run_with_cache")
        _refuse_loss(return_type)
        if flag(incl_bwd, "incl_bwd"):
            raise InputError(
                "incl_bwd=True takes a loss to go back from: run(inputs, save=..., grad=True) "
                "keeps the graph, and torch.autograd.grad takes gradients of what was saved"
            )
        if not flag(reset_hooks_end, "reset_hooks_end"):
            raise InputError("reset_hooks_end=False: what saves here is always taken off")
        if flag(remove_batch_dim, "remove_batch_dim") and len(inputs) != 1:
            raise InputError(f"remove_batch_dim=True is for one sample; these are {len(inputs)}")
        stop = None if stop_at_layer is None else self._block(stop_at_layer)
        names = wanted(vlm, names_filter, inputs, stop)
        if stop is None:
            run = self.run(inputs, save=names, **options)
            made, saved = run.logits, run.saved
        else:
            last = f"blocks.{stop - 1}.hook_resid_post"
            run = self.run(inputs, save=[*names, Save(last)], **options | {"logits": False})
            made, saved = run.saved[last], only(run.saved, filtered(vlm, names))
        if flag(clear_contexts, "clear_contexts"):
            self.clear_contexts()
        saved = shaped(saved, remove_batch_dim, pos_slice, device)
        return (
            None if return_type is None else made,
            saved if flag(return_cache_object, "return_cache_object") else dict(saved),
        )

    def _block(self, given: int) -> int:
        """The block that ``stop_at_layer`` means."""
        at = whole(given, "stop_at_layer", -self.layers, self.layers)
        at += self.layers * (at < 0)
        if at == 0:
            raise InputError("stop_at_layer=0 runs no block: save='hook_embed' is what enters them")
        return at


def _refuse_loss(return_type: Any) -> None:
    if return_type is not None and not (isinstance(return_type, str) and return_type == "logits"):
        raise InputError(
            f"return_type={shown(return_type)}; there is: 'logits', None. A loss would be of image "
            "tokens as well: take log_softmax of the logits at the positions that count"
        )
