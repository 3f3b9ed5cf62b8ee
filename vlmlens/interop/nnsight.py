"""Every vlmlens point in an nnsight trace, by the same name.

nnsight pauses a run wherever something hands it a value under a location. Its own modules do so;
here every hook point does too, in the point's own axes. That reaches the steps inside attention,
which are no modules, by the same road as all others, and what is read or written is what a
vlmlens hook at that point would read or write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import flag
from vlmlens.errors import InputError, UnreachedPointError
from vlmlens.extras import naming_extra
from vlmlens.interventions import Intervention, Site, as_edits
from vlmlens.model import HookedVLM, Inputs
from vlmlens.model.doors.given import as_inputs, prepared
from vlmlens.model.lifetime.journal import Journal, in_turn
from vlmlens.model.passes.edits import add_edits, refuse_idle, refuse_unreached
from vlmlens.model.passes.saves import in_the_graph
from vlmlens.model.passes.watching import new_level, refuse_recomputing, seated
from vlmlens.model.sequence.fitting import check_fit

with naming_extra("vlmlens.interop.nnsight"):
    from nnsight import NNsight
    from nnsight.intervention.interleaver import Interleaver, Mediator, OutOfOrderError
    from nnsight.intervention.source import STATE

PREFIX = "vlmlens."
Activation = Shaped[Tensor, "*axes"]

#: Steps that are computed only where somebody watches; served from the first access on.
COSTLY = ("scores", "pattern", "heads")


@dataclass(frozen=True, eq=False)
class Pass:
    """What one trace runs: transformers' forward, under interventions.

    Attributes:
        vlm: the open model.
        inputs: what goes in, interventions' ``prepare`` done.
        interventions: edits, applied before the trace sees a point.
        attention: as in ``HookedVLM.run``.
        grad: whether the graph is kept.
    """

    vlm: HookedVLM
    inputs: Inputs
    interventions: tuple[Intervention, ...]
    attention: str
    grad: bool

    def __call__(self, _: Inputs) -> Any:
        """Transformers' output."""
        with self.vlm.implementations.take(self.attention), torch.set_grad_enabled(self.grad):
            refuse_recomputing(self.vlm)
            return self.vlm.hf_model(**self.inputs.tensors, use_cache=False)


class TracedVLM(NNsight):
    """A HookedVLM as an nnsight model: its modules as ever, and its points by name.

    The envoys of the transformers model are where nnsight users look for them
    (``traced.model.language_model.layers[0].output``); ``traced.at(name)`` is a point. Close it
    (or use ``with``) to take nnsight's instruments off the model.

    Args:
        vlm: an open model, which goes on working as before beside this.

    Raises:
        ClosedModelError: the model was closed.

    Examples:
        >>> from vlmlens.interop.nnsight import TracedVLM
        >>> with TracedVLM(model) as traced:
        ...     with traced.trace(model.inputs(sample)):
        ...         pattern = traced.at("blocks.0.attn.hook_pattern").value.save()
        >>> pattern.shape  # batch head query key
        torch.Size([1, 4, 78, 78])
    """

    def __init__(self, vlm: HookedVLM):
        vlm.check_open()
        self._vlm = vlm
        self._pass: Pass | None = None
        self._found = {
            module: module.__dict__.get("forward")
            for module in vlm.hf_model.modules()
            if STATE not in module.__dict__
        }
        super().__init__(vlm.hf_model)
        self._hook: Any = partial(_hand_over, interleaver=self.interleaver)

    @property
    def journal(self) -> Journal:
        """The model's journal: passes of both take turns."""
        return self._vlm.journal

    def at(self, name: str) -> "TracedPoint":
        """A point, to be read and written inside a trace.

        Raises:
            UnknownPointError: a point that the model does not have; says why where it exists in
                principle.
            UnreachedPointError: a point that nnsight would see a part of.
        """
        if name not in self._vlm.hook_dict:
            self._vlm.matching([name])
            raise InputError(f"{name!r} is a pattern; a trace reads one point at a time")
        if self._vlm.hook_dict[name].tap.pieces:
            raise UnreachedPointError(
                f"{name} is reached several times in one pass, with one image or window each, and "
                "a trace would see the first alone; save it with HookedVLM.run, or edit it with an "
                "intervention"
            )
        return TracedPoint(self, name)

    def trace(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Inputs,
        interventions: Intervention | Sequence[Intervention] = (),
        *,
        attention: str = "auto",
        grad: bool = False,
        **options: Any,
    ) -> Any:
        """An nnsight trace over one pass.

        Points are read and written in the order in which the pass reaches them, as all of nnsight's
        values are.

        Args:
            inputs: from ``HookedVLM.inputs`` or ``inputs_from``.
            interventions: edits, applied in order, or one; the trace sees what they made.
            attention: as in ``HookedVLM.run``.
            grad: keep the graph, for nnsight's ``backward``. Layers whose scores or pattern the
                trace reads then compute attention explicitly, or there would be no gradient.
            options: passed on to nnsight.

        Raises:
            UnreachedPointError: a point that this pass never reaches, or that it had passed
                before the trace asked for it.
            InputError: asked to run elsewhere, or with an edit of a step that never comes.
            EmptySelectionError: an edit of attention whose queries see none of its keys.
        """
        self._vlm.check_open()
        if options.get("remote"):
            raise InputError(
                "hook points live in this process; to trace on a server, read and write through "
                "vlmlens.interop.native on nnsight's own model (docs/interop.md)"
            )
        edits = as_edits(interventions)
        inputs = prepared(as_inputs(inputs, "trace"), edits)
        job = Pass(self._vlm, inputs, edits, attention, flag(grad, "grad"))
        return super().trace(inputs, fn=job, **options)

    @in_turn
    def interleave(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a pass beside the trace's own code; nnsight calls this."""
        if not isinstance(fn, Pass):
            return super().interleave(fn, *args, **kwargs)
        vlm = self._vlm
        with new_level(vlm) as level, seated(vlm, fn.inputs.layouts):
            refuse_idle(fn.interventions, steps=1)
            check_fit(vlm.config, fn.inputs)
            watched, sights = add_edits(vlm, fn.inputs, fn.interventions, level)
            before = {name: point.fired for name, point in vlm.hook_dict.items()}
            self._pass = fn
            try:
                # Now, and not when they are asked for: torch does not see hooks that are put on
                # a module while it runs, if it had none.
                for point in vlm.hook_dict.values():
                    if point.tap.stage not in COSTLY:
                        point.add_own(self._hook, level)
                output = super().interleave(fn, *args, **kwargs)
            except OutOfOrderError as error:
                raise _explained(error, vlm, before) from error
            finally:
                self._pass = None
            refuse_unreached(vlm, watched, before, fn.inputs.tensors)
            for sight in sights:
                sight.refuse()
        return output

    def close(self) -> None:
        """Take off what nnsight put on the model's modules, unless another tracer uses it."""
        for module, forward in self._found.items():
            state = module.__dict__.get(STATE)
            if state is None or _used_by_others(state, self.interleaver):
                continue
            del module.__dict__[STATE], module.__dict__["forward"]
            if forward is not None:
                module.__dict__["forward"] = forward
        self._found = {}

    def __enter__(self) -> "TracedVLM":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, name: str) -> None:
        """Hand a point's activations to nnsight, in the pass that is being traced."""
        vlm = self._vlm
        point = vlm.hook_dict[name]
        if not any(handle.user_hook is self._hook for handle in point.fwd_hooks):
            level: Any = vlm.context_level
            point.add_own(self._hook, level)


