"""Cosmos3 Edge: SigLIP 2 with all images in one row; a Llama whose MLP has no gate."""

from vlmlens.families.family import Family, Tap
from vlmlens.families.qwen2_vl import merged_frames, merged_grids, rope_index

LAYERS = "model.visual.encoder.layers"

COSMOS3_EDGE = Family(
    model_type="cosmos3_edge",
    views=merged_grids,
    vision_layers=LAYERS,
    projector="model.projector",
    axes=("time", "height", "width"),
    points={
        "vision.hook_embed": Tap(f"{LAYERS}.0", "in", axes="patch d_model"),
        "projector.hook_in": Tap("model.projector", "in", axes="patch d_model"),
        "projector.hook_out": Tap("model.projector", "out", axes="patch d_model"),
    },
    per_token={"mm_token_type_ids": (1, 0, 2)},
    positions=rope_index,
    videos=merged_frames,
)
