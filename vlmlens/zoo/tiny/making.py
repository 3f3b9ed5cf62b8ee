"""A tiny random model of every family, with its own processor: nothing is downloaded.

They are what the tests run on, and what ``vlmlens check --tiny FAMILY`` opens. Every weight is
random, norms and biases too: an identity norm would hide a point in the wrong place, and several
families ignore the image altogether as transformers initialises them.
"""

from typing import Any

from vlmlens.errors import UnknownModelError, UnsupportedModelError
from vlmlens.extras import naming_extra
from vlmlens.zoo.opening.frames import frames_class
from vlmlens.zoo.opening.processors import stills
from vlmlens.zoo.shapes import CHAT_TEMPLATE, shapes_tokenizer
from vlmlens.zoo.tiny.families import TINY
from vlmlens.zoo.tiny.tiny import OF_TOKENIZER, Tiny

WORDS = (
    "Answer in a word or two. USER: \nWhat color is the circle? ASSISTANT: red",
    "Is the red square left of the blue star? yes no Describe the image. user USER",
)


def build(name: str) -> tuple[Any, Any]:
    """A tiny random model of a family, and its processor.

    Args:
        name: a family, or ``family/variant``: a key of ``TINY``.

    Raises:
        UnknownModelError: no such tiny model.
        UnsupportedModelError: the installed transformers does not know the family yet.
        MissingToolError: its processor needs a library that only an extra brings.

    Examples:
        >>> from vlmlens.zoo import tiny
        >>> qwen = vl.HookedVLM(*tiny.build("qwen2_vl"))
        >>> qwen.rope.axes, qwen.inputs(sample).layouts[0].grid()
        (('time', 'height', 'width'), (5, 5))
    """
    if name not in TINY:
        raise UnknownModelError(name, TINY, "(tiny models of the families)")
    return made(TINY[name], name.partition("/")[0])


def made(tiny: Tiny, model_type: str, dtype: Any = None) -> tuple[Any, Any]:
    """A random model of any size, and its processor, as a table's entry describes it.

    Args:
        tiny: what it is built from.
        model_type: its family.
        dtype: of the weights, a ``torch.dtype``; by default torch's own. They are made on torch's
            default device (``with torch.device("cuda"):``).

    Examples:
        >>> from dataclasses import replace
        >>> from vlmlens.zoo.tiny import TINY, made
        >>> deeper = TINY["llava"].config["text_config"] | {"num_hidden_layers": 5}
        >>> entry = replace(TINY["llava"], config=TINY["llava"].config | {"text_config": deeper})
        >>> vl.HookedVLM(*made(entry, "llava")).layers
        5
    """
    import torch
    from transformers import AutoModelForImageTextToText, __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    import vlmlens.zoo.variants  # noqa: F401  model types of our own

    if model_type not in CONFIG_MAPPING:
        raise UnsupportedModelError(
            f"{model_type} is known here, but transformers {__version__} does not know it: "
            "install a newer transformers"
        )
    processor = _processor(tiny, model_type)
    tokenizer = processor.tokenizer
    special = {
        f"{part}_token_id": getattr(tokenizer, f"{part}_token_id") for part in ("bos", "eos", "pad")
    }
    config_class = CONFIG_MAPPING[model_type]
    size = len(tokenizer)
    settings: dict[str, Any] = {
        key: size if value == OF_TOKENIZER else value for key, value in tiny.config.items()
    }
    settings["text_config"] = settings["text_config"] | special | {"vocab_size": size}
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in tiny.ids.items()}
    at = getattr(config_class, "attribute_map", {})
    config = config_class(**settings, **{at.get(key, key): value for key, value in ids.items()})
    torch.manual_seed(tiny.seed)
    model = AutoModelForImageTextToText.from_config(
        config, dtype=dtype or torch.get_default_dtype()
    ).eval()
    for part in special:
        setattr(model.generation_config, part, special[part])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            else:
                fan = parameter[0].numel()
                parameter.copy_(torch.randn_like(parameter) * 0.9 / fan**0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):
                buffer.fill_(0.8)
    return model, processor


def _processor(tiny: Tiny, model_type: str) -> Any:
    import transformers

    from vlmlens.zoo.opening import pixels

    tokenizer = shapes_tokenizer(WORDS * 4, 300, tiny.tokens)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(tiny.plain)}, replace_extra_special_tokens=False
    )
    kind, settings = tiny.pixels
    template = CHAT_TEMPLATE if tiny.frames is None else _with_videos(tiny.video)
    template = template.replace("<image>", tiny.image)
    with naming_extra(f"the processor of {model_type}"):
        processor = stills(model_type)(
            image_processor=(getattr(pixels, kind, None) or getattr(transformers, kind))(
                **settings
            ),
            tokenizer=tokenizer,
            chat_template=template if tiny.bos else template.removeprefix("{{ bos_token }}"),
            **{name: getattr(transformers, part)() for name, part in tiny.parts.items()},
            **tiny.processor,
        )
    if tiny.frames is not None:
        processor.video_processor = frames_class(model_type)(**tiny.frames)
        told = getattr(processor, "videos_kwargs", None) or {}
        if "size" in told:  # Omni's tell it theirs, of thousands of patches
            processor.videos_kwargs = told | {"size": tiny.frames["size"]}
    return processor


def _with_videos(video: str) -> str:
    """The chat template, which writes a message's videos after its pictures."""
    image = "{% for part in message['content'] if part['type'] == 'image' %} <image>\n{% endfor %}"
    both = image + image.replace("'image'", "'video'").replace("<image>", video)
    leads = "message['content'][0]['type']"
    return CHAT_TEMPLATE.replace(image, both).replace(f"{leads} == 'image'", f"{leads} != 'text'")
