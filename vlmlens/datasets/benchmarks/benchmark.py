"""Benchmark: a published set, as data: its files, how its questions are put, how it is scored."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from types import MappingProxyType

from vlmlens.datasets.benchmarks.faulty import refuse_faulty
from vlmlens.datasets.benchmarks.manifest import refuse_incomplete
from vlmlens.datasets.benchmarks.source import Source
from vlmlens.errors import DataError, UnknownPromptError, UnknownSplitError
from vlmlens.graders import GRADERS, Rule
from vlmlens.sample import Sample

#: What reading a file meets that is not as it is published.
FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, csv.Error)


def _as_it_is(sample: Sample, split: str) -> Sample:
    """The sample in the set's own words."""
    return sample


@dataclass(frozen=True)
class Prompt:
    """A way to put a question.

    Attributes:
        text: what the user says, with ``{question}`` and, where options are listed, ``{options}``.
        option: how an option is written, with ``{letter}`` and ``{text}``.
        between: what stands between options.
        answer: how an option is named in an answer, with ``{letter}``; "" for an answer in the
            option's own words.
        letters: of the options.
        says: other words for answers, such as yes for true.
        free: the text, for a question of the same set that has no options.
        reworded: what makes another question of a sample of a split, before it is put.

    Examples:
        >>> from vlmlens.datasets.benchmarks import Prompt
        >>> letters = Prompt("{question} {options}", between=" ", answer="{letter}")
        >>> question = vl.Sample("Where is it?", answer="right", choices=("left", "right"))
        >>> asked = letters.ask(question)
        >>> asked.question, asked.answer
        ('Where is it? A. left B. right', 'B')
    """

    text: str = "{question}"
    option: str = "{letter}. {text}"
    between: str = "\n"
    answer: str = ""
    letters: str = ascii_uppercase
    says: tuple[tuple[str, str], ...] = ()
    free: str = "{question}"
    reworded: Callable[[Sample, str], Sample] = _as_it_is

    def ask(self, sample: Sample) -> Sample:
        """The sample, asked in this way.

        Where options are named by letters, ``choices`` and ``answer`` are letters afterwards, and
        ``options`` are their texts.

        Raises:
            DataError: there are more options than letters, or the answer is none of them.
        """
        if not sample.choices and (self.answer or "{options}" in self.text):
            return replace(sample, question=self.free.format(question=sample.question))
        words = dict(self.says)
        choices = tuple(words.get(choice, choice) for choice in sample.choices)
        answer = sample.answer if sample.answer is None else words.get(sample.answer, sample.answer)
        if len(choices) > len(self.letters):
            raise DataError(f"{sample.id}: {len(choices)} options, and {len(self.letters)} letters")
        if self.answer and answer is not None and answer not in choices:
            raise DataError(f"{sample.id}: the answer {answer!r} is none of {choices}")
        lines = [
            self.option.format(letter=letter, text=text)
            for letter, text in zip(self.letters, choices, strict=False)
        ]
        text = self.text.format(question=sample.question, options=self.between.join(lines))
        asked = replace(sample, question=text, choices=choices, answer=answer)
        if not self.answer:
            return asked
        named = tuple(self.answer.format(letter=letter) for letter in self.letters[: len(choices)])
        right = None if answer is None else named[choices.index(answer)]
        return replace(asked, choices=named, options=choices, answer=right)


