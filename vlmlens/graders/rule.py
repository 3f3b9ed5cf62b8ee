"""Rule: how a set grades its answers, and what it took an answer for."""

from collections.abc import Callable
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Rule:
    """A fixed rule with a name, which stands beside every grade.

    Attributes:
        name: what results call it.
        version: raised whenever any answer would be graded otherwise.
        apply: grades what is said to a sample's question.
        source: where the rule is from.

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

    def __call__(self, said: str, sample: Sample) -> Graded:
        return self.apply(said, sample)

    @property
    def label(self) -> str:
        """Name and version, as results hold them."""
        return f"{self.name}/{self.version}"
