"""PaddleOCR-VL: SigLIP with axial RoPE, all images in one row; the projector merges patches.

VideoLLaMA3 has such a tower as well, and numbers positions one after the other. Of a video's frames
it is shown no patch that resembles the one before it in time.
"""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.frames import frames
from vlmlens.families.geometry import whole
from vlmlens.families.qwen2_vl import merged_grids, rope_index
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    """Every image is one grid; how many patches are merged is said image by image."""
    grids = pictures.tensors["image_grid_thw"].tolist()
    merges = pictures.tensors["image_merge_sizes"].tolist()
    return [
        (View(rows // merge, columns // merge, whole(size)),)
        for (_, rows, columns), merge, size in zip(grids, merges, pictures.sizes, strict=True)
    ]


def _kept_frames(videos: Pictures) -> list[tuple[View, ...]]:
    """Every frame is one grid, with the tokens that the processor's mask keeps."""
    counted, kept = (videos.tensors[f"video_{name}"] for name in ("grid_thw", "compression_mask"))
    merges = videos.tensors["video_merge_sizes"].tolist()
    grids = [
        View(rows // merge, columns // merge, whole(size))
        for (_, rows, columns), merge, size in zip(
            counted.tolist(), merges, videos.sizes, strict=True
        )
    ]
    sizes = counted.prod(-1).tolist()
    own = kept.split([size // merge**2 for size, merge in zip(sizes, merges, strict=True)])
    found = frames(videos, grids, counted[:, 0].tolist())
    return [
        tuple(
            replace(view, kept=tuple(mask))
            for view, mask in zip(views, tokens.view(len(views), -1).tolist(), strict=True)
        )
        for views, tokens in zip(found, own, strict=True)
    ]


def _points(layers: str) -> dict[str, Tap | str]:
    return {
        "vision.hook_embed": Tap(f"{layers}.0", "in", axes="patch d_model"),
        "projector.hook_in": Tap("model.projector", "in", axes="patch d_model"),
        "projector.hook_out": Tap("model.projector", "out", axes="patch d_model"),
    }


PADDLEOCR_VL = Family(
    model_type="paddleocr_vl",
    views=merged_grids,
    vision_layers="model.visual.vision_model.encoder.layers",
    projector="model.projector",
    axes=("time", "height", "width"),
    vision_rotary="model.visual.vision_model.encoder.rotary_pos_emb",
    points=_points("model.visual.vision_model.encoder.layers"),
    per_token={"mm_token_type_ids": (1, 0)},
    positions=rope_index,
)
VIDEO_LLAMA_3 = Family(
    model_type="video_llama_3",
    views=_views,
    vision_layers="model.vision_model.encoder.layers",
    projector="model.projector",
    vision_rotary="model.vision_model.rotary_pos_emb",
    points=_points("model.vision_model.encoder.layers"),
    videos=_kept_frames,
)
