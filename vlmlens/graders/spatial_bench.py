"""SpatialBench's grading: an answer holds the right one; a number counts by how near it is."""

from vlmlens.graders.contains import CONTAINS
from vlmlens.graders.number import NUMBER
from vlmlens.graders.rule import UNPARSED, Graded, Rule
from vlmlens.graders.words import plain
from vlmlens.sample import Sample


def _graded(said: str, sample: Sample) -> Graded:
    """1 - |said - right| / right for a right answer that is a number, at least 0."""
    try:
        right = float(plain(sample.answer or ""))
    except ValueError:
        return CONTAINS(said, sample)
    found = NUMBER(said, sample)
    if found.state != "parsed":
        return found
    try:
        number = float(found.parsed)
    except ValueError:  # a range or a fraction
        return Graded(0.0, "", UNPARSED)
    if right == 0:
        return Graded(float(number == 0), found.parsed)
    return Graded(max(0.0, 1 - abs(number - right) / abs(right)), found.parsed)


SPATIAL_BENCH = Rule("spatial_bench", 2, _graded, "Cai et al. 2024, arXiv:2406.13642")
