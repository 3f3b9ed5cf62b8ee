"""RoPE sensitivity: what does turning every vision key by one position do to attention?"""

import torch

import vlmlens as vl
from vlmlens import plots
from vlmlens.datasets import shapes_2d
from vlmlens.probes import rope

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    inputs = model.inputs(shapes_2d(8))
    end = torch.full((len(inputs), 1), model.config.text_config.eos_token_id)
    run = model.run(inputs.appended(end), save=rope.NEEDS)  # the paper's query: an end token

turned = vl.probes.rope_sensitivity(run, delta=1.0)
print(turned.mean(("sample", "head")).to_dataframe().round(5))
figure = plots.depth(abs(turned["delta_g_v"]))  # figure.show()
