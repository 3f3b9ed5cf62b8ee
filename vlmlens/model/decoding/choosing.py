"""Which token comes next: by the checkpoint's own settings, as transformers' ``generate`` does.

transformers prepares everything (``generation_config``, logits processors, what ends an answer)
and hands it to a decoding function of ours, which takes it and decodes nothing.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import GenerationMixin
from transformers.generation.logits_process import (
    LogitsProcessorList,
    UnbatchedClassifierFreeGuidanceLogitsProcessor,
)
from transformers.generation.stopping_criteria import (
    MaxLengthCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)

from vlmlens.checks import flag, number, whole
from vlmlens.errors import InputError
from vlmlens.model.decoding.beams import Beams
from vlmlens.model.wiring.wired import Wired

#: Settings of ``generation_config`` that are other ways of decoding; what they are where unused.
OTHER_WAYS: Mapping[str, tuple[Any, ...]] = {
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "constraints": (),
    "force_words_ids": (),
    "token_healing": (False,),
    "prompt_lookup_num_tokens": (),
    "assistant_early_exit": (),
    "use_mtp": (False,),
}

#: Settings that only drawing reads; transformers warns of them where nothing is drawn.
OF_DRAWING = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
#: Settings that only beams, its own caches or its own output read; it warns of these, too.
UNREAD = (
    *(
        "num_beams",
        "early_stopping",
        "length_penalty",
        "cache_implementation",
        "cache_config",
        "max_cache_len",
    ),
    *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    "return_dict_in_generate",
)


@dataclass(frozen=True)
class Request:
    """What a call of ``HookedVLM.generate`` asks for.

    Attributes:
        most: tokens at most.
        least: tokens before an end token may come; None for what the checkpoint says.
        temperature: 0 for the likeliest token.
        seed: for drawing.
        stop: whether answers end.
        beams: how widely is searched.

    Raises:
        InputError: numbers that make no sense.
    """

    most: Any
    least: Any = None
    temperature: Any = 0.0
    seed: Any = 0
    stop: Any = True
    beams: Beams = field(default_factory=Beams)

    def __post_init__(self):
        most = whole(self.most, "max_new_tokens", least=1)
        settled = {
            "most": most,
            "least": None if self.least is None else whole(self.least, "min_new_tokens", 0, most),
            "temperature": float(number(self.temperature, "temperature", least=0)),
            "seed": whole(self.seed, "seed", least=0, most=2**63 - 1),
            "stop": flag(self.stop, "stop"),
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Choice:
    """How tokens are chosen, and when there are enough.

    Attributes:
        processors: what changes logits before one is chosen, each looking at the tokens so far.
        criteria: what ends an answer; none where it goes on whatever is said.
        ends: the end tokens; none likewise.
        filler: what stands after an answer's end.
        draw: for tokens that are drawn; None for the likeliest.
        beams: how widely is searched.
    """

    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    ends: tuple[int, ...]
    filler: int
    draw: torch.Generator | None
    beams: Beams = field(default_factory=Beams)

    def token(
        self, ids: Int[Tensor, "batch pos"], logits: Float[Tensor, "batch vocab"]
    ) -> Int[Tensor, " batch"]:
        """The next token of every sample, after the tokens so far."""
        if self.processors:  # in float32, as transformers does
            logits = self.processors(ids, logits.to(ids.device, torch.float32, copy=True))  # type: ignore[arg-type]
        if self.draw is None:
            return logits.argmax(-1).to(ids.device)
        p = torch.softmax(logits.float(), -1).cpu()
        return torch.multinomial(p, 1, generator=self.draw)[:, 0].to(ids.device)

    def done(self, ids: Int[Tensor, "batch pos"]) -> Bool[Tensor, " batch"]:
        """Which samples' answers end with the newest token."""
        if not self.criteria:
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        return self.criteria(ids, None).to(ids.device)  # type: ignore[arg-type, return-value]


