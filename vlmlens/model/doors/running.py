"""Passes: one, a clean one that others start from, and many that do."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import ActivationCache, Save
from vlmlens.checks import flag
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention, as_edits
from vlmlens.model.doors.caching import batched
from vlmlens.model.doors.given import as_cells, as_inputs, as_prefill, as_saves, prepared
from vlmlens.model.doors.preparing import Preparing
from vlmlens.model.lifetime.journal import in_turn
from vlmlens.model.passes.edits import embeds, refuse_idle
from vlmlens.model.passes.one_pass import one_pass
from vlmlens.model.passes.run import Run
from vlmlens.model.reading.residual import ResidualStream
from vlmlens.model.reuse.prefill import Prefill, prefill
from vlmlens.model.reuse.resume import Resumed, resume
from vlmlens.model.wiring.attention import UNCAPPED
from vlmlens.positions import Positions


class Running(Preparing):
    """How ``HookedVLM`` runs passes; see there."""

    @checked
    @in_turn
    def run(
        self,
        inputs: Inputs,
        interventions: Intervention | Sequence[Intervention] = (),
        save: str | Save | Sequence[str | Save] = (),
        *,
        logits: bool | Positions = True,
        attention: str = "auto",
        grad: bool = False,
    ) -> Run:
        """One pass.

        Args:
            inputs: from ``inputs`` or ``inputs_from``.
            interventions: edits, applied in order; or one.
            save: points to keep, as names, patterns or ``Save``.
            logits: those of every position; or of some, the same number in every sample, such
                as ``"last"``; or False, for none: the pass then ends with the last block that
                anybody watches.
            attention: ``"auto"`` for the implementation that the model was opened with, or
                ``"eager"`` or ``"sdpa"``. Compare runs of one kind only: in half precision the
                two differ by more than many effects.
            grad: keep the graph, for gradients with respect to what is saved.

        Raises:
            UnknownPointError: a point that the model does not have.
            UnreachedPointError: a point that this pass never reached.
            EmptySelectionError: a selection that is empty.
            ClosedModelError: the model was closed.

        Examples:
            >>> from vlmlens.interventions import KnockOut
            >>> inputs = model.inputs(samples)
            >>> cut = KnockOut(where=vl.Where(layers=(0, 1), queries="user", keys="vision"))
            >>> run = model.run(inputs, cut, save="blocks.0.attn.hook_z", logits="last")
            >>> run.logits.shape, run.saved["z", 0].shape  # batch pos vocab; batch pos head d_head
            (torch.Size([4, 1, 418]), torch.Size([4, 80, 4, 32]))
        """
        self.check_open()
        edits, saves = as_edits(interventions), as_saves(save)
        refuse_idle(edits, steps=1)
        inputs = prepared(as_inputs(inputs, "run"), edits)
        with (
            self.implementations.take(attention) as used,
            torch.set_grad_enabled(flag(grad, "grad")),
        ):
            made, saved = one_pass(self, inputs, inputs.tensors, edits, saves, logits=logits)
        return self.ran(used, inputs, made, saved)

    @checked
    @in_turn
    def prefill(
        self,
        inputs: Inputs,
        save: str | Sequence[str] = (),
        *,
        after: Prefill | None = None,
        interventions: Intervention | Sequence[Intervention] = (),
        attention: str = "auto",
    ) -> Prefill:
        """One sample's clean pass, and everything that edited passes can start from.

        Args:
            inputs: one sample.
            interventions: edits of ``hook_embed`` alone, noise on the image's embeddings for
                example: edited passes then start from that run, and not from the clean one.
            save: points of the language model to keep, of every position.
            after: an earlier prefill, of another question about the same images for example: the
                tower and all positions that the two share are not computed again, where a
                position's keys follow from what came before it alone. ``shared`` says how many.
            attention: as in ``run``; what is resumed runs the same way.

        Raises:
            InputError: several samples, padding, hooks that are still on, or edits of other
                points, which belong to the cells that are resumed.

        Examples:
            >>> first = model.prefill(model.inputs(sample))
            >>> other = vl.Sample("What color is at the bottom?", sample.images)
            >>> model.prefill(model.inputs(other), after=first).shared  # positions
            74
        """
        self.check_open()
        inputs = as_inputs(inputs, "prefill")
        if after is not None:
            as_prefill(after, "after")
        names = [name for each in as_saves(save) for name in self.matching(each.points)]
        edits, entering = as_edits(interventions), None
        if edits:
            if others := [str(edit) for edit in edits if not embeds(edit)]:
                raise InputError(
                    f"{others[0]} edits more than hook_embed, which a prefill keeps: put it into "
                    "every cell, model.resume(prefill, [[edit, ...], ...])"
                )
            run = self.run(inputs, edits, "hook_embed", logits=False, attention=attention)
            entering = run.saved["hook_embed"].detach()
        with self.implementations.take(attention):
            return prefill(self, inputs, attention, after, names, entering)

    @checked
    @in_turn
    def resume(
        self,
        prefill: Prefill,
        cells: Sequence[Sequence[Intervention]],
        positions: Positions = "last",
        *,
        unseen: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Resumed:
        """Many edited passes over one sample, each computing what its edits can change.

        An edit at block l and position p changes nothing below l and nothing before p. Nor are the
        tower, the projector, and rows of logits that nobody asked for computed again. Cells are
        rows of a batch, whose size is halved when memory runs out. Where a cell cannot be resumed
        (it edits the tower, or the inputs), its whole pass is run, and ``whole`` says why.

        Args:
            prefill: from ``prefill``.
            cells: lists of interventions, each applied in order.
            positions: whose logits are wanted, as in ``Save.rows``; the same number in every cell.
            unseen: let cells be whose keys no query sees, which change nothing: a map has such
                places, and elsewhere they are a mistake.
            progress: called with the number of cells that were just done.

        Examples:
            >>> from vlmlens.interventions import ZeroAblate
            >>> inputs = model.inputs(sample)
            >>> cells = [[ZeroAblate(f"blocks.{layer}.hook_mlp_out")] for layer in range(4)]
            >>> found = model.resume(model.prefill(inputs), cells)
            >>> whole = model.run(inputs, cells[2], logits="last").logits[0]
            >>> torch.allclose(found.logits[2], whole, atol=1e-3)
            True
        """
        self.check_open()
        return resume(self, as_prefill(prefill), as_cells(cells), positions, progress, unseen)

    def stream(self, saved: ActivationCache) -> ResidualStream:
        """The residual stream of one of its runs, to be taken apart.

        Examples:
            >>> run = model.run(model.inputs(sample), save="blocks.*.hook_resid_*")
            >>> model.stream(run.saved).accumulated_resid().shape  # component batch pos d_model
            torch.Size([5, 1, 78, 128])
        """
        return ResidualStream(self, batched(self, saved))

    def ran(
        self,
        attention: str,
        inputs: Inputs,
        logits: Float[Tensor, "batch pos vocab"],
        saved: ActivationCache,
    ) -> Run:
        """What a pass came to, with what reads it needs to know of this model.

        Examples:
            >>> run = model.run(model.inputs(sample), save="hook_embed")
            >>> model.ran("sdpa", run.inputs, run.logits, run.saved).attention
            'sdpa'
        """
        capped = None if attention in UNCAPPED else self.softcap
        return Run(inputs, logits, saved, attention, self.rope, self.scaling, capped)
