"""What a model answers without seeing: no image, noise, a blank, another sample's picture."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from PIL import Image

from vlmlens.annotations import checked
from vlmlens.checks import one_of
from vlmlens.errors import ImageError, InputError
from vlmlens.experiments.executors import Executor
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.failing import in_all
from vlmlens.experiments.given import as_samples
from vlmlens.experiments.joining import joined
from vlmlens.experiments.measures import Answering, Measure
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.running import run_shown
from vlmlens.identity import picture
from vlmlens.model import HookedVLM
from vlmlens.probes import position_sensitivity_index
from vlmlens.probes.psi import ORIGINAL
from vlmlens.sample import Sample

#: Every control by its name: what becomes of sample n's pictures.
CONTROLS = ("text only", "noise", "blank", "other picture")


@dataclass(frozen=True)
class Noise:
    """A picture of uniform noise, the same whenever it is drawn.

    Attributes:
        seed: of the noise.
        size: width and height.

    Examples:
        >>> from vlmlens.experiments import Noise
        >>> picture = Noise(seed=0, size=32)()
        >>> picture == Noise(seed=0, size=32)(), picture == Noise(seed=1, size=32)()
        (True, False)
    """

    seed: int
    size: int = 224

    def __call__(self) -> Image.Image:
        """Draw it."""
        rng = np.random.default_rng(self.seed)
        return Image.fromarray(rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8))


@dataclass(frozen=True)
class Blank:
    """A picture of one grey all over.

    Attributes:
        grey: 0 to 255. Not 0, which some processors take for padding.
        size: width and height.

    Examples:
        >>> picture = vl.experiments.Blank(grey=128, size=32)()
        >>> picture.size, picture.getpixel((0, 0))
        ((32, 32), (128, 128, 128))
    """

    grey: int = 128
    size: int = 224

    def __call__(self) -> Image.Image:
        """Draw it."""
        return Image.new("RGB", (self.size, self.size), (self.grey,) * 3)


@checked
def blinded(samples: Sequence[Sample], control: str) -> list[Sample]:
    """The same questions without their pictures.

    ``"text only"`` leaves pictures out altogether, so that the language model answers alone;
    ``"noise"`` and ``"blank"`` put one in the place of each; ``"other picture"`` gives every
    sample those of the next sample that shows none of its own pictures, by their pixels, so that
    pictures stay what they are, and only their questions are not about them.

    Raises:
        InputError: an unknown control, a sample that there is no other picture for, or one with
            videos, which only ``"text only"`` takes away.

    Examples:
        >>> found = vl.experiments.blinded(samples, "text only")
        >>> found[0].question == samples[0].question, found[0].images
        (True, ())
    """
    samples = as_samples(samples)
    one_of(control, "control", CONTROLS)
    refuse_videos(samples, control)
    shown = [_shown(sample) for sample in samples] if control == "other picture" else []
    return _blinded(samples, control, shown)


def refuse_videos(samples: Sequence[Sample], control: str) -> None:
    """Say which sample has a video that a control would leave as it is.

    Raises:
        InputError: there is one.
    """
    kept = next((sample for sample in samples if sample.videos), None)
    if control in CONTROLS[1:] and kept is not None:
        raise InputError(
            f"{kept.named()} has a video, which {control!r} would leave as it is: pictures alone "
            "are replaced. Ask under 'text only', which leaves videos out, too"
        )


def _shown(sample: Sample) -> frozenset[str]:
    return frozenset(map(picture, sample.images))


def _blinded(
    samples: Sequence[Sample], control: str, shown: Sequence[frozenset[str]]
) -> list[Sample]:
    others = _others(samples, shown) if control == "other picture" else []
    made = []
    for number, sample in enumerate(samples):
        if control == "text only":
            made.append(sample.without_images())
            continue
        if control == "other picture":
            pictures = samples[others[number]].images
        else:
            one = Noise(number) if control == "noise" else Blank()
            pictures = (one,) * len(sample.images)
        made.append(replace(sample, images=pictures))
    return made


def _others(samples: Sequence[Sample], shown: Sequence[frozenset[str]]) -> list[int]:
    """For every sample the next one, around the end, that shows none of its pictures."""
    # Questions about the same pictures share a counterpart, so each set of them is looked up once.
    first = {pictures: number for number, pictures in reversed(list(enumerate(shown)))}
    distinct = sorted(first.values())
    found: dict[frozenset[str], int] = {}
    for place, number in enumerate(distinct):
        own = shown[number]
        after = [*distinct[place + 1 :], *distinct[:place]] if own else [number]
        other = next((o for o in after if not own or (shown[o] and not shown[o] & own)), None)
        if other is None:
            name = samples[number].id or samples[number].question
            raise InputError(
                f"there is no other picture for the question {name!r}: all {len(samples)} samples "
                "show its own; leave the control out, or ask about two pictures at least"
            )
        found[own] = other
    return [found[pictures] for pictures in shown]


@checked
def controls(
    model: HookedVLM,
    samples: Sequence[Sample],
    kinds: Sequence[str] = CONTROLS,
    *,
    measure: Measure | None = None,
    batch: int = 32,
    folder: Path | str | None = None,
    executor: Executor = None,
    progress: Progress = False,
) -> xr.Dataset:
    """Ask every question with its picture, and without.

    Args:
        model: an open model.
        samples: questions with right answers.
        kinds: of ``CONTROLS``.
        measure: what is measured; by default what the model answers and whether it is right.
        batch: samples a pass.
        folder: keeps finished cells.
        executor: who computes, as in ``Experiment.run``.
        progress: show bars, as in ``diagnose``.

    Returns:
        The measure's variables over (control, sample); ``"original"`` is the first control.

    Raises:
        InputError: an unknown control, or one that would leave a sample's videos as they are.

    Examples:
        >>> found = vl.experiments.controls(model, samples[:2], ["text only", "noise"])
        >>> found.control.values.tolist(), dict(found.correct.sizes)
        (['original', 'text only', 'noise'], {'control': 3, 'sample': 2})
    """
    samples = as_samples(samples)
    for kind in kinds:
        refuse_videos(samples, kind)
    how = Answering() if measure is None else measure
    tables = []
    for kind in (ORIGINAL, *kinds):
        if kind == "other picture":
            asked = _with_others(samples)
        else:
            asked = samples if kind == ORIGINAL else blinded(samples, kind)
        run = Experiment(model, asked, how, {kind: ()}, "control", batch)
        tables.append(run_shown(run, folder, progress, f"control, {kind}", executor))
    return joined(in_all(tables), "control")


def _with_others(samples: Sequence[Sample]) -> list[Sample]:
    """Samples with other pictures; those whose own cannot be read keep it, and fail of it."""
    shown: dict[int, frozenset[str]] = {}
    for number, sample in enumerate(samples):
        with suppress(ImageError):
            shown[number] = _shown(sample)
    there = _blinded([samples[number] for number in shown], "other picture", list(shown.values()))
    others = dict(zip(shown, there, strict=True))
    return [others.get(number, sample) for number, sample in enumerate(samples)]


@checked
def control_table(
    found: xr.Dataset,
    *,
    scene: str | bool | None = None,
    reference: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """What each control leaves of the accuracy, with intervals.

    Args:
        found: of ``controls``.
        scene: a coordinate of ``sample``; questions about one scene are drawn together.
        reference: ``"gold"`` or ``"own"``, as in ``position_sensitivity_index``; by default the
            attribute of ``correct``.
        seed: of tests.

    Returns:
        ``position_sensitivity_index``'s variables over (control, category): ``accuracy`` is the
        seeing model's, ``accuracy_permuted`` the blind one's, ``psi`` the loss in per cent,
        ``p_value`` of their difference. Against own answers ``psi`` is the share of answers that
        a control changes, and there is no p.

    Examples:
        >>> found = vl.experiments.controls(model, samples[:2], ["text only"])
        >>> table = vl.experiments.control_table(found)
        >>> table.accuracy.sel(category="overall").values.tolist(), list(table.psi.dims)
        ([1.0], ['control', 'category'])
    """
    names = [str(name) for name in found["control"].values if str(name) != ORIGINAL]
    tables = []
    for name in names:
        pair = found["correct"].sel(control=[ORIGINAL, name]).rename(control="permutation")
        if "chance" in pair.coords and bool(pair["chance"].isnull().any()):
            pair = pair.drop_vars("chance")
        tables.append(position_sensitivity_index(pair, scene=scene, reference=reference, seed=seed))
    return joined(tables, "control", names)
