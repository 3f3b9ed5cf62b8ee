"""What the page asks of a model: clean and edited answers, lens, attention; kept while it lasts."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.cache import ActivationCache, Save
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention
from vlmlens.live.changing import Watch
from vlmlens.live.edits import heads, patch
from vlmlens.live.pictures import mirrored
from vlmlens.live.saved.base import Made, Saved
from vlmlens.live.turns import Job
from vlmlens.model import HookedVLM, Run
from vlmlens.model.reuse.entering import refuse_hooks
from vlmlens.model.reuse.prefill import Prefill
from vlmlens.probes import lens_needs, logit_lens
from vlmlens.sample import Sample

#: Tokens of an answer at most, and how many likely ones are shown.
TOKENS, BEST = 8, 10
#: Clean runs that are kept, and looks at one position.
RUNS, ROWS = 6, 12
#: Seconds that a clean answer may take for edited ones to be heard to their end at once.
QUICK = 0.6
#: Logits that differ by less come of the order of sums alone.
SAME = 1e-5
PATTERN = "blocks.{}.attn.hook_pattern"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says.

    Attributes:
        text: the answer; one token and an ellipsis where it was not heard to its end.
        logits: of the last position.
    """

    text: str
    logits: Float[Tensor, " vocab"]

    def alike(self, other: "Answer") -> bool:
        """Whether no next token's logit is another, beyond what float32 rounds."""
        return torch.allclose(self.logits, other.logits, rtol=SAME, atol=SAME)


@dataclass(frozen=True, eq=False)
class Clean:
    """A sample's clean run: what edited ones start from.

    Attributes:
        sample: what was asked.
        prefill: the pass.
        answer: what it said.
        quick: whether answers are heard to their end without being asked for.
    """

    sample: Sample
    prefill: Prefill
    answer: Answer
    quick: bool

    @property
    def inputs(self) -> Inputs:
        """What went in."""
        return self.prefill.inputs


