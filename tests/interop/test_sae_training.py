"""Training a dictionary: it finds the directions that data were made of."""

import torch

from vlmlens.interop import sae


def test_planted_directions_are_found():
    drawn = torch.Generator().manual_seed(0)
    planted = torch.linalg.qr(torch.randn(16, 12, generator=drawn)).Q.T  # 12 that stand upright

    def batches():
        while True:
            active = torch.rand(256, 12, generator=drawn) < 0.15
            yield (active * (1 + torch.rand(256, 12, generator=drawn))) @ planted

    recipe = sae.Recipe(d_sae=16, k=3, steps=600, rate=3e-3)
    found = sae.train(batches(), "hook_embed", recipe)
    rows = found.W_dec
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(16))
    near = (planted @ rows.T).max(1).values
    assert (near > 0.9).sum() >= 11, near
    x = next(batches())
    left = (x - found.decode(found.encode(x))).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    assert left < 0.1
    assert not any(weight.requires_grad for weight in found.parameters())
