"""Beam search: transformers' own, which asks our passes where it would ask its model."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, GenerationConfig, GenerationMixin, PreTrainedConfig
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import EosTokenCriteria, StoppingCriteriaList
from transformers.modeling_outputs import CausalLMOutputWithPast

from vlmlens.checks import number, one_of, whole
from vlmlens.inputs import Inputs


@dataclass(frozen=True)
class Beams:
    """How widely is searched; what is None is as the checkpoint says.

    Attributes:
        number: beams of a sample; 1 for no search.
        length_penalty: a beam's score is its log-probability / length ** length_penalty.
        early_stopping: whether a sample is done once that many of its beams have ended;
            ``"never"`` for when none can become better.

    Raises:
        InputError: values that make no sense.
    """

    number: Any = None
    length_penalty: Any = None
    early_stopping: Any = None

    def __post_init__(self):
        if self.number is not None:
            object.__setattr__(self, "number", whole(self.number, "num_beams", least=1))
        if self.length_penalty is not None:
            penalty = float(number(self.length_penalty, "length_penalty"))
            object.__setattr__(self, "length_penalty", penalty)
        if self.early_stopping is not None and not isinstance(self.early_stopping, bool):
            one_of(self.early_stopping, "early_stopping", ("never",), " or True or False")

    def of(self, settings: Any) -> "Beams":
        """The same, with what a checkpoint's ``generation_config`` says."""
        names = {"number": "num_beams"}
        told = {
            name: getattr(settings, names.get(name, name), None) if own is None else own
            for name, own in vars(self).items()
        }
        return Beams(**{**told, "number": told["number"] or 1})


@dataclass(frozen=True, eq=False)
class Found:
    """The best beam of every sample, token by token; decoding takes it for a ``Choice``.

    Attributes:
        tokens: what it says, and what stands behind its end.
        lengths: how many tokens each sample has, the end token included.
        scores: its log-probability / length ** length_penalty, processors' changes included.
        ends: the end tokens.
        filler: what stands after an answer's end.
        prompt: how long the prompts are.
    """

    tokens: Int[Tensor, "batch step"]
    lengths: Int[Tensor, " batch"]
    scores: Float[Tensor, " batch"]
    ends: tuple[int, ...]
    filler: int
    prompt: int

    def token(
        self, ids: Int[Tensor, "batch pos"], logits: Float[Tensor, "batch vocab"]
    ) -> Int[Tensor, " batch"]:
        """The next token of every sample's best beam."""
        return self.tokens[:, ids.shape[1] - self.prompt]

    def done(self, ids: Int[Tensor, "batch pos"]) -> Bool[Tensor, " batch"]:
        """Which samples' answers end with the newest token."""
        return self.lengths <= ids.shape[1] - self.prompt


def search(
    choice: Any,
    inputs: Inputs,
    logits: Float[Tensor, "batch vocab"],
    cache: Cache,
    one_pass: Callable[..., Any],
    named: Callable[[Inputs], Inputs],
    most: int,
) -> Found:
    """The best beam of every sample, after prompts whose pass was made.

    Args:
        choice: how tokens are chosen, and its ``beams``.
        inputs: the prompts.
        logits: of their last position.
        cache: their keys and values, which stay as they are.
        one_pass: runs the model under the interventions.
        named: has layouts say what the newest token is.
        most: tokens at most.
    """
    ids = inputs.tensors["input_ids"]
    asked = _Asked(choice.beams.number, inputs, logits, copy.deepcopy(cache), one_pass, named)
    told = {
        "length_penalty": choice.beams.length_penalty,
        "early_stopping": choice.beams.early_stopping,
        "eos_token_id": list(choice.ends) or None,
    }
    settings = GenerationConfig(
        **{name: value for name, value in told.items() if value is not None},
        num_beams=choice.beams.number,
        max_length=ids.shape[1] + most,
        pad_token_id=choice.filler,
        return_dict_in_generate=True,
        output_scores=True,
        use_cache=False,
    )
    # It makes these from the end tokens, and would warn of two.
    criteria = [one for one in choice.criteria if not isinstance(one, EosTokenCriteria)]
    made: Any = _Searched(asked, settings, inputs).generate(
        ids,
        attention_mask=inputs.tensors["attention_mask"],
        generation_config=settings,
        logits_processor=LogitsProcessorList(choice.processors),
        stopping_criteria=StoppingCriteriaList(criteria),
    )
    said, there = made.sequences[:, ids.shape[1] :], made.beam_indices >= 0
    return Found(
        said.where(there, choice.filler),  # it has an end token, or -1, in the place of pad token 0
        there.sum(1),
        made.sequences_scores,
        choice.ends,
        choice.filler,
        ids.shape[1],
    )