class TracedPoint:
    """One point inside a trace.

    Attributes:
        name: the point's name.
        axes: the names of its dimensions.
    """

    def __init__(self, traced: TracedVLM, name: str):
        self.name, self.axes = name, traced._vlm.hook_dict[name].axes
        self._traced = traced

    @property
    def value(self) -> Any:
        """The activation, in the point's own axes. Edits in place count, as does setting it."""
        self._watch()
        return Mediator.value(_location(self.name))

    @value.setter
    def value(self, x: Any) -> None:
        self._watch()
        Mediator.swap(_location(self.name), x)

    @property
    def site(self) -> Site:
        """Where this is, for an intervention's ``apply``."""
        job = self._running()
        point = job.vlm.hook_dict[self.name].point
        layouts, keys = job.inputs.layouts, job.inputs.keys
        return Site(self.name, self.axes, point.layer, layouts, keys, model=job.vlm)

    def _watch(self) -> None:
        self._running()
        self._traced._serve(self.name)

    def _running(self) -> Pass:
        if self._traced._pass is None:
            raise InputError(f"{self.name} can be read and written inside a trace only")
        return self._traced._pass

    def __repr__(self) -> str:
        return f"TracedPoint({self.name}: {' '.join(self.axes)})"


def _location(name: str) -> str:
    return f"{PREFIX}{name}"


def _hand_over(x: Activation, hook: Any, interleaver: Interleaver) -> Activation | None:
    """Show nnsight's workers an activation; what they made of it, or None if they only looked."""
    location = _location(hook.name)
    if location not in interleaver.parked:
        interleaver.handle(location, x)  # which counts the visit
        return None
    # A copy: a layer's angles are every layer's, and an edit in place has to be this point's alone.
    seen = in_the_graph(x) if (grad := torch.is_grad_enabled()) else x.clone()
    given = interleaver.handle(location, seen)
    if not isinstance(given, Tensor) or given.shape != x.shape:
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"{hook.name} is {tuple(x.shape)}; what was written there is {shape}")
    # With a graph, also what was only read is given back, so that gradients reach it.
    looked = given is seen and seen._version == 0 and not grad
    return None if looked else given.to(x)


def _explained(error: Exception, vlm: HookedVLM, before: dict[str, int]) -> Exception:
    """What to raise where a trace asked for what did not come: the reason, for points of ours."""
    found = [name for name in before if f"'{_location(name)}.i" in str(error)]
    if not found:
        return error
    (name,) = found
    if vlm.hook_dict[name].fired == before[name]:
        return UnreachedPointError(
            f"{name} was asked for in a trace, but this pass never reached it"
        )
    return UnreachedPointError(
        f"{name} was asked for in a trace when the pass had gone by already: ask for points in "
        "the order in which the pass reaches them"
    )


def _used_by_others(state: Any, ours: Interleaver) -> bool:
    return any(ref() is not None and ref() is not ours for ref, *_ in state.routes)
