"""Which options of a call a processor would not look at: found by trying, and refused."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any, NoReturn, TypeAlias

import numpy as np
from PIL import Image

from vlmlens.checks import plain, shown
from vlmlens.errors import InputError
from vlmlens.model.sequence.settings import settings_of

#: Pictures that are tried, width and height: a tiling processor may look at a long one alone, and
#: what has its size already is resized by no rule.
SIZES = ((251, 67), (61, 61))
#: What changes nothing because of what it is handed, whatever the processor does with it.
SETTLED = {"do_convert_rgb": "pictures and frames are RGB when it gets them"}
#: What a processor's work is called, once its options are settled; the older ones' of one picture.
WORKING = ("_preprocess_image", "_preprocess")
#: What makes an option be looked at beside the processor's own work: ``{}`` if it is, None if
#: nothing does.
Elsewhere: TypeAlias = Callable[[str], dict[str, Any] | None]


def refuse_unread(
    told: Mapping[str, Any], taker: Any, what: str, elsewhere: Elsewhere | None = None
) -> None:
    """Refuse options that would change nothing, since nothing looks at them.

    What is as the processor has it is none, and neither is a bound that is not reached. Each
    other option is taken away in a trial on small pictures: who looks at it stumbles.

    Args:
        told: options of a call, known by name.
        taker: the image or video processor.
        what: what the options are called.
        elsewhere: of a video processor, which options are looked at beside it, or what to say
            with an option so that it is.

    Raises:
        InputError: names the option, and what would make the processor look at it.
    """
    own = settings_of(taker)
    asked = [name for name, x in told.items() if not _same(name, x, own[name])]
    if not asked or _working(taker) is None:
        return
    film = elsewhere is not None
    trials = [each for shape in SIZES if (each := _Trial.of(taker, told, shape, film))]
    for name in asked if trials else ():
        if name not in SETTLED and any(trial.reads(name) for trial in trials):
            continue
        with_it = elsewhere(name) if elsewhere else None
        if with_it == {}:
            continue
        switches = [switch for trial in trials for switch in trial.switches(name)]
        switches += [{each: True} for each in own if each.startswith("do_")
                     and name.startswith(f"{each[3:]}_")
                     and any(trial.reads(each) for trial in trials)]  # fmt: skip
        with_it = with_it or next(iter(switches), None)
        why = SETTLED.get(name, f"{type(taker).__name__} does not look at it, so leave it out")
        if with_it and name not in SETTLED:
            why = f"it is looked at with {with_it}, say, and not without"
        raise InputError(f"{what}={{{name!r}: {shown(told[name])}}} would change nothing: {why}")


def stumbles(call: Callable[..., Any], options: Mapping[str, Any], name: str) -> bool:
    """Whether a call does anything with an option but hand it on."""
    try:
        call(**{**options, name: _Away()})
    except Exception:  # whatever is raised where an option is looked at
        return True
    return False


class _Away:
    """In the place of an option: it can be handed on, and that is all."""

    def _seen(self, *_: Any) -> NoReturn:
        raise TypeError("an option that was taken away is looked at")

    __bool__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __getattr__ = _seen
    __hash__ = object.__hash__  # caches keep it by this
    __class__ = property(_seen)  # pyright: ignore  # isinstance


class _Held(Exception):
    """What a processor works with has come."""


class _Trial:
    """What a processor hands to its own working part, of one picture or video."""

    def __init__(self, taker: Any, shown: Any, given: Mapping[str, Any], before: Mapping[str, Any]):
        self._made = partial(getattr(taker, _working(taker)), *shown)
        self._settle = taker._standardize_kwargs if _working(taker) == WORKING[1] else None
        self._given, self._before = given, before

    @classmethod
    def of(
        cls, taker: Any, told: Mapping[str, Any], size: tuple[int, int], film: bool
    ) -> "_Trial | None":
        """A trial, or None where the processor refuses such a picture or such options."""
        held: list[tuple[Any, dict[str, Any]]] = []
        trying = copy(taker)

        def hold(*shown: Any, **options: Any) -> NoReturn:
            held.append((shown, options))
            raise _Held

        setattr(trying, _working(taker), hold)
        try:
            trying(**{**told, **_shown(size, film), "return_tensors": "pt"})
        except _Held:
            made = cls(taker, *held[0], settings_of(taker) | dict(told))
            return made if made._works(made._given) else None
        except Exception:  # the call itself will say what is wrong
            return None
        return None

    def reads(self, name: str, given: Mapping[str, Any] | None = None) -> bool:
        """Whether an option is looked at, by the working part or in what comes before it."""
        given = self._given if given is None else given
        if name in given:
            return stumbles(self._made, given, name)
        return self._settle is not None and stumbles(self._settle, self._before, name)

    def switches(self, name: str) -> Iterator[dict[str, bool]]:
        """What is on or off, and would make an option be looked at if it were not."""
        for switch, value in self._given.items():
            if switch != name and (isinstance(value, bool) or switch.startswith("do_")):
                other = {**self._given, switch: not value}
                if name in other and self._works(other) and self.reads(name, other):
                    yield {switch: not value}

    def _works(self, given: Mapping[str, Any]) -> bool:
        try:
            self._made(**given)
        except Exception:  # a switch whose own options are missing
            return False
        return True


def _working(taker: Any) -> Any:
    return next((name for name in WORKING if hasattr(type(taker), name)), None)


def _shown(size: tuple[int, int], film: bool) -> dict[str, Any]:
    if not film:
        return {"images": [Image.new("RGB", size, "gray")]}
    from transformers.video_utils import VideoMetadata

    frames = np.full((4, size[1], size[0], 3), 128, np.uint8)
    known = VideoMetadata(
        total_num_frames=4, fps=2.0, width=size[0], height=size[1], duration=2.0,
        frames_indices=[0, 1, 2, 3],
    )  # fmt: skip
    return {
        "videos": [frames],
        "video_metadata": [known],
        "do_sample_frames": False,
        "input_data_format": "channels_last",
    }


def _same(name: str, told: Any, own: Any) -> bool:
    """Whether an option is what the processor has anyway; None is told nothing."""
    if told is None:
        return True
    if name.startswith("do_"):
        return bool(told) == bool(own)
    told, own = plain(told), plain(own)
    return (tuple(told) if isinstance(told, list) else told) == (
        tuple(own) if isinstance(own, list) else own
    )