class _Asked:
    """The logits of all beams' next tokens, which follow from the beams' tokens alone.

    A row of beams is a sample's: sample 0's, then sample 1's. Each grew out of a row of the step
    before, whose keys and values it goes on from.
    """

    def __init__(
        self,
        beams: int,
        inputs: Inputs,
        logits: Float[Tensor, "batch vocab"],
        cache: Cache,
        one_pass: Callable[..., Any],
        named: Callable[[Inputs], Inputs],
    ):
        self._beams, self._first = beams, logits
        self._pass, self._named = one_pass, named
        self._cache: Any = cache
        self._turns: Sequence[Inputs] = [inputs] * beams  # every sample's first beam, second, ...
        self._step = 0

    def logits(self, ids: Int[Tensor, "rows pos"]) -> Float[Tensor, "rows vocab"]:
        """Those of the next tokens of all beams."""
        beams = self._beams
        rows = ids.unflatten(0, (-1, beams))
        if not self._step:
            self._step = 1
            prompts = torch.arange(len(rows), device=ids.device).repeat_interleave(beams)
            self._cache.reorder_cache(prompts)
            return self._first.repeat_interleave(beams, 0)
        parents = self._parents(rows[..., :-1])
        at = torch.arange(len(rows), device=ids.device)[:, None] * beams
        self._cache.reorder_cache((parents + at).flatten())
        self._turns = [
            self._named(self._grown(turn, rows[:, turn], parents[:, turn].tolist()))
            for turn in range(beams)
        ]
        grown = self._turns[0].tensors  # but for ids, the same in all beams of a sample
        newest = grown["position_ids"][..., -1:].repeat_interleave(beams, -2)
        mask = grown["attention_mask"].repeat_interleave(beams, 0)
        given = {"input_ids": ids[:, -1:], "position_ids": newest, "attention_mask": mask}
        logits, _ = self._pass(
            self._turns[0], given, step=self._step, cache=self._cache, beams=self._turns
        )
        self._step += 1
        return logits[:, -1]

    def _parents(self, before: Int[Tensor, "batch beam pos"]) -> Int[Tensor, "batch beam"]:
        """Which beam of the step before each beam goes on from: one of the very same tokens."""
        was = torch.stack([turn.tensors["input_ids"] for turn in self._turns], 1)
        return (before[:, :, None] == was[:, None]).all(-1).long().argmax(-1)

    def _grown(self, turn: int, ids: Int[Tensor, "batch pos"], parents: Sequence[int]) -> Inputs:
        """One beam of every sample, with its newest token."""
        own = self._turns[turn]
        layouts = tuple(self._turns[old].layouts[row] for row, old in enumerate(parents))
        kept = ("position_ids", "attention_mask")
        tensors = {name: own.tensors[name] for name in kept} | {"input_ids": ids[:, :-1]}
        return replace(own, tensors=tensors, layouts=layouts).appended(ids[:, -1:])


class _Searched(GenerationMixin):
    """What transformers searches with: no model, but what says which logits a model has."""

    main_input_name = "input_ids"

    def __init__(self, asked: _Asked, settings: GenerationConfig, inputs: Inputs):
        self._asked, self.generation_config = asked, settings
        self.config = PreTrainedConfig()
        self.device = inputs.tensors["input_ids"].device

    def prepare_inputs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_ids: Int[Tensor, "rows pos"], attention_mask: Any = None, **_: Any
    ) -> dict[str, Any]:
        """The tokens, from which all else follows."""
        return {"input_ids": input_ids}

    def forward(
        self, input_ids: Int[Tensor, "rows pos"], attention_mask: Any = None, **_: Any
    ) -> CausalLMOutputWithPast:
        """The logits of the next tokens."""
        return CausalLMOutputWithPast(logits=self._asked.logits(input_ids)[:, None])  # type: ignore[arg-type]

    __call__ = forward
