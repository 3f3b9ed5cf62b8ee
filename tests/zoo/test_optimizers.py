"""Muon against PyTorch's own, and against singular values."""

import copy

import pytest
import torch
from torch import nn

from vlmlens.errors import InputError
from vlmlens.zoo.training.recipe.optimizers import Muon, optimizers, orthogonal
from vlmlens.zoo.training.recipe.plan import Schedule


@pytest.mark.parametrize("shape", [(24, 24), (40, 12), (12, 40)])
def test_all_directions_of_a_step_count_alike(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(3, *shape), full_matrices=False)
    lengths = torch.logspace(-1, 0, min(shape))
    made = orthogonal(left * lengths @ right)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6 and values.max() < 1.3  # they were .1 to 1
    exact = left @ right
    cosine = nn.functional.cosine_similarity(made.flatten(1), exact.flatten(1))
    assert cosine.min() > 0.97


def test_it_goes_where_pytorchs_own_goes():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(16, 40, bias=False), nn.Tanh(), nn.Linear(40, 8, bias=False))
    theirs, begin = copy.deepcopy(ours), copy.deepcopy(ours)
    steppers = (
        Muon(ours.parameters(), 2e-2, 0.1),
        torch.optim.Muon(
            theirs.parameters(), lr=2e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
    )
    for model, stepper in zip((ours, theirs), steppers, strict=True):
        draws = torch.Generator().manual_seed(1)
        for _ in range(8):
            x = torch.randn(32, 16, generator=draws)
            model.zero_grad()
            (model(x) - x[:, :8]).square().mean().backward()
            stepper.step()
    for p, q, start in zip(*(m.parameters() for m in (ours, theirs, begin)), strict=True):
        moved = (q - start).norm()
        assert moved > 0.1
        assert (p - q).norm() < 0.03 * moved  # theirs rounds to bfloat16


def test_matrices_of_blocks_are_muons_and_the_rest_adamws():
    named = {
        "model.layers.0.mlp.weight": nn.Parameter(torch.zeros(3, 4)),
        "model.layers.0.norm.weight": nn.Parameter(torch.zeros(3)),
        "embed.weight": nn.Parameter(torch.zeros(5, 3)),
    }
    rest, matrices = optimizers(named, Schedule(10, optimizer="muon"))
    assert [tuple(p.shape) for p in matrices.param_groups[0]["params"]] == [(3, 4)]
    assert len(rest.param_groups[0]["params"]) == 2
    (alone,) = optimizers(named, Schedule(10))
    assert len(alone.param_groups[0]["params"]) == 3


def test_what_it_refuses():
    with pytest.raises(InputError, match=r"takes matrices; .* \[\(3,\)\]"):
        Muon([nn.Parameter(torch.zeros(3))], 1e-3, 0.0)
    with pytest.raises(InputError, match="optimizer='sgd'; there is: adamw, muon"):
        optimizers({}, Schedule(10, optimizer="sgd"))