@dataclass(frozen=True)
class Submission:
    """The file that a set's own server or script takes: a list of answers.

    Attributes:
        question: what a line calls the question's id.
        answer: what it calls the answer.
        numbered: ids are written as numbers.
        plain: answers are in lower case, without a full stop at their end.
    """

    question: str
    answer: str
    numbered: bool = False
    plain: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A published set of questions about images.

    Attributes:
        name: what it is called on a command line.
        title: what it is.
        origin: where its files come from, in words that a user can follow.
        read: makes samples of the files in a folder, of one split.
        splits: that can be asked for; the first is the default.
        marks: files, as patterns, that tell a folder of this set.
        prompts: ways to put its questions, by name; the first is the default.
        grader: which rule grades its answers, of ``vlmlens.graders``.
        metrics: what is reported of it; the first is the headline.
        unit: the group of the samples' that is drawn as one in intervals; empty for those that
            show a picture in common.
        by: groups of the samples' whose members are reported by themselves, too.
        hub: the repository of the hub that has it with its pictures; empty for none.
        files: of the hub that a split needs, as patterns with ``{split}``.
        sources: where splits are fetched that lie elsewhere, or need more.
        submission: the file that its server takes; None where there is none.
        licence: of the files, as far as it is stated.

    Examples:
        >>> from vlmlens.datasets.benchmarks import BENCHMARKS
        >>> pope = BENCHMARKS["pope"]
        >>> pope.splits, pope.grader
        (('all', 'random', 'popular', 'adversarial'), 'yes_no')
    """

    name: str
    title: str
    origin: str
    read: Callable[[Path, str], list[Sample]]
    splits: tuple[str, ...]
    marks: tuple[str, ...]
    prompts: Mapping[str, Prompt]
    grader: str
    metrics: tuple[str, ...] = ("accuracy",)
    unit: str = ""
    by: tuple[str, ...] = ("category",)
    hub: str = ""
    files: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    submission: Submission | None = None
    licence: str = field(default="not stated")

    def __post_init__(self):
        object.__setattr__(self, "prompts", MappingProxyType(dict(self.prompts)))
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    @property
    def rule(self) -> Rule | None:
        """What grades its answers; None where there is nothing right to say."""
        return GRADERS.get(self.grader)

    def prompt(self, name: str = "") -> tuple[str, Prompt]:
        """A prompt form and its name; the default where none is named."""
        chosen = name or next(iter(self.prompts))
        if chosen not in self.prompts:
            raise UnknownPromptError(chosen, self.prompts, f"of {self.name}")
        return chosen, self.prompts[chosen]

    def split(self, name: str = "") -> str:
        """A split's name; the default where none is named."""
        chosen = name or self.splits[0]
        if chosen not in self.splits:
            raise UnknownSplitError(chosen, self.splits, f"of {self.name}")
        return chosen

    def source(self, split: str) -> Source | None:
        """Where a split can be fetched; None where nobody has it but by hand."""
        if split in self.sources or not self.hub:
            return self.sources.get(split)
        each = "*" if split == "all" else split
        return Source(self.hub, tuple(pattern.format(split=each) for pattern in self.files))

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds this set, as it is published."""
        return any(next(folder.glob(mark), None) is not None for mark in self.marks)

    def load(self, folder: str | Path, split: str = "", prompt: str = "") -> list[Sample]:
        """The samples of a split, asked in one of the set's ways.

        Raises:
            DataError: an unknown split or prompt form, a file that is not there or not as
                published; it says where the set comes from.
        """
        folder, chosen = Path(folder), self.split(split)
        name, form = self.prompt(prompt)
        if not folder.is_dir():
            hub = f"vlmlens fetch {self.name}:{chosen}, or: " if self.source(chosen) else ""
            raise DataError(f"there is no folder {folder}: {hub}{self.where_from()}")
        source = self.source(chosen)
        for place in {folder, folder / source.below if source else folder}:
            refuse_incomplete(place, f"{self.name}:{chosen}")
        try:
            samples = self.read(folder, chosen)
        except FAULTS as error:
            # A cell of another type than the published one, such as null where a list should be.
            raise DataError(
                f"the files in {folder} are not as {self.title} is published "
                f"({type(error).__name__}: {error}); {self.where_from()}"
            ) from error
        if not samples:
            raise DataError(f"{folder} holds no question of {self.name}:{chosen}")
        refuse_faulty(samples, folder)
        told = f"{self.name}/{name}"
        asked = [form.ask(form.reworded(sample, chosen)) for sample in samples]
        return [replace(each, form=told, unit=self._unit(each)) for each in asked]

    def _unit(self, sample: Sample) -> str:
        """What it is drawn as one with; a split may have no pairs."""
        return self.unit if self.unit in dict(sample.groups) else ""

    def where_from(self) -> str:
        """What to do for the set's files."""
        return f"{self.title} comes from {self.origin}"

    def table(self, folder: Path, *patterns: str) -> Path:
        """The one file of the folder that fits the first pattern that any fits.

        Raises:
            DataError: there is none, or several.
        """
        found = self.tables(folder, *patterns)
        if len(found) > 1:
            raise DataError(f"{folder} holds {', '.join(p.name for p in found)}: keep one of them")
        return found[0]

    def tables(self, folder: Path, *patterns: str) -> list[Path]:
        """The files of the folder that fit the first pattern that any fits, in order.

        Raises:
            DataError: there are none.
        """
        for pattern in patterns:
            if found := sorted(folder.glob(pattern)):
                return found
        listed = " or ".join(patterns)
        raise DataError(f"{folder} holds no {listed}: {self.where_from()}; put it there")
