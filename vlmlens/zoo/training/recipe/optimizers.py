"""What turns gradients into steps: AdamW, and Muon for the matrices of transformer blocks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from vlmlens.errors import InputError
from vlmlens.zoo.training.recipe.plan import Schedule

OPTIMIZERS = ("adamw", "muon")
#: Of the quintic that drives singular values towards 1, and how often it is applied.
QUINTIC, ROUNDS = (3.4445, -4.7750, 2.0315), 5


class Muon(Optimizer):
    """Momentum whose every step is made nearly orthogonal, so that all its directions count alike.

    M <- 0.95 M + 0.05 G;  W <- (1 - lr decay) W - lr 0.2 sqrt(max(rows, columns)) orth(U), with
    U = 0.05 G + 0.95 M and orth(U) = A B^T for U = A S B^T, approached by five rounds of a
    quintic. The factor gives a step the root mean square of one of AdamW's, so rates carry over.

    PyTorch's own Muon does the rounds in bfloat16, matrix by matrix, which takes six times as
    long as the rest of the step on a CPU; here they are in float32, all matrices of one shape
    together. ``tests/zoo/test_optimizers.py`` holds one against the other.

    Args:
        matrices: parameters of two axes.
        learning_rate: until a schedule sets another.
        weight_decay: as AdamW's.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the
    factor: Liu et al. 2025, arXiv:2502.16982.
    """

    def __init__(self, matrices: Iterable[Parameter], learning_rate: float, weight_decay: float):
        super().__init__(matrices, {"lr": learning_rate, "weight_decay": weight_decay})
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"]]
        if wrong := [s for s in shapes if len(s) != 2]:
            raise InputError(f"Muon takes matrices; there are parameters of shape {wrong}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[tuple(p.shape)].append(p)
            for shape, matrices in alike.items():
                ways = orthogonal(torch.stack([self._wanted(p) for p in matrices]))
                reach = group["lr"] * 0.2 * max(shape) ** 0.5
                for p, way in zip(matrices, ways, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(way, alpha=reach)

    def _wanted(self, p: Parameter) -> Float[Tensor, "row column"]:
        """Nesterov's look ahead: the gradient and the momentum that it has just moved."""
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        return p.grad.lerp(state["momentum"].lerp_(p.grad, 0.05), 0.95)


def orthogonal(matrices: Float[Tensor, "matrix row column"]) -> Float[Tensor, "matrix row column"]:
    """(matrix, row, column): each with its singular values brought near 1.

    They end between about .7 and 1.2, unless they were close to 0.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def optimizers(trained: Mapping[str, Parameter], schedule: Schedule) -> list[Optimizer]:
    """Those of a stage: under ``"muon"`` the matrices of blocks are Muon's, the rest AdamW's.

    Raises:
        InputError: an optimizer that does not exist.
    """
    if schedule.optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer={schedule.optimizer!r}; there is: {', '.join(OPTIMIZERS)}")
    muon = schedule.optimizer == "muon"
    matrices = {n: p for n, p in trained.items() if muon and ".layers." in n and p.ndim == 2}
    rest = [p for n, p in trained.items() if n not in matrices]
    rate, decay = schedule.learning_rate, schedule.weight_decay
    found: list[Optimizer] = []
    if rest:
        found += [AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=decay, fused=True)]
    if matrices:
        found += [Muon(matrices.values(), rate, decay)]
    return found
