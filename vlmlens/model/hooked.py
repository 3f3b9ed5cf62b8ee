"""HookedVLM: open a model; prepare inputs; run; generate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vlmlens import identity, zoo
from vlmlens.cache import ActivationCache, Save
from vlmlens.checks import flag, told
from vlmlens.errors import InputError
from vlmlens.interventions import Intervention, as_edits
from vlmlens.model.audit.findings import Audit
from vlmlens.model.audit.measure import audit
from vlmlens.model.decoding import choosing, generate
from vlmlens.model.decoding.score import scores
from vlmlens.model.doors.as_transformer_lens import AsTransformerLens
from vlmlens.model.doors.given import (
    as_answered,
    as_answers,
    as_cells,
    as_inputs,
    as_prefill,
    as_saves,
    as_texts,
    prepared,
)
from vlmlens.model.lifetime.journal import in_turn
from vlmlens.model.passes.one_pass import one_pass, refuse_idle, refuse_unfinished
from vlmlens.model.passes.run import Generation, Run
from vlmlens.model.reading import notebook as html
from vlmlens.model.reuse.pictures import Reuse
from vlmlens.model.reuse.prefill import Prefill, prefill
from vlmlens.model.reuse.resume import Resumed, resume
from vlmlens.model.sequence.cropping import warn_of_crops
from vlmlens.model.sequence.raw import Roles, from_tensors
from vlmlens.model.sequence.samples import Inputs, from_samples
from vlmlens.model.wiring.attention import UNCAPPED
from vlmlens.positions import Positions
from vlmlens.sample import Picture, Sample


class HookedVLM(AsTransformerLens):
    """A Hugging Face vision-language model with a hook point at every step.

    transformers runs its own model, unchanged: with nobody watching, logits are its logits bit
    for bit. ``run_with_hooks``, ``run_with_cache``, ``hooks``, ``add_hook``, ``reset_hooks`` and
    ``hook_dict`` work as in TransformerLens; ``run`` and ``generate`` add interventions, probes'
    rows and clean-up. Close it (or use ``with``) to leave the model as it was found.

    Args:
        hf_model: a transformers model. A family without a file of its own is wired as far as it
            can be recognised: ``audit`` says what that is worth.
        processor: its processor; without one, use ``inputs_from``.
        name: what results call the model.
        revision: which version of its weights this is, part of what identifies a result; by
            default a hash of them, made when it is first needed.

    Raises:
        UnsupportedModelError: a model that sees no images, or whose parts cannot be recognised.

    Attributes:
        hook_dict: every point by name.
        absent: why points that exist in principle do not exist here, by name.
        recognised: whether the points were recognised without a family of their own.
    """

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str = "auto",
        **options: Any,
    ) -> "HookedVLM":
        """Open a bundled model by name, a local folder, or a model of the Hugging Face hub.

        Args:
            model: ``"shapes-base"``, a path, or a hub id such as ``"llava-hf/llava-1.5-7b-hf"``.
            device: where to put it; by default where transformers does.
            dtype: of the weights; by default as they were saved.
            options: passed on to transformers, such as ``device_map="auto"`` or ``revision``.

        Raises:
            UnknownModelError: no such model, or the hub is out of reach.
            UnsupportedModelError: a model that sees no images, or whose parts are not recognised.
            InputError: a device or dtype that is not there.
        """
        if str(device) == "meta":
            raise InputError("device='meta' holds no weights, so nothing can run: name another")
        hf_model, processor = zoo.load(model, dtype=dtype, **options)
        if device is not None:
            try:
                hf_model.to(device)
            except (RuntimeError, AssertionError) as error:
                raise InputError(f"cannot put the model on device={device!r}: {error}") from error
        return cls(hf_model, processor, str(model), zoo.revision(str(model), hf_model))

    # ------------------------------------------------------------------ inputs

    @told
    def inputs(
        self,
        samples: Sequence[Sample] | Sample | Picture,
        prompts: Sequence[str] | str | None = None,
        *,
        system: str | None = None,
        answers: Sequence[str] | None = None,
        padding: str = "left",
    ) -> Inputs:
        """Samples, or images and prompts, as tensors with the role of every position.

        Args:
            samples: samples; or, with ``prompts``, one picture a prompt, or a list of them, in
                whatever way ``Sample.images`` takes them.
            prompts: what the user says, without chat template. ``<image>`` places the images;
                left out, they come first.
            system: a system prompt, for templates that know one.
            answers: what the assistant says, one a sample, in the role ``assistant`` after each
                prompt, as the template ends a turn; None stops where the answer begins.
            padding: the side on which shorter samples are padded.

        Where the processor hides more than a twentieth of a picture, the log says so, once a
        model; ``layouts[sample].seen(image)`` says how much is left of each.

        Raises:
            InputError: images and placeholders differ in number, texts cannot be traced, or the
                processor refuses a picture; the message names the sample.
            ImageError: an image that cannot be read.
        """
        if self.processor is None:
            raise InputError("this model was opened without a processor: use inputs_from(...)")
        given: Any = samples if prompts is None else _samples(samples, prompts)
        given = list(given) if isinstance(given, Sequence) else [given]
        if not all(isinstance(item, Sample) for item in given):
            raise InputError("pass samples, or images together with prompts")
        said = None if answers is None else as_answers(answers)
        make = partial(
            from_samples,
            given,
            self.processor,
            self.family,
            self.hf_model,
            system=system,
            answers=said,
            padding=padding,
        )
        if self._reuse is None:
            made = make()
        else:
            seen = tuple((id(sample), identity.scene(sample)) for sample in given)
            made = self._reuse.inputs((*seen, system, said, padding), given, make)
        self._told_of_crops = self._told_of_crops or warn_of_crops(made.layouts, str(self.name))
        return made

    def inputs_from(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        roles: Roles | Sequence[Roles] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
        **images: Tensor,
    ) -> Inputs:
        """Raw tensors, and the role of every position.

        Args:
            input_ids: tokens (batch, pos), image placeholders already expanded.
            attention_mask: 0 where a position is padding.
            roles: the role of every position, or half-open ranges by role
                (``{"system": (1, 10), "user": [(10, 12), (28, 37)]}``), for all samples or one
                each. Image and padding positions are found without; left out altogether, the
                rest is ``user``; in a mapping, what is not named is ``template``.
            sizes: width and height of every original image, for boxes in its pixels.
            images: ``pixel_values`` and whatever else the model takes of images
                (``image_grid_thw``, ``image_sizes``, ...), in order over the whole batch.

        Raises:
            InputError: tensors or roles that do not fit together.
        """
        given = {name: tensor for name, tensor in images.items() if tensor is not None}
        return from_tensors(
            input_ids,
            self.family,
            self.hf_model,
            attention_mask=attention_mask,
            roles=roles,
            sizes=sizes,
            images=given,
            processor=self.processor,
        )

    # ------------------------------------------------------------------ running

    @told
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
            UnreachedPointError: a point that this pass never came by.
            EmptySelectionError: a selection that is empty.
            ClosedModelError: the model was closed.
        """
        self._check_open()
        edits, saves = as_edits(interventions), as_saves(save)
        refuse_idle(edits, steps=1)
        inputs = prepared(as_inputs(inputs, "run"), edits)
        with self._roads.take(attention) as road, torch.set_grad_enabled(flag(grad, "grad")):
            made, saved = one_pass(self, inputs, inputs.tensors, edits, saves, logits=logits)
        return self._ran(road, inputs, made, saved)

    @told
    @in_turn
    def prefill(
        self,
        inputs: Inputs,
        save: str | Sequence[str] = (),
        *,
        after: Prefill | None = None,
        attention: str = "auto",
    ) -> Prefill:
        """One sample's clean pass, and everything that edited passes can start from.

        Args:
            inputs: one sample.
            save: points of the language model to keep, of every position.
            after: an earlier prefill, of another question about the same images for example: the
                tower and all positions that the two share are not computed again, where a
                position's keys follow from what came before it alone. ``shared`` says how many.
            attention: as in ``run``; what is resumed runs the same way.

        Raises:
            InputError: several samples, padding, or hooks that are still on.
        """
        self._check_open()
        inputs = as_inputs(inputs, "prefill")
        if after is not None:
            as_prefill(after, "after")
        names = [name for each in as_saves(save) for name in self.matching(each.points)]
        with self._roads.take(attention):
            return prefill(self, inputs, attention, after, names)

    @told
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
            positions: whose logits are wanted, as in ``Save.rows``.
            unseen: let cells be whose keys no query sees, which change nothing: a map has such
                places, and elsewhere they are a mistake.
            progress: called with the number of cells that were just done.
        """
        self._check_open()
        return resume(self, as_prefill(prefill), as_cells(cells), positions, progress, unseen)

    @told
    @in_turn
    def generate(
        self,
        inputs: Inputs,
        interventions: Intervention | Sequence[Intervention] = (),
        save: str | Save | Sequence[str | Save] = (),
        *,
        max_new_tokens: int = 16,
        min_new_tokens: int | None = None,
        temperature: int | float = 0.0,
        seed: int = 0,
        stop: bool = True,
        answered: Sequence[Inputs] = (),
        attention: str = "auto",
    ) -> Generation:
        """Continue the prompt token by token, under interventions, with the key-value cache.

        Tokens are chosen as the checkpoint's ``generation_config`` says and transformers'
        ``generate`` does: penalties for repetition, tokens that are suppressed or forced, several
        end tokens, strings that stop. The logits of the steps, and the scores of answers, are the
        model's own, before any of that.

        Args:
            inputs: left-padded, or of one length.
            interventions: edits, applied in order at every step; or one. Positions of the prompt
                come by in step 0 only; at scores and patterns, keys of the prompt at every step.
            save: points to keep, of every step.
            max_new_tokens: how many tokens at most.
            min_new_tokens: no end token before so many; by default as the checkpoint says.
            temperature: 0 takes the likeliest token; otherwise tokens are drawn, as transformers'
                ``generate(do_sample=True)`` draws them: with the checkpoint's ``top_k``, ``top_p``
                and the like.
            seed: for drawing.
            stop: end at the model's end token; otherwise go on to ``max_new_tokens``.
            answered: the same prompts with answers, ``inputs(..., answers=...)``: how likely these
                are, in ``scores``. They start from the prompt's keys and values, unless an edit
                may reach them, or the model remembers more than that; then ``scores.whole`` says
                why the prompt was run once more.
            attention: as in ``run``.

        Raises:
            InputError: padding on the right, numbers that make no sense, a checkpoint that is set
                to another way of decoding, such as ``num_beams=4``, or an edit for steps of which
                none came for some sample: its answer ended before.
        """
        self._check_open()
        wish = choosing.Wish(max_new_tokens, min_new_tokens, temperature, seed, stop)
        edits, saves = as_edits(interventions), as_saves(save)
        refuse_idle(edits, wish.most)
        inputs = prepared(as_inputs(inputs, "generate"), edits)
        answers = [prepared(one, edits) for one in as_answered(answered)]
        edited = partial(one_pass, self, interventions=edits)
        tokenizer = getattr(self.processor, "tokenizer", None)
        with self._roads.take(attention) as road, torch.no_grad():
            said = generate.decode(
                inputs,
                partial(edited, saves=saves),
                partial(self._ran, road),
                tokenizer=tokenizer,
                choice=choosing.choice(wish, self.hf_model, inputs.tensors, tokenizer),
                cache=generate.empty_cache(self.config.get_text_config()),
                max_new_tokens=wish.most,
                score=partial(scores, inputs, answers, edits, edited),
            )
        refuse_unfinished(edits, said.lengths.tolist())
        return said

    @contextmanager
    def reuse(self) -> Iterator[Reuse]:
        """Share what passes about the same pictures have in common while this lasts.

        ``inputs`` of the same samples are made once; and a pass about images that tower and
        projector have seen takes what they made of them, where nobody watches or edits these and
        no graph is kept. Results are the same. The last few batches are kept.

        Yields:
            A ``Reuse``, which counts, and says why where nothing can be shared.
        """
        before = self._reuse

        def put_back() -> None:
            self._reuse = before

        with self.noted(put_back):
            self._reuse = before or Reuse()
            yield self._reuse

    @in_turn
    def audit(self, inputs: Inputs | None = None) -> Audit:
        """What this model offers, and by how much every law is missed on it.

        Points: where each kind is present, whether one pass comes by, whether an edit of it
        reaches the logits. Laws: logits equal plain transformers', with nobody watching and with
        every point saved; the stream adds up; nothing attends to what comes later; turned queries
        and keys; decoding with the cache; a padded batch.

        Args:
            inputs: what to measure on; by default two drawn pictures and questions.

        Returns:
            An ``Audit``, which prints as a table.
        """
        self._check_open()
        return audit(self, None if inputs is None else as_inputs(inputs, "audit"))

    def _ran(self, road: str, inputs: Inputs, logits: Tensor, saved: ActivationCache) -> Run:
        capped = None if road in UNCAPPED else self.softcap
        return Run(inputs, logits, saved, road, self.rope, self.scaling, capped)

    def __enter__(self) -> "HookedVLM":
        return self

    def _repr_html_(self) -> str:
        return html.model_html(self, self._closed)

    def __repr__(self) -> str:
        return (
            f"HookedVLM({self.name}: {self.config.model_type}, {self.layers} layers, "
            f"{len(self.hook_dict)} points, attention {self.attention}"
            f"{', closed' if self._closed else ''})"
        )


def _samples(images: Any, prompts: Sequence[str] | str) -> list[Sample]:
    if isinstance(prompts, str):
        alone = isinstance(images, list | tuple) and len(images) == 1
        prompts, images = [prompts], images if alone else [images]
    prompts = as_texts(prompts, "prompts")
    # A path is a sequence too, and so are bytes.
    if not isinstance(images, Sequence) or isinstance(images, str | bytes | memoryview):
        images = [images]
    if len(images) != len(prompts):
        raise InputError(
            f"{len(images)} entries of images for {len(prompts)} prompts: give one each"
        )
    return [Sample(question=p, images=i) for i, p in zip(images, prompts, strict=True)]
