"""What a family is: where an architecture keeps its points, and how it lays out an image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vlmlens.errors import InputError
from vlmlens.view import View

#: Where at a module a point lies. ``in`` and ``out`` are its first input and its output;
#: ``embeds`` is the ``inputs_embeds`` that a language model is handed by name, ``stream`` an input
#: that the residual stream shares; ``cos`` and ``sin`` are the angles handed to attention,
#: ``query`` to ``pattern`` the steps inside it; ``heads`` is the output of a projection split by
#: the heads that fed it, ``reads`` the stream before a projection and its norm, once for each head
#: that reads it; ``scale`` is what a norm divides by.
Stage = Literal[
    "in",
    "out",
    "embeds",
    "stream",
    "cos",
    "sin",
    "query",
    "key",
    "value",
    "mask",
    "scores",
    "pattern",
    "heads",
    "reads",
    "scale",
]


@dataclass(frozen=True)
class Tap:
    """Where transformers keeps one point.

    Attributes:
        module: path from the block (or from the model, for points that exist once).
        stage: where at that module.
        layout: the tensor's axes there, as einops writes them; None where they are the point's.
            Where several of them make one of the point's, ``theirs -> the point's``.
        axes: the point's axes in this stack, where they are not the usual ones: a tower that
            packs all images into one row of patches has ``patch`` for ``image pos``.
        part: (which, of how many) parts of the last axis, at fused projections: of three, those of
            queries, keys and values, each as wide as its heads; otherwise equal ones.
        pieces: whether one pass reaches it several times, with one image or window each.
        floats: whether only calls with numbers count, at a table that also looks up ids.
        norm: path of the norm before the module, at ``reads``.

    Examples:
        >>> from vlmlens.families import BLOCKS
        >>> BLOCKS["llama"]["attn.hook_q"]
        Tap(module='self_attn.q_proj', stage='out', layout='batch pos (head d_head)', ...)
    """

    module: str
    stage: Stage
    layout: str | None = None
    axes: str | None = None
    part: tuple[int, int] | None = None
    pieces: bool = False
    floats: bool = False
    norm: str = ""

    def shares(self, sizes: Mapping[str, int]) -> tuple[int, tuple[int, ...]] | None:
        """Which part it is of a fused projection, and the shares of all; None where it is whole.

        Args:
            sizes: how many heads of each kind there are: ``head`` and ``kv_head``.

        Examples:
            >>> from vlmlens.families import Tap
            >>> Tap("qkv", "out", part=(1, 3)).shares({"head": 4, "kv_head": 2})
            (1, (4, 2, 2))
        """
        if self.part is None:
            return None
        which, of = self.part
        heads = ("head", "kv_head", "kv_head")
        if of == len(heads) and sizes.keys() >= set(heads):
            return which, tuple(sizes[name] for name in heads)
        return which, (1,) * of


#: Everything a block offers: point name -> tap, or why there is no such point.
Block = Mapping[str, Tap | str]


@dataclass(frozen=True)
class Pictures:
    """Images as a processor made them, passed to ``Family.views``; or videos, to ``Family.videos``.

    Attributes:
        config: the model's configuration.
        tensors: the images' tensors: ``pixel_values`` and what belongs to it.
        processor: the image processor, or of videos theirs; None for raw tensors.
        sizes: width and height of every original; None where unknown.
        seconds: of videos, the time of every frame that tokens are made of, NaN where unknown;
            empty where how many there are is read off the tensors.

    Examples:
        >>> from vlmlens.families import Pictures
        >>> tensors, processor = {"pixel_values": torch.zeros(1, 3, 64, 64)}, model.processor
        >>> pictures = Pictures(model.config, tensors, processor.image_processor, [(224, 224)])
        >>> ((view,),) = model.family.views(pictures)  # one grid of one image
        >>> view.rows, view.columns
        (8, 8)
    """

    config: Any
    tensors: Mapping[str, Any]
    processor: Any
    sizes: Sequence[tuple[int, int] | None]
    seconds: Sequence[Sequence[float]] = ()

    def originals(self) -> list[tuple[int, int]]:
        """The sizes, for families whose tiles follow from them and the processor's settings.

        Raises:
            InputError: a size, or the processor, is missing.
        """
        known = [size for size in self.sizes if size is not None]
        if len(known) < len(self.sizes) or self.processor is None:
            raise InputError(
                "how an image was cut into tiles is read from its size and the processor: open "
                "the model with its processor, and pass sizes=[(width, height), ...]"
            )
        return known


def count(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Position ids: every sample counts its own tokens from 0, wherever the padding is."""
    return (tensors["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)


def every_block(config: Any) -> int | None:
    """The projector reads the tower's last block."""
    return None


def no_others(text: Any) -> Sequence[str]:
    """All layers turn by one module."""
    return ()


def unscaled(config: Any) -> float:
    """Logits are what the unembedding makes."""
    return 1.0


def layer_types(text: Any) -> Sequence[str]:
    """The kind of every layer, as the configuration says; empty where all are alike.

    Examples:
        >>> from vlmlens.families import layer_types
        >>> layer_types(model.config.get_text_config())  # LLaMA's blocks are all alike
        ()
    """
    return getattr(text, "layer_types", None) or ()


@dataclass(frozen=True)
class Family:
    """An architecture, as data.

    Attributes:
        model_type: transformers' name of it, as in ``config.model_type``.
        views: ``Pictures`` -> for each image, the grids of its tokens, in the tokens' order.
        vision_layers: path of the tower's list of blocks.
        projector: path of the module that maps the tower's output to vision tokens.
        lm_layers: path of the language model's list of blocks.
        final_norm: path of the norm after the last block.
        lm_head: path of the unembedding.
        rotary: path of the module that computes RoPE's angles.
        rotaries: the language model's configuration -> that of every layer, where there are
            several; otherwise empty.
        axes: what the rows of the position ids count.
        vision_rotary: path of the module that computes the tower's angles from rows and columns.
        vision_used: config -> how many of the tower's blocks the projector reads; None for all.
        points: points that lie elsewhere than is usual, or the reason why there is none.
        lm_kinds: the language model's configuration -> the kind of every layer, where layers have
            several point tables.
        blocks: point tables of stacks that ``blocks.py`` lacks, by ``model_type``.
        per_token: inputs with a number for every token -> (an image token's, a generated one's,
            and a video token's where videos have another); every other token of a prompt has 0.
        per_sample: inputs whose first axis counts samples, not images.
        positions: (model, tensors) -> position ids.
        raster: whether the projector's tokens come in the order of the sequence.
        deepstack: path of a list of further projectors, whose tokens are added to the stream after
            the first blocks.
        around_image: of ``per_token``, those in which tokens beside an image have its number, too
            -> the configuration's fields that say which.
        around_video: the same of tokens beside a video, which have a video token's number.
        within_image: of ``per_token``, those in which all that stands from a token to another has
            an image's number -> the configuration's fields of what begins it, and of what ends it.
        counting: inputs whose numbers count the entries of another one along its first two axes,
            and go on from image to image -> that one. Negative numbers count nothing.
        renamed: what a processor calls an image input -> what the model's forward takes it as.
        unlike: invariants that do not hold, ``"stream"`` or ``"rotation"``, and why.
        logit_scale: config -> what the unembedding's output is multiplied with to be logits.
        embed_scale: config -> what rows of the embedding table are multiplied with on their way to
            block 0, where no module does it.
        chat_template: for checkpoints that come without one.
        towers: other paths of the tower's list of blocks, by the tower's ``model_type``.
        videos: ``Pictures`` -> for each video, the grid of each of its frames, in the tokens'
            order; None where no videos are shown.
        video_token: the configuration's field of the token that videos stand by.
        videos_since: the first version of transformers whose forward pass takes them; empty where
            every one does.
        tower_of_videos: path of another tower that videos go through, whose points are not watched;
            empty where they go through the pictures'.
        unmixed: why pictures and videos go into no one sample; empty where they do.

    Examples:
        >>> family = model.family
        >>> family.model_type, family.lm_layers, family.projector
        ('llava', 'model.language_model.layers', 'model.multi_modal_projector')
        >>> family.axes  # what position ids count
        ('position',)
    """

    model_type: str
    views: Callable[[Pictures], list[tuple[View, ...]]]
    vision_layers: str = "model.vision_tower.encoder.layers"
    projector: str = "model.multi_modal_projector"
    lm_layers: str = "model.language_model.layers"
    final_norm: str = "model.language_model.norm"
    lm_head: str = "lm_head"
    rotary: str = "model.language_model.rotary_emb"
    rotaries: Callable[[Any], Sequence[str]] = no_others
    axes: tuple[str, ...] = ("position",)
    vision_rotary: str = ""
    vision_used: Callable[[Any], int | None] = every_block
    points: Mapping[str, Tap | str] = field(default_factory=dict)
    lm_kinds: Callable[[Any], Sequence[str]] = layer_types
    blocks: Mapping[str, Block] = field(default_factory=dict)
    per_token: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    per_sample: tuple[str, ...] = ()
    positions: Callable[[Any, Mapping[str, Any]], Any] = count
    raster: bool = True
    deepstack: str = ""
    around_image: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    around_video: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    within_image: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=dict
    )
    counting: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    unlike: Mapping[str, str] = field(default_factory=dict)
    logit_scale: Callable[[Any], float] = unscaled
    embed_scale: Callable[[Any], float] = unscaled
    chat_template: str = ""
    towers: Mapping[str, str] = field(default_factory=dict)
    videos: Callable[[Pictures], list[tuple[View, ...]]] | None = None
    video_token: str = "video_token_id"
    videos_since: str = ""
    tower_of_videos: str = ""
    unmixed: str = ""

    def around(self, config: Any) -> "Family":
        """The family with the path that holds for the tower of this configuration.

        Examples:
            >>> from vlmlens.families import FAMILIES
            >>> FAMILIES["llava"].around(model.config).vision_layers == model.family.vision_layers
            True
        """
        path = self.towers.get(config.vision_config.model_type, self.vision_layers)
        return replace(self, vision_layers=path)
