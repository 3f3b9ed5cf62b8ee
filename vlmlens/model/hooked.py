"""HookedVLM: open a model; prepare inputs; run; generate."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vlmlens import zoo
from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import found_at
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention, as_edits
from vlmlens.model.audit.findings import Audit
from vlmlens.model.audit.measure import audit
from vlmlens.model.decoding import choosing, generate
from vlmlens.model.decoding.beams import Beams
from vlmlens.model.decoding.likelihood import scores
from vlmlens.model.decoding.streaming import as_streamer
from vlmlens.model.doors.given import (
    as_answered,
    as_inputs,
    as_saves,
    prepared,
)
from vlmlens.model.doors.running import Running
from vlmlens.model.lifetime.journal import in_turn
from vlmlens.model.passes.edits import refuse_idle, refuse_unfinished
from vlmlens.model.passes.one_pass import one_pass
from vlmlens.model.passes.run import Generation
from vlmlens.model.reading import notebook
from vlmlens.model.sequence.fitting import check_fit
from vlmlens.tensors import as_device


class HookedVLM(Running):
    """A Hugging Face vision-language model with a hook point at every step.

    transformers runs its own model, unchanged: with nobody watching, logits are its logits bit
    for bit. ``run_with_hooks``, ``run_with_cache``, ``hooks``, ``add_hook``, ``reset_hooks`` and
    ``hook_dict`` work as in TransformerLens; ``run`` and ``generate`` add interventions, probes'
    rows and clean-up. Close it (or use ``with``) to leave the model as it was found.

    Args:
        hf_model: a transformers model. A family without a file of its own is wired as far as it
            can be recognised: ``audit`` says which points then work.
        processor: its processor; without one, use ``inputs_from``.
        name: what results call the model.
        revision: which version of its weights this is, part of what identifies a result; by
            default a hash of them, made when it is first needed.

    Raises:
        InputError: what is no model, or no processor: a tokenizer alone, say.
        UnsupportedModelError: a model that sees no images, or whose parts cannot be recognised.

    Attributes:
        hook_dict: every point by name.
        absent: why points that exist in principle do not exist here, by name.
        recognised: whether the points were recognised without a family of their own.

    Examples:
        >>> model = vl.HookedVLM.from_pretrained("shapes-base")
        >>> model
        HookedVLM(shapes-base: llava, 4 layers, 226 points, attention sdpa)
        >>> run = model.run(model.inputs(samples), save="blocks.*.attn.hook_pattern")
        >>> run.logits.shape, run.saved["pattern", 0].shape
        (torch.Size([4, 80, 418]), torch.Size([4, 4, 80, 80]))
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
            UnknownModelError: no such model.
            UnreachableError: the hub is out of reach, or does not give it to this user.
            UnsupportedModelError: a model that sees no images, or whose parts are not recognised.
            InputError: a device or dtype that is not there; a revision of what lies in a folder.

        Examples:
            >>> vl.HookedVLM.from_pretrained("shapes-base", dtype="float64").hf_model.dtype
            torch.float64
            >>> vl.HookedVLM.from_pretrained("shapes-bsae")
            Traceback (most recent call last):
            vlmlens.errors.UnknownModelError: no model 'shapes-bsae'; did you mean shapes-base, ...
        """
        place = None if device is None else as_device(device)
        hf_model, processor = zoo.load(model, dtype=dtype, **options)
        if place is not None:
            try:
                hf_model.to(place)
            except (RuntimeError, AssertionError) as error:
                raise InputError(f"cannot put the model on device={device!r}: {error}") from error
        opened = cls(hf_model, processor, str(model), zoo.revision(str(model), hf_model))
        given = {"device": device, "dtype": dtype, **options}
        lies = found_at(model) == "folder" and Path(zoo.find(model)) == Path(model)
        place = Path(model).absolute() if lies else model  # the same from any folder
        opened.opening = (str(place), tuple(given.items()))
        return opened

    @checked
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
        num_beams: int | None = None,
        length_penalty: int | float | None = None,
        early_stopping: bool | str | None = None,
        answered: Sequence[Inputs] = (),
        attention: str = "auto",
        streamer: Any = None,
    ) -> Generation:
        """Continue the prompt token by token, under interventions, with the key-value cache.

        Tokens are chosen as the checkpoint's ``generation_config`` says and transformers'
        ``generate`` does: penalties for repetition, tokens that are suppressed or forced, several
        end tokens, strings that stop. The logits of the steps, and the scores of answers, are the
        model's own, before any of that.

        Args:
            inputs: left-padded, or of one length.
            interventions: edits, applied in order at every step; or one. Positions of the prompt
                are there in step 0 only; at scores and patterns, keys of the prompt at every step.
            save: points to keep, of every step.
            max_new_tokens: how many tokens at most.
            min_new_tokens: no end token before so many; by default as the checkpoint says.
            temperature: 0 takes the likeliest token; otherwise tokens are drawn, as transformers'
                ``generate(do_sample=True)`` draws them: with the checkpoint's ``top_k``, ``top_p``
                and the like.
            seed: for drawing: on a CPU the tokens are those that transformers draws after
                ``torch.manual_seed(seed)``.
            stop: end at the model's end token; otherwise go on to ``max_new_tokens``.
            num_beams: how many beams of every sample transformers' beam search follows; 1 for
                none, by default as the checkpoint says. Edits act on every beam of the samples
                that they mean; hooks see a row a beam, sample by sample. Then the best beam is
                decoded once more for what is saved, from the prompt's own pass.
            length_penalty: a beam's score is its log-probability / length ** this; likewise.
            early_stopping: a sample is done once ``num_beams`` of its beams have ended, or with
                ``"never"`` once none can become better; likewise.
            answered: the same prompts with answers, ``inputs(..., answers=...)``: how likely these
                are, in ``scores``. They start from the prompt's keys and values, unless an edit
                may reach them, or the model remembers more than that; then ``scores.whole`` says
                why the prompt was run once more.
            attention: as in ``run``.
            streamer: is handed every token as it is chosen, as transformers hands it: one of its
                streamers, or what has ``put`` and ``end``. First comes the prompt (batch pos),
                then the newest token of every sample (batch,).

        Raises:
            InputError: padding on the right, numbers that make no sense, a checkpoint that is set
                to another way of decoding, such as ``num_return_sequences=2``, beams with a
                temperature or a streamer, or an edit for steps of which none came for some
                sample: its answer ended before.

        Examples:
            >>> said = model.generate(model.inputs(samples[:2]), max_new_tokens=3)
            >>> said.texts, said.tokens.shape  # batch step
            (('green', 'purple'), torch.Size([2, 2]))
        """
        self.check_open()
        beams = Beams(num_beams, length_penalty, early_stopping)
        request = choosing.Request(max_new_tokens, min_new_tokens, temperature, seed, stop, beams)
        edits, saves = as_edits(interventions), as_saves(save)
        refuse_idle(edits, request.most)
        inputs = prepared(as_inputs(inputs, "generate"), edits)
        listening = as_streamer(streamer, len(inputs))
        answers = [prepared(one, edits) for one in as_answered(answered)]
        edited = partial(one_pass, self, interventions=edits)
        tokenizer = getattr(self.processor, "tokenizer", None)
        with self.implementations.take(attention) as used, torch.no_grad():
            said = generate.decode(
                inputs,
                partial(edited, saves=saves),
                partial(self.ran, used),
                tokenizer=tokenizer,
                choice=choosing.choice(request, self, inputs.tensors, tokenizer),
                cache=generate.empty_cache(self.config.get_text_config()),
                max_new_tokens=request.most,
                beam_pass=edited,
                score=partial(scores, inputs, answers, edits, edited),
                streamer=listening,
            )
        refuse_unfinished(edits, said.lengths.tolist())
        return said

    @checked
    @in_turn
    def audit(self, inputs: Inputs | None = None) -> Audit:
        """What this model offers, and by how much every invariant is missed on it.

        Points: where each kind is present, whether one pass reaches it, whether an edit of it
        reaches the logits. Invariants: logits equal plain transformers', with nobody watching and
        with every point saved; the stream adds up; nothing attends to what comes later; rotated
        queries and keys; decoding with the cache; a padded batch; of a family that is shown
        videos, logits about one.

        Args:
            inputs: what to measure on, but for the video; by default two drawn pictures and
                questions.

        Returns:
            An ``Audit``, which prints as a table.

        Examples:
            >>> from vlmlens.zoo import tiny
            >>> audit = vl.HookedVLM(*tiny.build("llava")).audit()
            >>> audit.holds, audit.points[0].name
            (True, 'vision.hook_embed')
        """
        self.check_open()
        given = None if inputs is None else as_inputs(inputs, "audit")
        warned = self._warned_of_crops
        if given is not None:
            check_fit(self.config, given)

        def put_back() -> None:
            self._warned_of_crops = warned  # of users' pictures, and not of those drawn here

        with self.noted(put_back):
            self._warned_of_crops = True
            return audit(self, given)

    def __enter__(self) -> "HookedVLM":
        return self

    def _repr_html_(self) -> str:
        return notebook.of_model(self, self._closed)

    def __repr__(self) -> str:
        return (
            f"HookedVLM({self.name}: {self.config.model_type}, {self.layers} layers, "
            f"{len(self.hook_dict)} points, attention {self.attention}"
            f"{', closed' if self._closed else ''})"
        )
