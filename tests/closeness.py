"""How near two roads to one number come, and how far an edit moves it: one tolerance for all tests.

Differently shaped products add the same terms in another order, and other processors add them in
yet another. Equality of bits is for the same kernels on the same shapes; everything else is held
to a bound that grows as rounding errors do on average, with the square root of how many there are
(Higham & Mary 2019, "A new approach to probabilistic rounding error analysis"):

    bound = SLACK * u * sqrt(depth * size) * largest

with the unit roundoff u of the dtype, ``depth`` sublayers one after another, ``size`` terms in the
longest sum, and the largest entry that takes part. What is narrower than float32 is summed in
float32, so that there only the sublayers' outputs are rounded: size 1.
"""

from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

SLACK = 8
#: A tiny model's tower and language model: seven or eight blocks of two sublayers each.
DEPTH = 16
#: Channels of an MLP, keys that a query sees: a few hundred in every tiny model.
SIZE = 512
#: An edit moves what it moves by this many bounds at least; rounding alone never does.
APART = 3


def tolerance(dtype: torch.dtype = torch.float32, *, depth: int = DEPTH, size: int = SIZE) -> float:
    """How far two roads may come apart, relative to the largest entry."""
    roundoff = torch.finfo(dtype).eps / 2
    return SLACK * roundoff * sqrt(depth * (size if torch.finfo(dtype).bits >= 32 else 1))


def assert_close(
    actual: Any,
    expected: Any,
    *,
    like: Any = None,
    dtype: torch.dtype | None = None,
    depth: int = DEPTH,
    size: int = SIZE,
    msg: str = "",
) -> None:
    """Two roads to one number: tensors, arrays, xarrays or numbers; NaN where the other is.

    Args:
        actual: what came.
        expected: what should come; of the same shape, or one number for all.
        like: whose largest entry counts, where what is compared is small beside what it was made
            of: the logits of a log-probability, the scores of a difference.
        dtype: what it was computed in; unless given, the coarsest of both and float32.
        depth: sublayers one after another; 1 for a single sum or product.
        size: terms in the longest sum.
        msg: said first when it fails.
    """
    a, b, bound = _compared(actual, expected, like, dtype, depth, size)
    assert bound > 0 or a.size == 0, "nothing but zeros: like= says how large is large"
    np.testing.assert_allclose(a, b, rtol=0, atol=bound, equal_nan=True, err_msg=msg)


def assert_apart(
    actual: Any,
    other: Any,
    *,
    like: Any = None,
    dtype: torch.dtype | None = None,
    depth: int = DEPTH,
    size: int = SIZE,
    msg: str = "",
) -> None:
    """The opposite: somewhere they differ by more than rounding could; arguments as above."""
    a, b, bound = _compared(actual, other, like, dtype, depth, size)
    moved = float(np.nanmax(np.abs(a - b)))
    assert moved > APART * bound, f"{msg} differ by {moved:.1e}, by rounding alone {bound:.1e}"


def _compared(
    actual: Any, expected: Any, like: Any, dtype: torch.dtype | None, depth: int, size: int
) -> tuple[np.ndarray, np.ndarray, float]:
    a, b = _array(actual), _array(expected)
    assert a.shape == b.shape or b.ndim == 0, f"shapes {a.shape} and {b.shape}"
    scale = np.abs(_array(expected if like is None else like))
    largest = float(scale[np.isfinite(scale)].max(initial=0.0))
    return a, b, tolerance(dtype or _coarsest(actual, expected), depth=depth, size=size) * largest


def _coarsest(*values: Any) -> torch.dtype:
    own = [x.dtype for x in values if isinstance(x, Tensor) and x.is_floating_point()]
    return max([torch.float32, *own], key=lambda dtype: torch.finfo(dtype).eps)


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu().double() if isinstance(x, Tensor) else x, dtype=float)
