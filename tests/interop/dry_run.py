"""A trace as it would be sent to a server, run here; says whether its logits are vlmlens's own.

In a process of its own: nnsight takes all modules that a server would not have away meanwhile.
"""

import numpy as np
import torch
from nnsight import TransformersModel
from PIL import Image

import vlmlens as vl
from vlmlens.interop.native import places
from vlmlens.interventions import PermuteVision, Scale, Site
from vlmlens.zoo.tiny import TINY, build


def picture(seed):
    noise = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise)


torch.set_num_threads(1)
hf_model, processor = build(next(iter(TINY)))
shuffle, name = PermuteVision(seed=3), "blocks.0.attn.hook_rot_k"
with vl.HookedVLM(hf_model, processor) as vlm:
    inputs = vlm.inputs([picture(0), picture(1)], ["Where?", "What color is the circle?"])
    found, axes = places(vlm), vlm.hook_dict["hook_embed"].axes
    site = Site("hook_embed", axes, None, inputs.layouts, inputs.keys)
    ours = vlm.run(inputs, [shuffle, Scale(point=name, by=0.7)]).logits

model = TransformersModel(hf_model, task="image-text-to-text", processor=processor)
for remote in (False, "local"):
    with torch.no_grad(), model.trace(**inputs.tensors, use_cache=False, remote=remote):
        found.write(model, "hook_embed", shuffle.apply(found.read(model, "hook_embed"), site))
        found.write(model, name, found.read(model, name) * 0.7)
        logits = model.output.logits.save()
    print(torch.equal(logits, ours))
