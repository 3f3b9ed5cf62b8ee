"""An intervention of one's own, in a sweep whose cells are kept."""

from dataclasses import dataclass

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.experiments import Answering, Experiment, Store
from vlmlens.interventions import Intervention


@dataclass(frozen=True)
class Flip(Intervention):
    by: float = -1.0

    def edit(self, x, site):
        return x * self.by


def test_a_class_of_ones_own_is_an_axis_of_a_sweep(tmp_path):
    where = vl.Where(positions="vision")
    edits = [Flip(point=f"blocks.{layer}.hook_mlp_out", where=where) for layer in range(4)]
    settings = {str(edit): (edit,) for edit in edits}
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        table = Experiment(model, shapes_2d(6), Answering(), settings).run(str(tmp_path))
        again = Experiment(model, shapes_2d(6), Answering(), settings).run(tmp_path)
    assert table["intervention"].values.tolist() == list(settings)
    assert str(edits[1]) == "Flip(point='blocks.1.hook_mlp_out', positions='vision')"
    assert table["log_prob"].groupby("intervention").mean().values.std() > 0
    assert table.equals(again)
    store = Store(tmp_path)
    store.open()
    assert sum(map(len, store.shards.values())) == len(edits) * 6  # a result a sample and edit
