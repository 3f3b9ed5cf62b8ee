"""What'sUp's captions as questions: where a thing is, as AdaptVis asks.

Source: Chen et al. 2025, "Why Is Spatial Reasoning Hard for VLMs?", arXiv:2503.01773, and the
questions that come with it.
"""

import re
from dataclasses import replace

from vlmlens.errors import DataError
from vlmlens.sample import Sample

#: What a split's questions are answered with; of controlled pictures, by the file's word for it.
PLACES = {
    "a": ("left", "right", "on", "under"),
    "b": ("left", "right", "front", "behind"),
    "coco-one": ("left", "right", "top", "bottom"),
    "coco-two": ("left", "right", "above", "below"),
    "vg-one": ("left", "right", "front", "behind", "top", "bottom"),
    "vg-two": ("left", "right", "front", "behind", "above", "below"),
}
SHORT = {"left_of": "left", "right_of": "right", "in-front_of": "front"}
#: Words of a caption -> the answer that they are.
SAID = {"back": "behind", "background": "behind", "foreground": "front", "in front of": "front"}
SAID |= {"to the left of": "left", "to the right of": "right"}
_A = r"(?:an? |the )?"
_ALONE = re.compile(
    rf"(?:a photo of )?{_A}(.+?) (?:(?:on|at|in) (?:the )?)?"
    r"(left|right|top|bottom|front|back|behind|background|foreground)(?: side)?\.?",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    rf"(?:a photo of )?{_A}(.+?) (?:is )?"
    rf"(to the left of|to the right of|in front of|above|below|behind) {_A}(.+?)\.?",
    re.IGNORECASE,
)


def where(sample: Sample, split: str) -> Sample:
    """The same picture, asked about in a question that is answered with the name of a place.

    Raises:
        DataError: the right caption does not say where something is.
    """
    one, other, place = _told(sample)
    places = PLACES[split]
    if place not in places:
        raise DataError(
            f"{sample.named()}: {sample.answer!r:.80} says nothing of {', '.join(places)}; ask in "
            "captions, or by letters"
        )
    verb = "are" if _several(one) else "is"
    rest = f"in relation to the {other}" if other else "in the photo"
    listed = f"{', '.join(places[:-1])} or {places[-1]}"
    question = f"Where {verb} the {one} {rest}? Answer with {listed}."
    return replace(sample, question=question, choices=places, answer=place)


def _told(sample: Sample) -> tuple[str, str, str]:
    """A thing, the one that it is beside, if any, and where it is."""
    groups, caption = dict(sample.groups), sample.answer or ""
    if "set" in groups:
        one, _, other = groups["set"].replace("-", " ").partition("|")
        return one, other, SHORT.get(groups["relation"], groups["relation"])
    if parts := _BESIDE.fullmatch(caption):
        one, said, other = parts.groups()
    elif parts := _ALONE.fullmatch(caption):
        (one, said), other = parts.groups(), ""
    else:
        return "", "", ""
    return one, other, SAID.get(said.lower(), said.lower())


def _several(thing: str) -> bool:
    """Whether a thing's name is that of several: scissors, people; not glass, bus."""
    last = thing.split()[-1].lower() if thing.split() else ""
    return last == "people" or (last.endswith("s") and not last.endswith(("ss", "us")))
