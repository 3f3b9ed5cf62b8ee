"""TransformerLens's caches: which points a filter names, and what is handed out of them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache, Save
from vlmlens.cache.cutting import cut
from vlmlens.checks import function, shown
from vlmlens.errors import InputError, UnknownPointError, UnreachedPointError
from vlmlens.inputs import Inputs
from vlmlens.model.doors.given import as_saves
from vlmlens.model.wiring.wired import Wired
from vlmlens.tensors import as_device

Axes = tuple[str, ...]


def filtered(vlm: Wired, names_filter: Any) -> list[str]:
    """The points that a filter names: a name, names, a condition on names, or None for all.

    Raises:
        UnknownPointError: it names none.
    """
    if names_filter is None:
        return list(vlm.hook_dict)
    if not callable(names_filter):
        saves = as_saves(names_filter)
        return list(dict.fromkeys(n for save in saves for n in vlm.matching(save.points)))
    function(names_filter, "names_filter", "a condition on names", "name")
    found = [name for name in vlm.hook_dict if names_filter(name)]
    if not found:
        raise UnknownPointError(
            shown(names_filter), vlm.hook_dict, "(the condition names no point)"
        )
    return found


def wanted(vlm: Wired, names_filter: Any, inputs: Inputs, stop: int | None) -> list[Save]:
    """What a filter means in one pass, which may end before a block.

    Raises:
        UnreachedPointError: a name of what comes after that.
    """
    passed_by = () if inputs.seeing else ("vision.", "projector.")
    if vlm.family.tower_of_videos and "pixel_values" not in inputs.tensors:
        passed_by = passed_by or ("vision.",)
    there = [
        name
        for name in vlm.hook_dict
        if not name.startswith(passed_by) and (stop is None or _comes_before(vlm, name, stop))
    ]
    if names_filter is None:
        return [Save(name) for name in there]
    if callable(names_filter):
        asked = filtered(vlm, names_filter)
        found = asked if stop is None else [name for name in asked if name in there]
        return [Save(name) for name in found]
    saves = as_saves(names_filter)
    for name in (name for save in saves for name in vlm.matching(save.points)):
        if stop is not None and not _comes_before(vlm, name, stop):
            raise UnreachedPointError(f"{name} comes after stop_at_layer={stop}")
    return saves


def only(cache: ActivationCache, names: Iterable[str]) -> ActivationCache:
    """A cache of these points alone."""
    kept = set(names)
    return cache.like({name: x for name, x in cache.items() if name in kept}, cache.axes)


def shaped(
    cache: ActivationCache,
    remove_batch_dim: bool,
    pos_slice: Any,
    device: torch.device | str | None,
) -> ActivationCache:
    """A cache after what was asked for; see ``HookedVLM.run_with_cache``.

    Raises:
        InputError: positions or a device that are not there.
    """
    if pos_slice is not None:
        cache = _changed(cache, lambda name, x, axes: _at(name, x, axes, pos_slice))
    if remove_batch_dim:
        cache = cache.like(dict(cache), cache.axes).remove_batch_dim()
    if device is not None:
        place = as_device(device)
        try:
            cache = _changed(cache, lambda name, x, axes: (x.to(place), axes))
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device={shown(device)}: {error}") from error
    return cache


def _changed(
    cache: ActivationCache,
    change: Callable[[str, Shaped[Tensor, "..."], Axes], tuple[Shaped[Tensor, "..."], Axes]],
) -> ActivationCache:
    made = {name: change(name, x, cache.axes[name]) for name, x in cache.items()}
    return cache.like(
        {name: x for name, (x, _) in made.items()},
        {name: axes for name, (_, axes) in made.items()},
    )


def batched(vlm: Wired, cache: ActivationCache) -> ActivationCache:
    """A cache with its batch's axis, also where that was taken away.

    Raises:
        InputError: something else than what a run saved.
    """
    if not isinstance(cache, ActivationCache):
        raise InputError(
            f"saved={shown(cache)}: what a run saved is wanted, run.saved; this is a "
            f"{type(cache).__name__}"
        )
    if cache.has_batch_dim:
        return cache
    whole = {
        name
        for name in cache
        if "batch" in vlm.hook_dict[name].axes and "batch" not in cache.axes.get(name, ())
    }
    made = cache.like(
        {name: x[None] if name in whole else x for name, x in cache.items()},
        {name: ("batch", *a) if name in whole else a for name, a in cache.axes.items()},
    )
    made.has_batch_dim = True
    return made


def _at(
    name: str, x: Shaped[Tensor, "..."], axes: Axes, wanted: Any
) -> tuple[Shaped[Tensor, "..."], Axes]:
    axis = next((axis for axis in ("pos", "query") if axis in axes), None)
    if axis is None or "image" in axes:
        return x, axes
    at = axes.index(axis)
    made = cut(x, wanted, at, f"{name}: pos_slice")
    return made, axes if made.ndim == x.ndim else (*axes[:at], *axes[at + 1 :])


def _comes_before(vlm: Wired, name: str, block: int) -> bool:
    if name.startswith(("vision.", "projector.")) or name == "hook_embed":
        return True
    layer = vlm.hook_dict[name].point.layer
    return layer is not None and layer < block
