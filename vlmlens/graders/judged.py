"""Any function of one's own, such as one that asks another model."""

from collections.abc import Callable

from vlmlens.errors import InputError
from vlmlens.graders.rule import Graded, Rule
from vlmlens.sample import Sample


def judge(decide: Callable[[str, Sample], bool | float | Graded], name: str) -> Rule:
    """A rule that asks a function: from 0, wrong, to 1, right; or a whole ``Graded``.

    Raises:
        InputError: it answers with something else; when an answer is graded.

    Examples:
        >>> from vlmlens.graders import judge
        >>> rule = judge(lambda said, sample: sample.answer in said, "contains")
        >>> rule("It looks green.", sample).score
        1.0
    """

    def apply(said: str, sample: Sample) -> Graded:
        found = decide(said, sample)
        if isinstance(found, Graded):
            return found
        if not isinstance(found, bool | int | float) or not 0 <= found <= 1:
            raise InputError(f"the judge {name} says {found!r}; it should be from 0 to 1")
        return Graded(float(found), said.strip())

    return Rule(name, 1, apply)
