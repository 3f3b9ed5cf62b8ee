"""Which way patches look: by hand, over the tokens that a run has, of whole pictures and parts."""

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import picture
from hand import layout, run_saving

import vlmlens as vl
from vlmlens import probes
from vlmlens.cache import Placed, Save
from vlmlens.errors import InputError, VLMLensError
from vlmlens.interventions import CompressVision, DropTokens
from vlmlens.positions import Cell, Column, Frame, Role, Row
from vlmlens.zoo.tiny import build

PATTERNS = "blocks.*.attn.hook_pattern"
ALL_BUT_ONE = Role("vision") & ~Cell(1, 1, image=0)


def dropping(positions):
    return DropTokens(where=vl.Where(positions=positions))


def by_hand(pattern, own):
    """One head's looks, query by query and key by key."""
    there = [at for at, role in enumerate(own.roles) if role == "vision" and own.row[at] >= 0]
    found, shares = [], []
    for q in there:
        grid = [at for at in there if (own.image[at], own.tile[at]) == (own.image[q], own.tile[q])]
        weights = {at: float(pattern[q, at]) for at in grid}
        shares.append(share := sum(weights.values()))
        if not share:
            continue
        looks = dict.fromkeys(
            ("right", "down", "distance", "to_left", "to_right", "above", "below", "own"), 0.0
        )
        for at, weight in weights.items():
            p = weight / share
            dx = int(own.column[at]) - int(own.column[q])
            dy = int(own.row[at]) - int(own.row[q])
            looks["right"] += p * dx
            looks["down"] += p * dy
            looks["distance"] += p * (dx * dx + dy * dy) ** 0.5
            looks["to_left"] += p * (dx < 0)
            looks["to_right"] += p * (dx > 0)
            looks["above"] += p * (dy < 0)
            looks["below"] += p * (dy > 0)
        looks["own"] = weights[q] / share
        found.append(looks)
    means = {name: np.mean([looks[name] for looks in found]) for name in found[0]}
    return means | {"share": np.mean(shares)}


def assert_as_by_hand(vlm, inputs, edits):
    """Needs are made of the inputs as they are before the edits, and of those that edits make."""
    run = vlm.run(inputs, edits, save=PATTERNS)
    for asked in (inputs, run.inputs):
        found = probes.patch_looks(vlm.run(inputs, edits, save=probes.looks_needs(asked)))
        for layer in found["layer"].values:
            for row, own in enumerate(run.inputs.layouts):
                for head in range(found.sizes["head"]):
                    hand = by_hand(run.saved["pattern", int(layer)][row, head], own)
                    looks = found.sel(layer=layer, head=head).isel(sample=row)
                    for name, value in hand.items():
                        assert_close(looks[name].values, np.array(value), like=1.0)
    return found


EDITS = {
    "none": (),
    "a row": (dropping(Row(0)),),
    "a column": (dropping(Column(1)),),
    "all but one": (dropping(ALL_BUT_ONE),),
    "pooled": (CompressVision(rows=2, columns=2),),
    "pooled to one": (CompressVision(),),
    "pooled, of what is left": (dropping(Row(0)), CompressVision(rows=2, columns=1)),
}


@pytest.mark.parametrize("edits", EDITS)
def test_of_the_tokens_that_edits_leave(any_vlm, edits):
    inputs = any_vlm.inputs([picture(0), picture(1)], ["What?", "Is it red or blue?"])
    found = assert_as_by_hand(any_vlm, inputs, EDITS[edits])
    if edits in ("all but one", "pooled to one"):  # a token alone looks at itself
        assert_close(found["own"], 1.0)
        for name in ("right", "down", "distance", "to_left", "to_right", "above", "below"):
            assert not found[name].values.any()


