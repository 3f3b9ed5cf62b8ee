"""Cross-modality balance: which heads look at the image while the answer is written?"""

import vlmlens as vl
from vlmlens import plots
from vlmlens.datasets import shapes_2d
from vlmlens.probes import cmb

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    inputs = model.inputs(shapes_2d(8))
    run = model.generate(inputs, save=cmb.NEEDS)  # the last row of every pattern, step by step

balance = vl.probes.cross_modality_balance(run)
print(balance.mean("sample").round(3).to_pandas())
print("attention spread evenly would give", round(float(balance["uniform"].mean()), 3))
figure = plots.heads(balance)  # figure.show()
