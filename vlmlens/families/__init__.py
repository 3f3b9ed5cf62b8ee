"""One architecture per file, as data; what their blocks offer is in three tables beside them.

``towers.py`` holds those of vision towers, ``language_models.py`` those of language models, and
``blocks.py`` says which model is built of which.
"""

from vlmlens.families.aya_vision import AYA_VISION
from vlmlens.families.blocks import BLOCKS, block_table
from vlmlens.families.cohere2_vision import COHERE2_VISION
from vlmlens.families.cohere_compass import COHERE_COMPASS
from vlmlens.families.cosmos3_edge import COSMOS3_EDGE
from vlmlens.families.deepseek_vl import DEEPSEEK_VL, DEEPSEEK_VL_HYBRID, JANUS
from vlmlens.families.ernie4_5_vl_moe import ERNIE4_5_VL_MOE
from vlmlens.families.exaone4_5 import EXAONE4_5
from vlmlens.families.family import Block, Family, Pictures, Stage, Tap, layer_types
from vlmlens.families.gemma3 import GEMMA3
from vlmlens.families.gemma4 import GEMMA4
from vlmlens.families.glm4v import GLM4V, GLM4V_MOE, GLM46V, GLM_OCR
from vlmlens.families.glmga import GLMGA
from vlmlens.families.hyperclovax_vision_v2 import HYPERCLOVAX_VISION_V2
from vlmlens.families.idefics3 import IDEFICS3, SMOLVLM
from vlmlens.families.internvl import INTERNVL, QIANFAN_OCR
from vlmlens.families.lfm2_vl import LFM2_VL
from vlmlens.families.llama4 import LLAMA4
from vlmlens.families.llava import LLAVA
from vlmlens.families.llava_next import LLAVA_NEXT, LLAVA_NEXT_VIDEO
from vlmlens.families.llava_onevision import LLAVA_ONEVISION
from vlmlens.families.mistral3 import LIGHTON_OCR, MISTRAL3
from vlmlens.families.molmo2 import MOLMO2
from vlmlens.families.ovis2 import OVIS2
from vlmlens.families.paddleocr_vl import PADDLEOCR_VL, VIDEO_LLAMA_3
from vlmlens.families.paligemma import PALIGEMMA
from vlmlens.families.qwen2_5_vl import QWEN2_5_VL
from vlmlens.families.qwen2_vl import QWEN2_VL
from vlmlens.families.qwen3_5 import QWEN3_5, QWEN3_5_MOE
from vlmlens.families.qwen3_vl import QWEN3_VL, QWEN3_VL_MOE
from vlmlens.families.qwen_omni import QWEN2_5_OMNI, QWEN3_OMNI
from vlmlens.families.video_llava import VIDEO_LLAVA
from vlmlens.families.vipllava import VIPLLAVA
from vlmlens.families.vlmlens_llava import VLMLENS_LLAVA, VLMLENS_LLAVA_GRID

#: model_type -> family.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        LLAVA,
        LLAVA_NEXT,
        LLAVA_NEXT_VIDEO,
        LLAVA_ONEVISION,
        VIPLLAVA,
        VIDEO_LLAVA,
        QWEN2_VL,
        QWEN2_5_VL,
        QWEN3_VL,
        QWEN3_VL_MOE,
        QWEN3_5,
        QWEN3_5_MOE,
        QWEN2_5_OMNI,
        QWEN3_OMNI,
        GEMMA3,
        GEMMA4,
        PALIGEMMA,
        IDEFICS3,
        SMOLVLM,
        MISTRAL3,
        LIGHTON_OCR,
        INTERNVL,
        QIANFAN_OCR,
        AYA_VISION,
        COHERE2_VISION,
        GLM4V,
        GLM46V,
        GLMGA,
        GLM4V_MOE,
        GLM_OCR,
        ERNIE4_5_VL_MOE,
        OVIS2,
        MOLMO2,
        PADDLEOCR_VL,
        VIDEO_LLAMA_3,
        EXAONE4_5,
        COHERE_COMPASS,
        COSMOS3_EDGE,
        HYPERCLOVAX_VISION_V2,
        DEEPSEEK_VL,
        DEEPSEEK_VL_HYBRID,
        JANUS,
        LFM2_VL,
        LLAMA4,
        VLMLENS_LLAVA,
        VLMLENS_LLAVA_GRID,
    )
}

__all__ = [
    "BLOCKS",
    "FAMILIES",
    "Block",
    "Family",
    "Pictures",
    "Stage",
    "Tap",
    "block_table",
    "layer_types",
]
