"""Where in the model is the answer? Patching one layer and one position at a time."""

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs
from vlmlens.experiments import sweep

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    pair = counterfactual_pairs(2, kind="swap", category="color_rel")[1]
    effect = sweep(model, pair.clean, pair.corrupted).isel(sample=0)

print(f"{pair.clean.question} {pair.clean.answer}; after the swap: {pair.corrupted.answer}")
for row in effect:
    print(f"layer {int(row.layer)}:")
    for place in row.sortby(row, ascending=False)[:3]:
        print(
            f"  {float(place):5.0%} restored by position {int(place.pos)}, {place.token.item()!r}"
        )
