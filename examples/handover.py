"""Up to which layer do the image's tokens hold the answer?  handover.py [MODEL]"""

import sys

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs
from vlmlens.experiments import sweep
from vlmlens.probes import grade, statistics

with vl.HookedVLM.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else "shapes-base") as model:

    def knows(sample: vl.Sample) -> bool:
        return grade(model.generate(model.inputs([sample])).texts[0], sample.answer)

    for kind, category in (("recolor", "object"), ("swap", "color_abs")):
        pairs = counterfactual_pairs(16, kind=kind, category=category)
        known = [pair for pair in pairs if knows(pair.clean) and knows(pair.corrupted)][:6]
        clean, corrupted = [pair.clean for pair in known], [pair.corrupted for pair in known]
        effect = sweep(model, clean, corrupted, "blocks.*.hook_resid_post", over="role")
        print(f"{kind}, {len(known)} pairs; restored by one role's stream after a block:")
        table = statistics.mean_map(effect).round(2).sel(role=["vision", "user", "template"])
        for (layer, role), row in table.to_dataframe().iterrows():
            print(f"  block {layer} {role:9} {row['mean']:5.2f} [{row['low']}, {row['high']}]")
