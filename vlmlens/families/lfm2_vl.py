"""LFM2-VL: SigLIP 2 at any shape, in tiles if large; most of the LM's layers convolve."""

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import blank, tiles, whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    factor = pictures.config.downsample_factor
    sides = [
        (-(-rows // factor), -(-columns // factor))
        for rows, columns in pictures.tensors["spatial_shapes"].tolist()
    ]
    if len(sides) == len(pictures.sizes):
        return [
            (View(*side, whole(size)),) for side, size in zip(sides, pictures.sizes, strict=True)
        ]
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        # How many tiles is not among the tensors; a blank image is cut in the same way.
        made = pictures.processor(blank(size), return_tensors="np", return_row_col_info=True)
        cut = tiles(whole(size), int(made["image_rows"][0]), int(made["image_cols"][0]))
        views = [View(*sides.pop(0), box) for box in cut]
        if len(made["spatial_shapes"]) > len(cut):
            views.append(View(*sides.pop(0), whole(size), thumbnail=True))
        found.append(tuple(views))
    return found


LFM2_VL = Family(
    model_type="lfm2_vl",
    views=_views,
    final_norm="model.language_model.embedding_norm",
    points={
        "projector.hook_in": Tap(
            "model.vision_tower.post_layernorm", "out", axes="image pos d_model"
        ),
        "projector.hook_out": Tap(
            "model.multi_modal_projector",
            "out",
            "1 row column d_model -> (row column) d_model",
            axes="patch d_model",
            pieces=True,
        ),
    },
)
