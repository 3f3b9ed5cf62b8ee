"""Every number of smol-llava's training, so that a folder can say how its weights were made."""

from dataclasses import dataclass, field

from vlmlens.zoo.training.recipe.plan import Schedule

STAGES = ("words", "projector", "adapter")


@dataclass(frozen=True)
class Recipe:
    """How projector and adapter are trained.

    Attributes:
        seed: of weights and lessons.
        normalize: a kind of ``vlmlens.zoo.variants.normalize``; empty for none.
        word_steps: of the stage that turns patches towards words.
        word_batch: its pictures a step.
        projector_steps: of the projector, from answers.
        adapter_steps: of projector and adapter together; 0 for no adapter.
        lookup_steps: look-ups mostly, counted over both stages of answers.
        few_shapes_steps: pictures of 2 or 3 shapes, counted so; then of up to 6.
        lookup_pictures: a step, while look-ups are asked.
        lookup_questions: about each at most, the caption among them.
        pictures: a step, afterwards.
        questions: about each at most, the caption among them.
        rates: the highest learning rate of each stage.
        warmup: steps until it is reached.
        decay: the share of the adapter's stage over which it falls to zero.
        clip: the largest norm of a gradient.
        rank: of the adapter.
        alpha: its scale times its rank.
        adapted: the matrices that have one.
        checkpoint_every: steps after which the state is saved.
        gate: mean share right of the two forms of look-ups, on the validation split, below which
            nothing is exported.
    """

    seed: int = 0
    normalize: str = ""
    word_steps: int = 80
    word_batch: int = 16
    projector_steps: int = 120
    adapter_steps: int = 480
    lookup_steps: int = 280
    few_shapes_steps: int = 330
    lookup_pictures: int = 3
    lookup_questions: int = 7
    pictures: int = 2
    questions: int = 10
    rates: dict[str, float] = field(
        default_factory=lambda: {"words": 1e-3, "projector": 1e-3, "adapter": 8e-4}
    )
    warmup: int = 10
    decay: float = 0.3
    clip: float = 1.0
    rank: int = 16
    alpha: int = 32
    adapted: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    checkpoint_every: int = 40
    gate: float = 0.7

    def schedule(self, stage: str) -> Schedule:
        """The course of a stage's rate, which falls in the adapter's stage only."""
        steps = (self.word_steps, self.projector_steps, self.adapter_steps)
        return Schedule(
            steps=steps[STAGES.index(stage)],
            learning_rate=self.rates[stage],
            warmup=self.warmup,
            decay=self.decay if stage == STAGES[-1] else 0.0,
            clip=self.clip,
            weight_decay=0.0,
            checkpoint_every=self.checkpoint_every,
        )
