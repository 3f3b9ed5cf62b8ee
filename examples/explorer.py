"""Explore attention by hand: which heads look at the object left of the red shape?"""

from pathlib import Path

import vlmlens as vl
from vlmlens import plots
from vlmlens.datasets.shapes import Drawn, Scene, Shape
from vlmlens.probes import rows

square = Shape("square", "blue", 0.27, 0.52, 0.13)
circle, star = Shape("circle", "red", 0.72, 0.5, 0.13), Shape("star", "green", 0.6, 0.17, 0.12)
sample = vl.Sample("What color is left of the red shape?", (Drawn(Scene((square, circle, star))),))

with vl.HookedVLM.from_pretrained("shapes-base") as model:
    run = model.generate(model.inputs([sample]), save=rows.NEEDS)
    table = vl.probes.attention_rows(run)

object_box = [edge * 224 for edge in square.box]  # or drag over the object with the mouse
area = run.inputs.layouts[0].within(object_box)
explorer = plots.explorer(table).select(area=area)  # in a notebook, its name on a line shows it
looks = table["attention"].sel(query=explorer.selection.position, key=area).sum("key")
for name, share in looks.stack(at=("layer", "head")).to_series().nlargest(4).items():
    print(f"layer, head {name}: {share:.2f} of its attention goes to the object")
print("explore it:", explorer.save(Path("results/explorer.html")))
