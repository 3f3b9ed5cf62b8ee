"""Questions: a set as it is asked, with how its answers are graded and what is reported of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmlens import datasets
from vlmlens.annotations import checked
from vlmlens.datasets.benchmarks import published
from vlmlens.datasets.benchmarks.benchmark import Submission
from vlmlens.datasets.benchmarks.metrics import METRICS
from vlmlens.draws import PICTURE
from vlmlens.graders import GRADERS, Rule, rule_of
from vlmlens.picture import printable
from vlmlens.sample import Sample, with_answers_known


@dataclass(frozen=True, eq=False)
class Questions:
    """A set of questions, as it is asked.

    Raises:
        DataError: a right answer that the rule cannot grade by.

    Attributes:
        name: what results call it: ``"pope:random"``.
        samples: the questions.
        rule: grades what is said; None where there is nothing right to say.
        metrics: names, of ``datasets.benchmarks.metrics``; the first is the headline.
        by: groups whose members are reported by themselves, too.
        submission: the file that the set's server takes; None where it has none, or where only a
            part of the set is asked.
        given: what it was asked for by, so that its pictures can be found again.

    Examples:
        >>> from vlmlens.evaluation import Questions
        >>> Questions("mine", samples).metrics
        ('accuracy',)
    """

    name: str
    samples: Sequence[Sample]
    rule: Rule | None = GRADERS["letter"]
    metrics: tuple[str, ...] = ("accuracy",)
    by: tuple[str, ...] = ("category",)
    submission: Submission | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        samples = tuple(with_answers_known(self.samples))
        if self.rule is not None:
            self.rule.refuse(samples)
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "name", printable(self.name))
        shared = (
            set.intersection(*({n for n, _ in s.groups} for s in samples)) if samples else set()
        )
        kept = [name for name in self.metrics if set(METRICS[name].needs) <= {*shared, "category"}]
        object.__setattr__(self, "metrics", tuple(kept))  # a split may have no pairs

    @property
    def unit(self) -> str:
        """What is drawn as one in intervals: a group that every sample says, or ``"picture"``."""
        units = {sample.unit for sample in self.samples}
        return (units.pop() if len(units) == 1 else "") or PICTURE


@checked
def questions(
    data: str | Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    question: str | None = None,
    prompt: str = "",
    columns: Mapping[str, str] | str | None = None,
    grader: Rule | str | None = None,
    check: bool = True,
) -> Questions:
    """A set given as people name it on a command line, ready to be asked.

    Args:
        data: as in ``datasets.load``: ``"pope:random@FOLDER"``, ``"shapes-2d"``, a table, a folder.
        samples: at most how many; as there.
        seed: what chooses among too many.
        question: asked of each image of a folder without questions.
        prompt: which of a published set's ways to ask.
        columns: what holds what in a table of one's own.
        grader: a rule, or the name of one; by default the set's own, and ``letter`` for others.
        check: read every image once, as ``datasets.load`` does.

    Raises:
        DataError: there is no such set, or nothing in it.
        UnknownNameError: no rule is called so.

    Examples:
        >>> from vlmlens.evaluation import questions
        >>> asked = questions("shapes-2d", samples=12)
        >>> asked.name, len(asked.samples), asked.rule.name
        ('shapes-2d', 12, 'letter')
    """
    given = {"samples": samples, "seed": seed, "question": question, "prompt": prompt}
    given |= {"columns": columns}
    found = datasets.load(data, check=check, **given)  # type: ignore[arg-type]
    given |= {"data": str(data)}
    named = published(data)
    if named is None:
        rule = GRADERS["letter"] if grader is None else rule_of(grader)
        return Questions(str(data), found, rule, given=given)
    bench, split, _ = named
    return Questions(
        f"{bench.name}:{bench.split(split)}",
        found,
        bench.rule if grader is None else rule_of(grader),
        bench.metrics,
        bench.by,
        bench.submission if samples is None else None,
        given,
    )
