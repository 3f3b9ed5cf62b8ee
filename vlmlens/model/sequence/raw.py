"""Raw tensors in; the same, and what every position is, out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.checks import plain, shown, whole, wholes, word
from vlmlens.errors import InputError
from vlmlens.families import Family, Pictures
from vlmlens.inputs import Inputs
from vlmlens.model.sequence.dealing import layout_of
from vlmlens.model.sequence.fitting import kind_of
from vlmlens.model.sequence.samples import generated_numbers, per_token, to_device
from vlmlens.model.sequence.spelling import spelled
from vlmlens.model.sequence.tensors import refuse_others, seen_mask, token_ids, vision_ids
from vlmlens.view import View

#: Role of every position, or ranges (half open) of positions by role.
Roles = Sequence[str] | Mapping[str, Any]
#: What is of videos, by names that do not say so.
OF_VIDEOS = ("second_per_grid_ts",)


def from_tensors(
    input_ids: Int[Tensor, "batch pos"],
    family: Family,
    model: Any,
    *,
    attention_mask: Shaped[Tensor, "batch pos"] | None,
    roles: Roles | Sequence[Roles] | None,
    sizes: Sequence[tuple[int, int]] | None,
    images: Mapping[str, Shaped[Tensor, "..."]],
    processor: Any = None,
) -> Inputs:
    """Raw tensors and the role of every position; see ``HookedVLM.inputs_from``."""
    config = model.config
    input_ids = token_ids(input_ids, model, family)
    batch, length = input_ids.shape
    refuse_others(images, model, family)
    mask = seen_mask(attention_mask, input_ids)
    per_sample = _by_sample(roles, batch)
    shown = _Shown(family, config, images, processor, sizes)
    for own, what in zip(vision_ids(config, family), ("image", "video"), strict=False):
        tokens, views = int((input_ids == own).sum()), shown.views[what]
        expected = sum(view.size for v in views for view in v)
        if tokens != expected:
            raise InputError(
                f"input_ids hold {tokens} {what} tokens (id {own}), but the {len(views)} {what}(s) "
                f"given make {expected}"
            )
    decode = processor.tokenizer.decode if processor is not None else None
    layouts = []
    for ids, seen, own in zip(input_ids.tolist(), mask.tolist(), per_sample, strict=True):
        named = _roles(own, ids, config)
        what = [shown.kinds.get(i, "") if s else "" for i, s in zip(ids, seen, strict=True)]
        named = [
            "pad" if not s else "vision" if w else r
            for w, s, r in zip(what, seen, named, strict=True)
        ]
        texts = [decode([i]) for i in ids] if decode else [""] * length
        layout = layout_of(named, texts, *shown.next_of([w for w in what if w]))
        if decode:
            layout = replace(layout, spelled=tuple(spelled(ids, texts, decode)))
        layouts.append(layout)
    tensors = {"input_ids": input_ids, "attention_mask": mask} | dict(images)
    tensors |= per_token(input_ids, family, config)
    tensors = to_device(tensors, model)
    tensors["position_ids"] = family.positions(model, tensors)
    numbers = generated_numbers(family)
    return Inputs(tensors, tuple(layouts), (), numbers, kind_of(config))


class _Shown:
    """The pictures and videos that raw tensors hold, to be dealt to samples in their order.

    Attributes:
        kinds: what each token is of.
        views: the grids of every picture, and the frames of every video.
    """

    def __init__(
        self, family: Family, config: Any, given: Mapping[str, Any], processor: Any, sizes: Any
    ):
        films = {name: x for name, x in given.items() if "video" in name or name in OF_VIDEOS}
        stills = {name: x for name, x in given.items() if name not in films}
        counts = _images(stills), _images(films)
        known = [None] * sum(counts) if sizes is None else _sizes(sizes)
        if not stills and not films:
            known = []
        self.kinds = dict(zip(vision_ids(config, family), ("image", "video"), strict=False))
        self.sizes = {"image": known, "video": []}
        if films:
            self.sizes = {"image": known[: counts[0]], "video": known[counts[0] :]}
        self.views: dict[str, list[tuple[View, ...]]] = {"image": [], "video": []}
        for what, tensors, make in (
            ("image", stills, family.views),
            ("video", films, family.videos),
        ):
            if tensors and make is not None:
                taker = getattr(processor, f"{what}_processor", None)
                own = Pictures(config, tensors, taker, self.sizes[what])
                self.views[what] = _views(family, make, own)
        self._dealt = {"image": 0, "video": 0}

    def next_of(self, what: Sequence[str]) -> tuple[Any, Any, Any, Any, int]:
        """What ``layout_of`` takes of a sample whose vision tokens are of these kinds, in order."""
        order: list[tuple[str, int]] = []
        at = 0
        while at < len(what) and self._dealt[what[at]] < len(self.views[what[at]]):
            number = self._dealt[what[at]]
            order.append((what[at], number))
            self._dealt[what[at]] += 1
            at += sum(view.size for view in self.views[order[-1][0]][number])
        numbered = sorted(order)  # pictures come first
        return (
            [self.views[kind][n] for kind, n in numbered],
            [self.sizes[kind][n] for kind, n in numbered],
            (),
            [numbered.index(one) for one in order],
            sum(kind == "video" for kind, _ in order),
        )


def _views(family: Family, make: Any, pictures: Pictures) -> list[tuple[View, ...]]:
    """The grids of every image's tokens."""
    names, known = ", ".join(pictures.tensors), pictures.sizes
    try:
        views = make(pictures)
    except KeyError as error:
        raise InputError(
            f"{family.model_type} takes {error.args[0]} beside {names}: pass all that its "
            "processor makes of an image"
        ) from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"the image tensors {names} and {len(known)} size(s) do not fit together: {error}"
        ) from error
    if len(views) != len(known):
        raise InputError(f"{len(known)} sizes for {len(views)} image(s): give one each")
    return views


