"""Maps of pictures of several sizes: the same tables from any batch and any folder."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from conftest import KINDS, by_turns, picture

import vlmlens as vl
from vlmlens import plots, probes
from vlmlens.experiments import Experiment, Measure, Probing
from vlmlens.interventions import ZeroAblate
from vlmlens.zoo.tiny import build

SIZES = ((200, 60), (60, 200), (64, 64))
EDITS = {"clean": (), "cut": (ZeroAblate("blocks.1.hook_mlp_out"),)}
MAPS = Probing(probes=(probes.image_attention, probes.similarity_map))


@dataclass(frozen=True)
class Words(Measure):
    """Every patch's name."""

    def __call__(self, model, samples, interventions):
        inputs = model.inputs(samples)
        grids = [layout.grid() for layout in inputs.layouts]
        names = np.full((len(grids), *np.max(grids, 0)), "", dtype="U9")
        for own, (rows, columns) in zip(names, grids, strict=True):
            for row, column in np.ndindex(rows, columns):
                own[row, column] = f"{row}.{column}"
        return xr.Dataset({"word": (("sample", "row", "column"), names)})


def asked(order=(0, 1, 2)):
    return [vl.Sample("Where?", (picture(n, SIZES[n]),), answer="a", id=str(n)) for n in order]


@pytest.mark.parametrize(
    "name", by_turns((*KINDS, "llava_next", "smolvlm"), ("qwen2_5_vl", "llava_next"))
)
@pytest.mark.parametrize("measure", [MAPS, Words()], ids=["maps", "words"])
def test_batches_and_folders_make_the_same_maps(name, measure, tmp_path):
    with vl.HookedVLM(*build(name)) as vlm:

        def table(order, batch, folder=None):
            found = Experiment(vlm, asked(order), measure, EDITS, batch=batch)
            return found.run(folder).reset_coords()

        whole = table((0, 1, 2), 3)
        for batch, folder in ((1, None), (2, None), (1, tmp_path), (3, tmp_path)):
            xr.testing.assert_allclose(table((0, 1, 2), batch, folder), whole, atol=1e-5)
        few = table((2, 1), 2)
        xr.testing.assert_allclose(table((2, 1), 2, tmp_path), few, atol=1e-5)
        if measure is MAPS:  # what was measured beside larger pictures is no larger for that
            beside = tmp_path / "beside"
            table((0, 1, 2), 3, beside)
            xr.testing.assert_allclose(table((2, 1), 2, beside), few, atol=1e-5)


def test_every_map_still_lies_on_its_own_picture():
    with vl.HookedVLM(*build("qwen2_5_vl")) as vlm:
        table = Experiment(vlm, asked(), MAPS, EDITS, batch=1).run()
        for number, sample in enumerate(asked()):
            seen = table["similarity"].isel(sample=number, intervention=0)
            layout = vlm.inputs([sample]).layouts[0]
            boxes = layout.box[layout.mask("vision")]
            for at, edge in enumerate(("left", "top", "right", "bottom")):
                there = seen[edge].values
                np.testing.assert_allclose(there[~np.isnan(there)], boxes[:, at])
            plots.overlay(sample.images[0], seen)
