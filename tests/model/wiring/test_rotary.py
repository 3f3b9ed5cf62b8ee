"""Planes, angles and turns, by hand and with no model."""

import math

import pytest
import torch

from vlmlens.model.wiring.rotary import Rope, rotate, spread, unrotate

PLANES = torch.tensor([[0.1, 0.2, 0.3], [-1.0, 2.0, 3.0]])


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_angles_are_read_back_from_their_cosines_and_sines(pairing):
    both = spread(PLANES, pairing)
    rope = Rope(torch.zeros(1, 1, 3), pairing=pairing)
    torch.testing.assert_close(rope.angles(both.cos(), both.sin()), PLANES)


@pytest.mark.parametrize(
    ("pairing", "turned"), [("half", [-3.0, 2.0, 1.0, 4.0]), ("interleaved", [-2.0, 1.0, 3.0, 4.0])]
)
def test_a_quarter_turn_of_the_first_plane(pairing, turned):
    angles = spread(torch.tensor([math.pi / 2, 0.0]), pairing)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(rotate(x, angles.cos(), angles.sin(), pairing), torch.tensor(turned))


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_a_scale_is_undone_too(pairing):
    angles, x = spread(PLANES, pairing), torch.arange(16.0).reshape(2, 8)
    cos, sin = 1.5 * angles.cos(), 1.5 * angles.sin()
    torch.testing.assert_close(
        unrotate(rotate(x, cos, sin, pairing), cos, sin, pairing), x, rtol=1e-4, atol=1e-4
    )
