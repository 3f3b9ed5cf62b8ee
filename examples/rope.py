"""RoPE sensitivity: what does turning every vision key by one position do to attention?"""

import vlmlens as vl
from vlmlens import plots
from vlmlens.datasets import shapes_2d
from vlmlens.probes import rope

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    inputs = model.inputs(shapes_2d(8))
    query = vl.probes.paper_query(model, inputs)  # the paper's: an end token, appended
    run = model.run(query, save=rope.NEEDS)

turned = vl.probes.rope_sensitivity(run, delta=1.0)
print(turned.mean(("sample", "head")).to_dataframe().round(5))
figure = plots.depth(abs(turned["delta_g_v"]))  # figure.show()