@pytest.mark.parametrize("name", ["llava_next", "internvl", "llava_onevision"])
def test_of_pictures_in_tiles_every_tile_is_a_grid_of_its_own(name):
    with vl.HookedVLM(*build(name), name=name) as vlm:
        inputs = vlm.inputs(picture(2, (96, 40)), "What?")
        assert inputs.layouts[0].tiles(0) > 1
        assert_as_by_hand(vlm, inputs, ())
        assert_as_by_hand(vlm, inputs, (dropping(Row(0)),))
        two = vlm.inputs(vl.Sample("What?", (picture(2, (96, 40)), picture(3))))
        assert_as_by_hand(vlm, two, ())


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava_onevision"])
def test_of_videos_every_frame_is_a_grid_of_its_own(name):
    """Every patch looks at its own place in all frames: what it gives to the others is no share."""
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
    with vl.HookedVLM(*build(name), name=name) as vlm:
        inputs = vlm.inputs(vl.Sample("What moves?", videos=vl.Video(frames, fps=2)))
        own = inputs.layouts[0]
        assert own.frames() > 1
        assert_as_by_hand(vlm, inputs, ())
        assert_as_by_hand(vlm, inputs, (dropping(Frame(1)),))
        vision = own.positions("vision")
        rows = torch.zeros(1, 1, len(vision), len(own))
        for query, at in enumerate(vision):
            there = (own.row == own.row[at]) & (own.column == own.column[at])
            rows[0, 0, query, there] = 1 / there.sum()
        kept = probes.looks_needs(inputs).reduce.by(rows, (own,))[0, 0]
        looks = dict(zip(probes.atlas.LOOKS, kept.tolist(), strict=True))
        if (own.row[vision] >= 0).all():
            assert looks["share"] == pytest.approx(1 / own.frames())
        assert looks["own"] == pytest.approx(1.0)
        assert looks["distance"] == 0.0


def test_a_newline_is_no_patch_that_looks():
    """Two rows of two patches and a newline, which looks at the patch before it."""
    own = layout("bvvvvvvu", columns=3)
    row, column = own.row.copy(), own.column.copy()
    row[[3, 6]], column[[3, 6]] = -1, -1
    own = vl.TokenLayout(own.roles, own.tokens, own.image, row, column, own.box)
    rows = torch.zeros(1, 1, 6, 8)
    for query in range(6):
        rows[0, 0, query, [2, 2, 2, 4, 5, 5][query]] = 1.0
    looks = probes.looks_needs(vl.Inputs({}, (own,))).reduce.by(rows, (own,))
    found = probes.patch_looks(run_saving(["bvvvvvvu"], {"attn.hook_pattern": [looks]}, columns=3))
    assert found["share"].item() == 1.0
    assert (found["right"].item(), found["down"].item()) == (0.25, 0.0)  # of 1, 0, 0, 0
    assert found["own"].item() == pytest.approx(0.75)


def test_looks_of_other_rows_are_refused(any_vlm):
    inputs = any_vlm.inputs(picture(0), "What?")
    need = probes.looks_needs(inputs)
    with as_users(), pytest.raises(VLMLensError, match="looks_needs"):
        other = Save(need.points, "user", need.reduce)
        probes.patch_looks(any_vlm.run(inputs, save=other))
    as_many = tuple(range(len(inputs.layouts[0].positions("vision"))))
    run = any_vlm.run(inputs, save=Save(need.points, as_many, need.reduce))
    with as_users(), pytest.raises(InputError, match="looks_needs"):
        probes.patch_looks(run)
    with pytest.raises(VLMLensError, match="vision"):
        probes.looks_needs(any_vlm.inputs(vl.Sample("What?")))


def test_a_placed_reduction_is_told_the_layouts_of_the_pass(any_vlm):
    """At hooks and at rows of attention; of the run, and of every step of a generation."""
    inputs = any_vlm.inputs([picture(0), picture(1)], ["What?", "Is it red or blue?"])
    told = []

    def kept(x, layouts):
        told.append(layouts)
        return x.float().mean(-1)

    saves = [Save("hook_embed", reduce=Placed(kept)), Save(PATTERNS, "last", Placed(kept))]
    for edits in ((), (dropping(Row(0)),), (CompressVision(),)):
        told.clear()
        run = any_vlm.run(inputs, edits, save=saves)
        assert len(told) > 1 and all(each is run.inputs.layouts for each in told)
        whole = any_vlm.run(inputs, edits, save="hook_embed").saved["hook_embed"]
        assert_close(run.saved["hook_embed"], whole.float().mean(-1))
        told.clear()
        said = any_vlm.generate(inputs, edits, saves[:1], max_new_tokens=2, stop=False)
        assert [len(each[0]) for each in told] == [
            len(step.inputs.layouts[0]) for step in said.steps
        ]
    with as_users(), pytest.raises(InputError, match="layouts"):
        Placed(lambda x: x)
