"""How answers are scored: from what was said and the question, a grade; one rule per file.

``GRADERS`` names every rule; ``rule.py`` says what a rule is, ``judged.py`` takes one of your own.
"""

from vlmlens.errors import UnknownNameError
from vlmlens.graders.contains import CONTAINS
from vlmlens.graders.exact import EXACT
from vlmlens.graders.judged import judge
from vlmlens.graders.letter import LETTER
from vlmlens.graders.naming import grade, named, same
from vlmlens.graders.number import NUMBER
from vlmlens.graders.options import right_choice
from vlmlens.graders.rule import Graded, Rule
from vlmlens.graders.spatial_bench import SPATIAL_BENCH
from vlmlens.graders.vqa import VQA
from vlmlens.graders.words import plain
from vlmlens.graders.yes_no import POPE_OWN, YES_NO

__all__ = [
    "GRADERS", "Graded", "Rule", "grade", "judge", "named", "plain", "right_choice",
    "rule_of", "same",
]  # fmt: skip

#: Every fixed rule by its name.
GRADERS: dict[str, Rule] = {
    rule.name: rule
    for rule in (LETTER, YES_NO, POPE_OWN, EXACT, VQA, CONTAINS, NUMBER, SPATIAL_BENCH)
}


def rule_of(grader: Rule | str) -> Rule:
    """A rule, given as itself or by its name.

    Raises:
        UnknownNameError: no rule is called so.

    Examples:
        >>> from vlmlens.graders import rule_of
        >>> rule_of("yes_no").label
        'yes_no/5'
    """
    if isinstance(grader, Rule):
        return grader
    if grader not in GRADERS:
        raise UnknownNameError(str(grader), GRADERS, "(graders; or a judge of your own)")
    return GRADERS[grader]