def choice(
    request: Request, vlm: Wired, tensors: Mapping[str, Shaped[Tensor, "..."]], tokenizer: Any
) -> Choice:
    """How this checkpoint chooses after these prompts.

    Args:
        request: what is asked for.
        vlm: the open model.
        tensors: the prompts, as they go in.
        tokenizer: for strings that stop; None without a processor.

    Raises:
        InputError: a way of decoding that is not ours, or settings that transformers refuses.
    """
    model: Any = vlm.hf_model
    settings = model.generation_config
    for name, unused in OTHER_WAYS.items():
        value = getattr(settings, name, None)
        if value is not None and value not in unused:
            raise _not_ours(f"{name}={value!r}")
    beams = _beams(request, settings)
    length = tensors["input_ids"].shape[1]
    # Lengths of all, as settings of both kinds would make transformers warn at every call.
    own: dict[str, Any] = {"max_new_tokens": None, "max_length": length + request.most}
    ends = settings.eos_token_id
    ends = () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)
    filler = settings.pad_token_id if settings.pad_token_id is not None else (ends or (0,))[0]
    own |= {"pad_token_id": filler, "num_beams": beams.number}  # some count a row a beam
    if request.least is not None:
        own |= {"min_new_tokens": None, "min_length": length + request.least}
    if request.temperature:
        own |= {"temperature": request.temperature}
    strings = getattr(settings, "stop_strings", None)
    if strings is not None:  # for these it wants a tokenizer, and hands none on
        own |= {"stop_strings": None}
    try:
        other = type(model).generate is not GenerationMixin.generate
        with lent(vlm, _read(settings, drawing=bool(request.temperature), own_generate=other)):
            prepared = GenerationMixin.generate(
                model,
                **{n: tensors[n] for n in ("input_ids", "attention_mask", "position_ids")},
                **own,
                use_cache=False,
                custom_generate=_prepared,
            )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"transformers refuses the checkpoint's generation_config: {error}"
        ) from error
    processors, criteria = prepared
    if any(isinstance(one, UnbatchedClassifierFreeGuidanceLogitsProcessor) for one in processors):
        raise _not_ours(f"guidance_scale={settings.guidance_scale}")
    if strings is not None and request.stop:
        if tokenizer is None:
            raise InputError(
                f"the checkpoint's generation_config ends answers at stop_strings={strings!r}, "
                "which needs the tokenizer: open the model with its processor, or use "
                "generate(stop=False)"
            )
        criteria.append(StopStringCriteria(tokenizer, strings))
    return Choice(
        processors,
        criteria if request.stop else StoppingCriteriaList(),
        ends if request.stop else (),
        filler,
        torch.Generator(device="cpu").manual_seed(request.seed) if request.temperature else None,
        beams,
    )


def _beams(request: Request, settings: Any) -> Beams:
    """How widely is searched.

    Raises:
        InputError: tokens that are to be drawn as well.
    """
    beams = request.beams.of(settings)
    if beams.number > 1 and request.temperature:
        raise InputError(
            f"temperature={request.temperature} draws tokens, and num_beams={beams.number} "
            "looks for the likeliest answer: leave one of them out, or use "
            "model.hf_model.generate(...)"
        )
    return beams


def _read(given: Any, *, drawing: bool, own_generate: bool) -> Any:
    """A checkpoint's settings, without those that nothing reads: transformers warns of them."""
    settings = copy.deepcopy(given)
    for name in UNREAD if drawing else (*UNREAD, *OF_DRAWING):
        if hasattr(settings, name):
            setattr(settings, name, None)
    settings.do_sample = drawing
    if own_generate:  # Janus's, which draws pictures too, and guides these alone
        settings.guidance_scale = None
    return settings


@contextmanager
def lent(vlm: Wired, settings: Any) -> Iterator[None]:
    """Decode by other settings than the checkpoint's while this lasts."""
    own = vlm.hf_model.generation_config

    def put_back() -> None:
        vlm.hf_model.generation_config = own

    with vlm.noted(put_back):
        vlm.hf_model.generation_config = settings
        yield


def _prepared(
    model: Any,
    input_ids: Int[Tensor, "batch pos"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: Any,
    **_: Any,
) -> tuple[LogitsProcessorList, StoppingCriteriaList]:
    """What transformers' decoding would have used; the length is counted by us."""
    ending = [one for one in stopping_criteria if not isinstance(one, MaxLengthCriteria)]
    return logits_processor, StoppingCriteriaList(ending)


def _not_ours(setting: str) -> InputError:
    return InputError(
        f"the checkpoint's generation_config says {setting}, which is another way of decoding than "
        "token by token: set it to None in model.hf_model.generation_config, or use "
        "model.hf_model.generate(...)"
    )
