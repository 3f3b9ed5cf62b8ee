"""Video-LLaVA: LLaVA with a tower for pictures and another one for videos, which is not watched.

Of a video's frame, unlike of a picture, the tower's first token stays, which stands for no place.

Its processor calls pictures ``pixel_values_images``; the model takes them as ``pixel_values`` from
transformers 5.23 on, and those names are what inputs hold.
"""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures
from vlmlens.families.frames import square_frames
from vlmlens.families.llava import deepest_selected, one_grid
from vlmlens.families.llava_next import tile_of
from vlmlens.view import View


def _led_frames(videos: Pictures) -> list[tuple[View, ...]]:
    tile = tile_of(videos)
    found = square_frames(videos, tile.side, tile.side * tile.patch)
    return [tuple(replace(view, leading=1) for view in own) for own in found]


VIDEO_LLAVA = Family(
    model_type="video_llava",
    views=one_grid,
    vision_layers="model.image_tower.encoder.layers",
    vision_used=deepest_selected,
    renamed={"pixel_values_images": "pixel_values"},
    videos=_led_frames,
    tower_of_videos="model.video_tower",
)