def _images(tensors: Mapping[str, Shaped[Tensor, "..."]]) -> int:
    """How many images raw tensors hold."""
    names = ("image_grid_thw", "video_grid_thw", "image_sizes", "pixel_values")
    for name in (*names, "num_frames_per_video", "video_grids", "pixel_values_videos"):
        if name in tensors:
            given = tensors[name]
            if not given.ndim:
                raise InputError(f"{name}={shown(given)}: an entry for every image is wanted")
            return given.shape[0]
    return 0


def _sizes(given: Any) -> list[tuple[int, int] | None]:
    """Width and height of every image; None for one of which nobody knows."""
    items = plain(given)
    if not isinstance(items, list | tuple):
        raise InputError(f"sizes={shown(given)}: (width, height) of every image is wanted")
    made: list[tuple[int, int] | None] = []
    for size in items:
        pair = None if size is None else wholes(size, "sizes", least=1)
        if pair is not None and len(pair) != 2:
            raise InputError(f"sizes={shown(given)}: {shown(size)} is no (width, height)")
        made.append(pair)
    return made


def _by_sample(roles: Any, batch: int) -> list[Any]:
    """What was said of every sample's roles: the same of all, or something of each."""
    if roles is None or isinstance(roles, Mapping):
        return [roles] * batch
    said = plain(roles)
    if not isinstance(said, list | tuple):
        raise InputError(f"roles={shown(roles)}: a role for every position, or ranges by role")
    if all(isinstance(role, str) for role in said):
        return [said] * batch
    if len(said) != batch:
        raise InputError(f"roles for {len(said)} samples, but {batch} samples")
    return list(said)


def _roles(roles: Any, ids: list[int], config: Any) -> list[str]:
    bos = getattr(config.get_text_config(), "bos_token_id", None)
    if roles is None:
        return ["bos" if i == bos and at == 0 else "user" for at, i in enumerate(ids)]
    if not isinstance(roles, Mapping):
        said = plain(roles)
        if not isinstance(said, list | tuple):
            raise InputError(f"roles={shown(roles)}: a role for every position, or ranges by role")
        if len(said) != len(ids):
            raise InputError(f"{len(said)} roles for {len(ids)} positions")
        return [word(role, "roles") for role in said]
    named = ["template"] * len(ids)
    for role, spans in roles.items():
        for start, end in _spans(spans, str(role)):
            if not 0 <= start < end <= len(ids):
                raise InputError(f"{role} spans {start}:{end}, but there are {len(ids)} positions")
            named[start:end] = [role] * (end - start)
    return named


def _spans(given: Any, role: str) -> list[tuple[int, int]]:
    """Half-open ranges: one position, one range, or several of either."""
    said = plain(given)
    if not isinstance(said, list | tuple):
        at = whole(said, f"roles[{role!r}]")
        return [(at, at + 1)]
    if said and not isinstance(said[0], list | tuple):
        said = [said]
    spans = [wholes(span, f"roles[{role!r}]") for span in said]
    if wrong := [span for span in spans if len(span) != 2]:
        raise InputError(f"roles[{role!r}]={shown(given)}: {wrong[0]} is no range (start, end)")
    return [(start, end) for start, end in spans]
