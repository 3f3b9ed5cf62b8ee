"""Gemma 4: a tower that takes any shape and pools it; late layers read an earlier layer's keys.

After its two halves a block may add a third, per-layer embeddings of the token, and scales the
stream: neither is a point, and ``hook_resid_post`` holds both. The embeddings of all blocks are
made of what the language model is handed, before its first block: ``hook_embed`` lies there, so
that an edit of it reaches them.

A video's frames are so many whole images, each with its minute and second before it.
"""

from collections.abc import Sequence
from typing import Any

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.frames import frames
from vlmlens.families.geometry import whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    grids = _pooled(pictures.config, pictures.tensors["image_position_ids"])
    return [
        (View(rows, columns, whole(size)),)
        for (rows, columns), size in zip(grids, pictures.sizes, strict=True)
    ]


def _timed_frames(videos: Pictures) -> list[tuple[View, ...]]:
    counts = videos.tensors["num_frames_per_video"].tolist()
    every = _pooled(videos.config, videos.tensors["video_position_ids"])
    if sum(counts) != len(every):
        raise ValueError(f"{counts} frames are told, and there are {len(every)}")
    starts = [sum(counts[:n]) for n in range(len(counts))]
    grids = [
        View(*every[start], whole(size)) for start, size in zip(starts, videos.sizes, strict=True)
    ]
    return frames(videos, grids, counts)


def _pooled(config: Any, places: Any) -> list[tuple[int, int]]:
    """Rows and columns of tokens of each image, by its patches' places (image patch 2)."""
    pooled = config.vision_config.pooling_kernel_size
    last = places.amax(1).tolist()  # padding is at (-1, -1)
    return [((row + 1) // pooled, (column + 1) // pooled) for column, row in last]


def _kinds(text: Any) -> Sequence[str]:
    own = text.num_hidden_layers - text.num_kv_shared_layers
    whole = [kind == "full_attention" for kind in text.layer_types]
    return [
        "shared" if layer >= own else "keys as values" if text.attention_k_eq_v and seen else ""
        for layer, seen in enumerate(whole)
    ]


GEMMA4 = Family(
    model_type="gemma4",
    unlike={
        "stream": "does not apply: a per-layer embedding is added, and then the stream is scaled"
    },
    views=_views,
    projector="model.embed_vision",
    points={
        "projector.hook_in": Tap(
            "model.embed_vision.embedding_pre_projection_norm", "in", axes="patch d_model"
        ),
        "projector.hook_out": Tap("model.embed_vision", "out", axes="patch d_model"),
        "hook_embed": Tap("model.language_model", "embeds"),
    },
    lm_kinds=_kinds,
    per_token={"mm_token_type_ids": (1, 0, 2)},
    videos=_timed_frames,
    videos_since="5.23",  # until then it forgot how many frames a video has, and stopped there
)
