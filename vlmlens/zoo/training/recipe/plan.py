"""Every number of a training run, so that a folder can say how its model was made."""

from dataclasses import dataclass, field

from vlmlens.datasets.shapes.questions import ABSOLUTE, LESSON, RELATIVE

#: Questions that ask for no relation, by weight: what is learned first.
LOOKUPS = {"object": 4.0, "exist": 2.0, "count": 0.5, "color_abs": 0.5, "shape_color_abs": 0.5}
#: How a shape is called: its one word, its colour and kind, or one of these that is its alone.
NAMES = ("word", "both", "color", "shape")
EVERYTHING = (
    {"object": 1.5, "exist": 1.0, "count": 0.5, LESSON: 0.5}
    | dict.fromkeys(ABSOLUTE, 1.0)
    | dict.fromkeys(RELATIVE, 2.0)
)


@dataclass(frozen=True)
class Schedule:
    """How one stage is trained: linear warm-up, constant rate, linear decay to zero.

    Attributes:
        steps: how many batches.
        learning_rate: the highest.
        warmup: steps until it is reached.
        decay: the share of the steps over which the rate falls to zero; 0 for a rate that stays.
        clip: the largest norm of a gradient.
        weight_decay: of every step.
        checkpoint_every: steps after which the state is saved; a kill loses no more.
        optimizer: ``"adamw"``, or ``"muon"`` for the matrices of blocks and AdamW for the rest.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.3
    clip: float = 1.0
    weight_decay: float = 0.01
    checkpoint_every: int = 500
    optimizer: str = "adamw"

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup)
        left = (self.steps - step) / (self.steps * self.decay) if self.decay else 1.0
        return self.learning_rate * warm * min(1.0, left)


@dataclass(frozen=True)
class Syllabus:
    """What a stage's batches hold.

    Attributes:
        batch: scenes in a batch.
        questions: questions about each scene, the caption among them.
        captions: the share of scenes of which a caption is asked.
        lookup_steps: at first, look-ups only.
        few_shapes_steps: at first, scenes of at most 3 shapes.
        lookup_batch: scenes in a batch while only look-ups are asked.
        grid: weight of questions for a shape's row or column, once everything is asked.
        drawn_from: text only: the step from which scenes are drawn in words as well as listed.
        drawn: text only: the share of scenes that are drawn in words from then on.
        names: text only: how shapes are called whose column and row are to be recalled, of
            ``NAMES``; each shape gets one, drawn among those that single it out.
    """

    batch: int = 6
    questions: int = 6
    captions: float = 1.0
    lookup_steps: int = 0
    few_shapes_steps: int = 0
    lookup_batch: int = 4
    grid: float = EVERYTHING[LESSON]
    drawn_from: int = 0
    drawn: float = 0.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TowerPlan:
    """How the vision tower is taught.

    Attributes:
        position: ``"kept"``: position embeddings, and nothing asks where a patch is; ``"zeroed"``:
            position embeddings of zero, frozen; ``"trained"``: each patch tells its row and column.
        batch: pictures in a batch.
        schedule: the course of the rate.
        gate: share of shapes' patches whose kind must be read rightly, on the validation split.
    """

    position: str = "trained"
    batch: int = 24
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=1000, warmup=50, decay=0.9, weight_decay=0.01, checkpoint_every=100
        )
    )
    gate: float = 0.9


@dataclass(frozen=True)
class Recipe:
    """The two stages of ``shapes-base``: the tower, then projector and language model together."""

    seed: int = 0
    tower: TowerPlan = TowerPlan()
    syllabus: Syllabus = Syllabus(lookup_steps=4000, few_shapes_steps=3000)
    validation: Syllabus = Syllabus(batch=8)
    answers: Schedule = Schedule(steps=14000, decay=0.28)
    gate: float = 0.6


@dataclass(frozen=True)
class Stage:
    """What is asked in a stage, and how it is trained."""

    syllabus: Syllabus
    schedule: Schedule


@dataclass(frozen=True)
class TextPlan:
    """How the language model learns from scenes in words.

    First what a word says: look-ups, and the place of every word that is said again. Then all
    questions, about lists, and later about drawings too. What comes first cannot be left out: a
    model that is asked everything at once names whatever place is there, and stays with that.

    Attributes:
        words: the first stage.
        questions: the second.
        validation: of the lessons that the gate is measured on.
        place: weight of telling the place of each shape's word early on.
        gate: mean share of right answers over all forms and both read-outs of places, on the
            validation split.
    """

    words: Stage = Stage(
        Syllabus(
            questions=2,
            captions=0.5,
            lookup_steps=1200,
            lookup_batch=16,
            names=("word",),
        ),
        Schedule(steps=1200, learning_rate=3e-3, decay=0.0, optimizer="muon"),
    )
    questions: Stage = Stage(
        Syllabus(
            batch=12,
            questions=5,
            captions=0.5,
            grid=3.0,
            drawn_from=300,
            drawn=0.6,
            names=NAMES,
        ),
        Schedule(steps=2200, learning_rate=3e-3, checkpoint_every=200, optimizer="muon"),
    )
    validation: Syllabus = Syllabus(batch=8, questions=12, drawn=0.5)
    place: float = 0.5
    gate: float = 0.7


@dataclass(frozen=True)
class StagedRecipe:
    """The arms of the study: tower and language model once, then projector, then both.

    Attributes:
        seed: of what all runs share.
        tower: how it is taught; each run says what becomes of places.
        start: the bundled model whose language model and words all runs begin with; empty for
            random weights, which are taught on text first.
        text: how, if so.
        captions: the projector alone.
        answers: projector and language model.
        validation: of the lessons that the gate is measured on.
        gate: mean share of right answers over all forms, on the validation split.
    """

    seed: int = 0
    tower: TowerPlan = TowerPlan()
    start: str = ""
    text: TextPlan = TextPlan()
    captions: Stage = Stage(
        Syllabus(batch=8, questions=1),
        Schedule(steps=150, learning_rate=2e-3, warmup=20, decay=0.9, checkpoint_every=50),
    )
    answers: Stage = Stage(
        Syllabus(batch=4, questions=12),
        Schedule(steps=700, warmup=30, decay=0.9, checkpoint_every=100),
    )
    validation: Syllabus = Syllabus(batch=8, questions=12)
    gate: float = 0.4
