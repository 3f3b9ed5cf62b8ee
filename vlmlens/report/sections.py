"""The sections of a page, in the order of a paper: what was asked, behaviour, inside, method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vlmlens.report.others import Other


@dataclass(frozen=True)
class Section:
    """One heading of the page.

    Attributes:
        key: its address on the page.
        title: its heading.
        says: what it is about, where the page has no longer text for it.
        names: of the measurements that stand in it.
    """

    key: str
    title: str
    says: str = ""
    names: tuple[str, ...] = ()


#: What stands wherever a measurement is of no other section.
MORE = Section(
    "more",
    "Further measurements",
    "Measurements that this page knows by their dimensions alone.",
    ("*",),
)
SECTIONS = (
    Section("psi", "Does the order of the vision tokens matter?"),
    Section("samples", "What it says"),
    Section(
        "tokens",
        "What does shuffling do to the next token?",
        "The first token of every answer, with the vision tokens shuffled and in order: how far "
        "its distribution moves, and how often the likeliest token stays.",
        ("kl", "agree", "top_drop"),
    ),
    Section("cmb", "How do heads share attention between image and question?"),
    Section("attended", "Where does it look for its best and its worst answers?"),
    Section(
        "shares",
        "How much of the attention is the image's?",
        "Other ways to divide attention between image and text. Ratios have long tails: their "
        "means are those of a few heads, and their maps have logarithmic scales.",
        ("per_token", "mdi", "aei", "part_share", "vision_of_both", "attention_share", "cmb_*"),
    ),
    Section(
        "place",
        "Where on the picture do heads look?",
        "For each head, how a query's attention lies on the patches: its centre, its spread, and "
        "whether it is on the objects. The middle of the picture is 0.5.",
        ("image_*", "object_*"),
    ),
    Section("rope", "Does attention notice where vision tokens are?"),
    Section(
        "rotation",
        "How does attention answer to other rotations?",
        "The same rotation of keys by other steps, of other keys, of single frequency bands, and "
        "its slope where the step vanishes.",
        ("delta_*", "slope_*", "curve_*", "band_*"),
    ),
    Section("norms", "How long are the vectors of image and text?"),
    Section(
        "stream",
        "What do blocks add to the residual stream?",
        "How large what attention and MLP write is against what is there, and how far the stream "
        "turns, for every role.",
        ("stream_rms", "*_update", "cos_*", "token_norm", "vision_similarity"),
    ),
    Section(
        "patches",
        "How do vision tokens look at each other?",
        "Attention between the patches of one picture: in which direction, how far, and to which "
        "tokens that draw much of it whatever is asked (sinks).",
        ("patch_*", "vision_sinks"),
    ),
    Section(
        "lens",
        "From which layer on can the answer be read?",
        "The stream of every layer, read as if it were the last one.",
        ("lens_*",),
    ),
    MORE,
    Section("provenance", "How these numbers came about"),
)


def by_section(found: Sequence[Other]) -> dict[str, list[Other]]:
    """Measurements under the key of the first section that names them."""
    kept: dict[str, list[Other]] = {}
    for other in found:
        section = next(s for s in SECTIONS if any(fnmatchcase(other.name, n) for n in s.names))
        kept.setdefault(section.key, []).append(other)
    return kept


def there(own: Mapping[str, bool], chapters: Mapping[str, Sequence[Other]]) -> list[Section]:
    """The sections that have something in them, in order.

    Args:
        own: whether sections that the page has its own text for are there, by key.
        chapters: measurements by section.
    """
    return [s for s in SECTIONS if own.get(s.key, False) or chapters.get(s.key)]
