"""What a processor makes of a rendered conversation, its pictures and its videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.model.sequence.videos import Decoded
from vlmlens.versions import unsaid

#: So many rows of pixels pass for the channels of an array, where a processor has to guess.
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Made:
    """What a processor made.

    Attributes:
        tensors: by name.
        text: the text as it saw it, images not yet expanded. Some processors write around the
            text they are given (PaliGemma's start token).
        replaced: where it expanded placeholders, as transformers reports it.
    """

    tensors: dict[str, Any]
    text: str
    replaced: list[dict[str, Any]]

    def order(self, pictures: int) -> list[int]:
        """Pictures, and videos numbered after them, in the order that they stand in.

        Nothing where the processor does not say: then there are pictures alone.
        """
        next_of = {"image": iter(range(pictures)), "video": iter(range(pictures, 10**9))}
        return [next(next_of[kind]) for kind in self.kinds]

    @property
    def kinds(self) -> list[str]:
        """``"image"`` or ``"video"`` for each, in the order that they stand in."""
        return [item.get("type", "image") for item in self.replaced]


def refuse_no_processor(given: Any) -> None:
    """Refuse what is no processor of texts and pictures; None is one that is not there.

    Raises:
        InputError: a tokenizer or an image processor alone, or something else.
    """
    if given is None:
        return
    parts = ("tokenizer", "apply_chat_template", "get_text_with_replacements")
    if isinstance(given, type) or any(getattr(given, part, None) is None for part in parts):
        raise InputError(
            f"processor={shown(given)}: a {type(given).__name__} is no processor, which holds the "
            "tokenizer and the image processor of a model: AutoProcessor.from_pretrained(name) "
            "opens it; leave it out to use inputs_from(...) alone"
        )


def processed(
    processor: Any,
    text: str,
    pictures: Sequence[Any],
    videos: Sequence[Decoded],
    pictures_told: Mapping[str, Any],
    videos_told: Mapping[str, Any],
) -> Made:
    """What the processor makes of a text, its pictures and its videos.

    Raises:
        InputError: it refuses them.
    """
    bos = processor.tokenizer.bos_token
    seen: list[str] = []
    expand = processor.get_text_with_replacements

    def recorded(given: list[str], *args: Any, **kwargs: Any) -> Any:
        seen.append(given[0])
        return expand(given, *args, **kwargs)

    processor.get_text_with_replacements = recorded
    options: dict[str, Any] = {"images_kwargs": dict(pictures_told)} if pictures_told else {}
    if any(getattr(picture, "height", 0) in CHANNELS for picture in pictures):
        options.setdefault("images_kwargs", {})["input_data_format"] = "channels_last"
    if videos:
        options["videos"] = [[video.frames for video in videos]]
        options["videos_kwargs"] = (
            unsaid(processor.video_processor)
            | dict(videos_told)
            | {
                "video_metadata": [video.told() for video in videos],
                "do_sample_frames": False,  # that is done
                "input_data_format": "channels_last",
                "return_metadata": True,
            }
        )
    # A template that writes the start token itself must not get a second one.
    if bos and text.startswith(bos):
        options["add_special_tokens"] = False
    try:
        made = processor(
            text=[text],
            images=[list(pictures)] if pictures else None,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
            **options,
        )
    except Exception as error:  # processors raise whatever a picture makes them stumble over
        counts = sorted({len(video.frames) for video in videos})
        uneven = (
            f". Its videos have {' and '.join(map(str, counts))} frames, and some models take as "
            f"many of each: videos_kwargs={{'num_frames': {min(counts)}}}"
            if len(counts) > 1
            else ""
        )
        raise InputError(f"the model's processor refuses this sample: {error}{uneven}") from error
    finally:
        del processor.get_text_with_replacements
    replaced = made.pop("text_replacement_offsets", None)
    made.pop("video_metadata", None)
    moved = list(replaced[0]) if replaced is not None and len(replaced) else []  # or a tensor
    return Made(dict(made), seen[0] if seen else text, moved)
