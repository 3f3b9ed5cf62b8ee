"""Position Sensitivity Index: does the model need the order of an image's tokens?"""

import vlmlens as vl
from vlmlens import experiments, plots
from vlmlens.datasets import shapes_2d

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    table = experiments.permutation_test(model, shapes_2d(48), permutations=3)

psi = vl.probes.position_sensitivity_index(table["correct"], table["log_prob"])
print(psi[["psi", "psi_low", "psi_high", "accuracy", "accuracy_permuted"]].to_dataframe().round(2))
figure = plots.psi(psi)  # figure.show() in a notebook, figure.write_html("psi.html") elsewhere
