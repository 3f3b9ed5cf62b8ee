"""A measured number on a page stands beside what produces it: a command, code that runs, a test."""

import re
from dataclasses import dataclass

import pytest
from pages import HOME, pages

from tests.benchmarks import quoted

#: Times, memory, shares, decimals, a p, an interval, so many of so many.
FIGURE = re.compile(
    r"(?<![\w.^])[\d.,]*\d ?(?:ms|s|seconds?|minutes?|hours?|[kMGT]i?B|CPU-\w+)(?!\w)"
    r"|(?<![\w.])[\d.,]*\d ?(?:%|per cent|times|x)(?! \d)(?!\w)|±|\bp ?[=<>] ?\d"
    r"|(?<![\w.^-])\d*\.\d+(?![\w.]*\w)|\[-?\d+, -?\d+\]|\b\d+ (?:of|out of) (?:the )?\d+"
)
#: What looks like one and is none: papers, addresses, levels, versions, sizes of grids.
NONE = re.compile(
    r"arXiv:\d+\.\d+|\]\([^)]*\)|https?://\S+|95 %|127\.0\.0\.1|\d+ x \d+( x \d+)*"
    r"|(?:[Pp]ython|SAELens|SAELens \(|CC BY(?:-\w+)?|Small|or|transformers|EXAONE|ERNIE)"
    r"\s*\d+(?:\.\d+)+"
)
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n.*?^\1```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^|[`\s])(make [a-z]|vlmlens [a-z]|python3? [-\w]|\.ci/run)", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)")
#: What makes a sentence at the head of a page speak of the numbers below it.
TELLS = re.compile(r"\b(figures?|numbers?|tables?|this page|simulation|measure[ds]?)\b")

#: Pages, and sections of them, whose numbers nothing beside them produces, and why.
ELSEWHERE = {
    "docs/circuits.md: Are two circuits the same?": "the code above them prints them",
    "docs/concepts.md: Selections": "half the depth, as an argument",
    "docs/design/training_log.md": "a log of single runs, failures included",
    "docs/evaluate.md: Items that fail": "a default of ours",
    "docs/explore.md: In five minutes: which heads carry left and right?": "how long a film is, "
    "and a limit of ours",
    "docs/explore.md: Who can reach it": "limits of ours, tested in tests/live/test_live_server.py",
    "docs/gallery.md: Maps of heads: `plots.heads`": "a level of tests",
    "docs/reproduce.md: The paper's tables, one command each": "the authors' temperature",
    "docs/variants.md: Whose lengths": "constants of the paper's code",
    "docs/variants.md: Checkpoints in LLaVA's own layout": "constants of the paper's code",
}


@dataclass(frozen=True)
class Section:
    """What stands under a heading, with the text under the headings above it."""

    page: str
    title: str
    body: str
    above: tuple[str, ...] = ()

    @property
    def prose(self) -> str:
        return NONE.sub(" ", re.sub(r"`[^`\n]*`", " ", FENCED.sub("", self.body)))

    @property
    def figures(self) -> list[str]:
        return FIGURE.findall(self.prose)

    @property
    def sourced(self) -> bool:
        """Whether a command or a test is named, here or in a sentence above that tells of it."""
        return _named(self.body) or any(
            _named(told) and TELLS.search(told)
            for above in self.above
            for told in re.split(r"(?<=[.;:])\s", above)
        )

    @property
    def loose(self) -> bool:
        """Whether a number stands here that nothing is said to produce."""
        return bool(self.figures) and not self.sourced


def _named(text: str) -> bool:
    """Whether a text names a command or a test."""
    shell = "".join(found[0] for found in FENCED.finditer(text) if found[2] in ("bash", "console"))
    inline = " ".join(re.findall(r"`[^`]+`", FENCED.sub("", text)))
    return bool(COMMAND.search(shell) or COMMAND.search(inline) or TEST.search(text))


def sections(page: str, text: str) -> list[Section]:
    """A page cut at its headings, none of which is a comment in code."""
    hidden = FENCED.sub(lambda found: re.sub("[^\n]", ".", found[0]), text)
    marks = [(m.start(), len(m[1]), m[2]) for m in re.finditer(r"^(#+) (.*)$", hidden, re.M)]
    found, above = [], [(0, text[: marks[0][0]] if marks else text)]
    ends = [start for start, _, _ in marks[1:]] + [len(text)]
    for (start, level, title), end in zip(marks, ends, strict=True):
        body = text[text.index("\n", start) : end] if "\n" in text[start:] else ""
        above = [one for one in above if one[0] < level]
        found.append(Section(page, title, body, tuple(own for _, own in above)))
        above.append((level, body))
    return found


EVERY = [
    section
    for page in pages()
    for section in sections(str(page.relative_to(HOME)), page.read_text(encoding="utf-8"))
]


def where(section: Section) -> str:
    return f"{section.page}: {section.title}"


def test_numbers_stand_beside_what_produces_them():
    loose = [
        where(section)
        for section in EVERY
        if section.loose and not {section.page, where(section)} & set(ELSEWHERE)
    ]
    assert loose == []


def test_what_is_excepted_is_there_and_needs_it():
    needed = {name for section in EVERY if section.loose for name in (section.page, where(section))}
    assert set(ELSEWHERE) <= needed
    assert all(len(why) > 10 for why in ELSEWHERE.values())


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        ("# A\nIt takes 3 s.\n", True),
        ("# A\nIt takes 3 s (`make bench`).\n", False),
        ("# A\nIt takes 3 s.\n```bash\nvlmlens families\n```\n", False),
        ("# A\n`make bench` writes this page.\n## B\n### C\n40 [30, 50] are right.\n", False),
        ("# A\nFirst run `make demo`.\n## B\n.85 are right.\n", True),
        ("# A\n`make bench` prints figures.\n# B\n85 % are right.\n", True),
        ("# A\n46 of 60 edges, p = 0.03.\n", True),
        ("# A\n| a | 0.845 |\n|---|---|\n", True),
        ("# A\nChecked by `tests/test_house.py`: 0.4.\n", False),
        ("# A\n8 x 8 tokens, arXiv:2503.17349, 95 % intervals, `x[0.5]`, Python 3.11.\n", False),
    ],
)
def test_a_number_alone_is_seen(text, loose):
    assert any(section.loose for section in sections("page", text)) is loose


def test_tests_that_are_named_are_there():
    named = {(s.page, path) for s in EVERY for path in TEST.findall(s.body)}
    assert [(page, path) for page, path in sorted(named) if not (HOME / path).is_file()] == []
    assert len(named) > 10


def test_what_prints_quoted_figures_is_named_on_the_page_that_quotes_them():
    asked = r"python -m tests\.benchmarks\.quoted ([a-z]+)"
    named = {(s.page.split("/")[-1], name) for s in EVERY for name in re.findall(asked, s.body)}
    named -= {("first_experiment.md", "sweeps")}  # which a newcomer is sent to, and quotes another
    assert named == {(f"{page.__name__}.md", page.__name__) for page in quoted.PAGES}