class Asking:
    """A model, and what was asked of it lately."""

    def __init__(self, model: HookedVLM, saved: Saved | None = None):
        if model.processor is None:
            raise InputError("a live explorer asks in words: open the model with its processor")
        self.model, self.saved = model, saved
        self._watch = Watch(model)
        self._job: Job | None = None  # the request that the model was looked at for
        self._clean: OrderedDict[int, Clean] = OrderedDict()
        self._kept: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()

    def clean(self, sample: Sample, job: Job) -> Clean:
        """A sample's clean run; a question about the last picture starts from its run.

        Nothing is kept of what the model was before somebody changed it.
        """
        if job is not self._job and self._watch.changed():
            self._clean.clear()
            self._kept.clear()
            if self.saved is not None:
                self.saved.forget()
        self._job = job
        if (found := self._clean.get(id(sample))) is not None:
            self._clean.move_to_end(id(sample))
            return found
        job.progress(0.1, "reading the picture and the question")
        inputs = self.model.inputs(sample)
        before = next(reversed(self._clean.values()), None)
        prefill = self.model.prefill(inputs, after=before and before.prefill)
        job.progress(0.6, "answering")
        began = perf_counter()
        text = self._said(inputs, ())
        quick = perf_counter() - began < QUICK
        logits = self._finite(prefill.logits[0].float())
        made = Clean(sample, prefill, Answer(text, logits), quick)
        self._clean[id(sample)] = made
        if len(self._clean) > RUNS:
            self._clean.popitem(last=False)
        return made

    def edited(self, clean: Clean, edits: Sequence[Intervention], job: Job) -> Answer:
        """What the model says under edits."""
        job.progress(0.3, "running with the edits")
        found = self.model.resume(clean.prefill, [edits])
        logits = self._finite(found.logits[0, -1].float())
        if clean.quick:
            job.progress(0.6, "answering")
            return Answer(self._said(clean.inputs, edits), logits)
        return Answer(self.begun(int(logits.argmax())), logits)

    def begun(self, token: int) -> str:
        """An answer of which only the first token was heard."""
        return self.word(token).strip() + "…"

    def cell(self, sample: Sample, at: Sequence[int]) -> Made:
        """A cell of the saved map, made again.

        Raises:
            InputError: no map, no such cell, or another sample than the map's.
        """
        if self.saved is None:
            raise InputError("no saved map is open here, so it has no cells")
        self._refuse_hooks()
        self.saved.refuse_other(sample)
        return self.saved.cell(at)

    def whole(self, clean: Clean, edits: Sequence[Intervention]) -> str:
        """The answer to its end."""
        self._refuse_hooks()
        return self._said(clean.inputs, edits)

    def heads(self, clean: Clean) -> ActivationCache:
        """What the clean run held at every head's output."""
        self._refuse_hooks()
        run = partial(self.model.run, clean.inputs, save=heads.POINT, logits=False)
        return self.once(("heads", id(clean)), clean, run).saved

    def other(self, clean: Clean, second: Sample) -> Sample:
        """The same question about the second picture."""
        asked = partial(replace, second, question=clean.sample.question)
        return self.once(("other", id(clean), id(second)), (clean, second), asked)

    def mirrored(self, clean: Clean) -> Sample:
        """The same question about the picture's mirror image."""

        def made() -> Sample:
            return replace(clean.sample, images=mirrored(clean.sample.images))

        return self.once(("mirrored", id(clean)), clean, made)

    def stream(self, clean: Clean, second: Sample) -> ActivationCache:
        """What the run on another picture held in the stream, under the same question."""
        self._refuse_hooks()

        def run() -> Any:
            asked = self.model.inputs(self.other(clean, second))
            return self.model.run(asked, save=[patch.BEFORE, patch.POINT], logits=False)

        return self.once(("stream", id(clean), id(second)), (clean, second), run).saved

    def lens(
        self, clean: Clean, edits: Sequence[Intervention], position: int
    ) -> list[list[dict[str, Any]]]:
        """The likeliest words at one position, layer by layer."""
        need, run = self._looked(clean, tuple(edits), position)
        table = logit_lens(run, need, self.model.processor.tokenizer).isel(sample=0, pos=0)
        chances = np.exp(table["log_prob"].values)
        words = table["word"].values
        return [
            [_likely(str(w), float(p)) for w, p in zip(*pair, strict=True)]
            for pair in zip(words, chances, strict=True)
        ]

    def attention(
        self, clean: Clean, edits: tuple[Intervention, ...], query: int
    ) -> Float[np.ndarray, "layer head key"]:
        """What one position reads, in every layer and head."""
        saved = self._looked(clean, edits, query)[1].saved
        names = map(PATTERN.format, range(self.model.layers))
        return torch.stack([saved[name][0, :, 0] for name in names]).float().cpu().numpy()

    def _looked(
        self, clean: Clean, edits: tuple[Intervention, ...], position: int
    ) -> tuple[Save, Run]:
        """What one position reads and would say: the page asks for both, and a pass has both."""
        self._refuse_hooks()

        def run() -> tuple[Save, Run]:
            need = lens_needs(self.model, rows=(position,))
            save = [Save(PATTERN.format("*"), rows=(position,)), need]
            return need, self.model.run(clean.inputs, list(edits), save=save, logits=False)

        return self.once(("looked", id(clean), edits, position), clean, run)

    def top(self, answer: Answer) -> list[dict[str, Any]]:
        """The likeliest next tokens."""
        best = answer.logits.softmax(-1).topk(min(BEST, len(answer.logits)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [_likely(self.word(token), chance) for token, chance in pairs]

    def word(self, token: int) -> str:
        """A token's text."""
        return self.model.processor.tokenizer.decode([token])

    def _refuse_hooks(self) -> None:
        with self.model.journal.turn:  # hooks of a run in another thread are off again by then
            refuse_hooks(self.model)

    def _said(self, inputs: Inputs, edits: Sequence[Intervention]) -> str:
        return self.model.generate(inputs, list(edits), max_new_tokens=TOKENS).texts[0].strip()

    def _finite(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        if not bool(logits.isfinite().all()):
            raise InputError("the answer's logits are no longer finite numbers under this edit")
        return logits.cpu()

    def once(self, key: Any, holds: Any, make: Callable[[], Any]) -> Any:
        """What was made before, or is made now; ``holds`` lives as long, so ids stay its own."""
        if key not in self._kept:
            self._kept[key] = (holds, make())
            if len(self._kept) > ROWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key][1]


def _likely(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "probability": round(chance, 6)}
