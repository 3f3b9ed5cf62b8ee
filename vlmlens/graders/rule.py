"""Rule: how a set grades its answers, and what it took an answer for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vlmlens.errors import DataError, InputError
from vlmlens.sample import Sample

#: What became of an answer: it was understood; nothing in it answers; or several things do.
PARSED, UNPARSED, AMBIGUOUS = "parsed", "unparsed", "ambiguous"


@dataclass(frozen=True)
class Graded:
    """One answer, graded.

    Attributes:
        score: 1 is right, 0 wrong; between the two where people's answers differ.
        parsed: what the answer was taken for; empty where nothing in it answers.
        state: ``"parsed"``, ``"unparsed"`` or ``"ambiguous"``.

    Examples:
        >>> from vlmlens.graders import GRADERS
        >>> question = vl.Sample("Is there a dog?", answer="yes", choices=("yes", "no"))
        >>> GRADERS["yes_no"]("Yes, there is.", question)
        Graded(score=1.0, parsed='yes', state='parsed')
        >>> GRADERS["yes_no"]("I see a cat.", question).state
        'unparsed'
    """

    score: float
    parsed: str
    state: str = PARSED


def _nothing(sample: Sample) -> str:
    """Any right answer will do."""
    return ""


@dataclass(frozen=True)
class Rule:
    """A fixed rule with a name, which stands beside every grade.

    Attributes:
        name: what results call it.
        version: raised whenever any answer would be graded otherwise.
        apply: grades what is said to a sample's question.
        source: where the rule is from.
        lacks: what a sample lacks that it reads; "" for nothing.

    Examples:
        >>> from vlmlens.graders import Graded, Rule
        >>> brief = Rule("brief", 1, lambda said, _: Graded(float(len(said.split()) == 1), said))
        >>> brief("green", sample).score, brief("It is green.", sample).score, brief.label
        (1.0, 0.0, 'brief/1')
    """

    name: str
    version: int
    apply: Callable[[str, Sample], Graded] = field(repr=False)
    source: str = ""
    lacks: Callable[[Sample], str] = field(default=_nothing, repr=False)

    def __call__(self, said: str, sample: Sample) -> Graded:
        """The grade of an answer.

        Raises:
            InputError: the rule gives something that is no grade from 0 to 1.
        """
        found = self.apply(said, sample)
        if not isinstance(found, Graded) or not 0 <= found.score <= 1:
            raise InputError(
                f"the rule {self.name} says {found!r:.80} of {said!r:.40}; it should give a Graded "
                "whose score is from 0 to 1"
            )
        return found

    def refuse(self, samples: Iterable[Sample]) -> None:
        """Say which samples it cannot grade, whatever is said: it would find every answer wrong.

        Raises:
            DataError: names the first, and what it lacks.
        """
        for sample in samples:
            if sample.answer is not None and (why := self.lacks(sample)):
                raise DataError(
                    f"{sample.named()}: the rule {self.name} {why}; take another rule (--grader)"
                )

    @property
    def label(self) -> str:
        """Name and version, as results hold them."""
        return f"{self.name}/{self.version}"
