"""A box is left, top, right, bottom: what is none is refused at every door that takes boxes."""

import numpy as np
import pytest
from as_users import as_users

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.positions import Box
from vlmlens.probes import box_overlap, labels_in_boxes, localization_map, object_overlap

#: COCO's way of a shape at (150, 100), 40 wide and 60 high; swapped edges, and no boxes at all.
WRONG = {
    "x, y, width, height": (150, 100, 40, 60),
    "right before left": (20, 5, 5, 20),
    "bottom above top": (5, 20, 20, 5),
    "three numbers": (1, 2, 3),
    "words": ("a", "b", "c", "d"),
    "no number": (0, 0, float("nan"), 5),
}


@pytest.fixture(scope="module")
def run():
    vlm = vl.HookedVLM.from_pretrained("shapes-base")
    needs = [*vl.probes.overlap.NEEDS, *vl.probes.localization.NEEDS]
    return vlm.run(vlm.inputs(vl.datasets.shapes_2d(1)), save=needs)


DOORS = {
    "within": lambda run, box: run.inputs.layouts[0].within(box),
    "Box": lambda run, box: Box(*box).of(run.inputs.layouts[0]),
    "object_overlap": lambda run, box: object_overlap(run, [[(0, 0, 99, 99), box]]),
    "head_atlas": lambda run, box: vl.probes.head_atlas(run, [[(0, 0, 99, 99), box]]),
    "labels_in_boxes": lambda run, box: labels_in_boxes(run.inputs.layouts[0], {"it": box}),
    "box_overlap": lambda run, box: box_overlap(localization_map(run, [(2, 0)]).box, [box]),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_box_is_refused(run, door, wrong):
    if (door, wrong) == ("Box", "three numbers"):
        pytest.skip("Python's own error says which edge is missing")
    if (door, wrong) == ("box_overlap", "no number"):
        pytest.skip("a sample without a box")
    with as_users(), pytest.raises(InputError, match=r"box|edge|left=|right="):
        DOORS[door](run, WRONG[wrong])


@pytest.mark.parametrize("door", DOORS)
def test_a_point_and_an_endless_box_are_boxes(run, door):
    for box in ((30, 30, 30, 30), (0, 0, float("inf"), 5.0), np.array([0, 0, 50, 50])):
        with as_users():
            DOORS[door](run, box)


def test_the_message_knows_whose_boxes_are_other():
    with pytest.raises(InputError, match=r"COCO writes x, y, width, height, which is \(x, y, x \+"):
        Box(*WRONG["x, y, width, height"])
