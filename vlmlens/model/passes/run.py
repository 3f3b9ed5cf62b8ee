"""Run: one pass: its inputs, its logits, what was saved."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from vlmlens import display
from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.model.wiring.rotary import Rope


@dataclass(frozen=True, eq=False)
class Run:
    """One forward pass.

    Attributes:
        inputs: what went in.
        logits: what came out: of every position, or of the rows that were asked for.
        saved: the activations that were asked for.
        attention: how attention was computed, for example ``"sdpa"``.
        rope: the language model's rotation; None for one without.
        scaling: what attention multiplies its scores with; None for 1 / sqrt(d_head).
        softcap: what attention caps its scores at, softly; None where it does not.

    Examples:
        >>> run = model.run(model.inputs(samples), save="blocks.0.hook_mlp_out")
        >>> run.logits.shape, list(run.saved)  # batch pos vocab
        (torch.Size([4, 80, 418]), ['blocks.0.hook_mlp_out'])
    """

    inputs: Inputs
    logits: Float[Tensor, "batch pos vocab"]
    saved: ActivationCache
    attention: str
    rope: Rope | None = None
    scaling: float | None = None
    softcap: float | None = None

    def __repr__(self) -> str:
        return (
            f"Run({len(self.inputs)} samples, logits {tuple(self.logits.shape)}, saved "
            f"{self.saved!r}, attention {self.attention})"
        )

    @property
    def steps(self) -> tuple["Run", ...]:
        """The passes that this consists of: itself."""
        return (self,)

    def _repr_html_(self) -> str:
        return display.of_run(self.inputs.layouts, self.logits, self.saved, self.attention)


@dataclass(frozen=True, eq=False)
class Scores:
    """How likely given answers are after a prompt.

    Attributes:
        log_probs: of every answer, in nats; None where none was asked for.
        whole: why, for answers that went through the model with their prompt, by their number.
    """

    log_probs: Float[Tensor, "answer batch"] | None = None
    whole: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Generation:
    """A prompt and its continuation, token by token.

    Attributes:
        inputs: the prompt.
        tokens: ids of what was generated; padded with the pad token after an end token.
        lengths: how many tokens each sample has, the end token included.
        texts: the tokens, decoded, special ones left out; empty without a tokenizer.
        steps: one pass a token. Step 0 is the prompt; every later one feeds a single token.
        scores: of the answers that were given.
        beam_scores: with beams, each answer's log-probability in nats, as processors leave it,
            divided by its length ** length_penalty; None without.

    Examples:
        >>> said = model.generate(model.inputs(samples[:2]), max_new_tokens=3)
        >>> said.texts, len(said.steps)  # a color and the end token
        (('green', 'purple'), 2)
    """

    inputs: Inputs
    tokens: Int[Tensor, "batch step"]
    lengths: Int[Tensor, " batch"]
    texts: tuple[str, ...]
    steps: tuple[Run, ...]
    scores: Scores = field(default_factory=Scores)
    beam_scores: Float[Tensor, " batch"] | None = None

    def __repr__(self) -> str:
        """What was said, and not the numbers behind it."""
        said = self.texts or tuple(map(str, self.tokens.tolist()))
        shown = ", ".join(map(repr, said[:5])) + ", ..." * (len(said) > 5)
        return f"Generation({len(said)} samples, {len(self.steps)} steps: {shown})"

    @property
    def saved(self) -> ActivationCache:
        """What was saved is kept step by step.

        Raises:
            InputError: says where it is.
        """
        raise InputError(
            "a generation keeps what it saved step by step: take generation.steps[0] (the prompt) "
            "or another step, which is a run"
        )

    def _repr_html_(self) -> str:
        asked = [sample.question for sample in self.inputs.samples] or [""] * len(self.inputs)
        said = self.texts or tuple(map(str, self.tokens.tolist()))
        return display.of_generation(asked, said, len(self.steps))
