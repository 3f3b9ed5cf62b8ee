"""Cut the question's view of the image, layer by layer: where is the image read?"""

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.interventions import KnockOut

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    samples = shapes_2d(32)
    inputs = model.inputs(samples, answers=[s.answer or "" for s in samples])
    clean = vl.probes.answer_log_prob(model.run(inputs))
    for layer in range(model.layers):
        where = vl.Where(layers=layer, queries=("user", "template", "assistant"), keys="vision")
        cut = vl.probes.answer_log_prob(model.run(inputs, [KnockOut(where=where)]))
        print(
            f"layer {layer}: log p of the right answer falls by {float((clean - cut).mean()):.2f}"
        )
