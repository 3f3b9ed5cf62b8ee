"""The one tolerance lets rounding pass, and no error that anybody makes."""

import numpy as np
import pytest
import torch
from closeness import assert_apart, assert_close, tolerance
from conftest import KINDS, QUESTIONS, picture

import vlmlens as vl
from vlmlens.interventions import Edit, Scale
from vlmlens.zoo.tiny import build

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(scope="module", params=KINDS)
def ran(request):
    """A model, its inputs and its logits."""
    with vl.HookedVLM(*build(request.param)) as model:
        inputs = model.inputs([picture(0)], [QUESTIONS[0]])
        yield model, inputs, model.run(inputs).logits


def rounded(x):
    """What a cast to half precision and back leaves."""
    return x.half().to(x.dtype)


def one_more(x):
    """The neighbour's value at the last position but one."""
    return torch.cat([x[:, :-2], x[:, -3:-2], x[:, -1:]], 1)


PLANTED = {
    "a cast to half precision": Edit("blocks.1.hook_resid_post", by=rounded),
    "a position that holds its neighbour": Edit("blocks.0.hook_resid_pre", by=one_more),
    "one channel in a thousandth": Scale("blocks.1.hook_mlp_out", by=1.001),
    "a head that is missing": Scale("blocks.1.attn.hook_z", vl.Where(heads=0), by=0.0),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found(ran, error):
    model, inputs, logits = ran
    wrong = model.run(inputs, [PLANTED[error]]).logits
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close(wrong, logits)


def test_another_order_of_the_same_terms_passes(ran):
    """In a batch, beside a longer sample, all products have another shape."""
    model, inputs, logits = ran
    both = model.inputs([picture(0), picture(1)], list(QUESTIONS))
    own = torch.from_numpy(~both.layouts[0].mask("pad"))
    together = model.run(both).logits[0, own]
    assert_close(together, logits[0])
    with pytest.raises(AssertionError, match="by rounding alone"):
        assert_apart(together, logits[0])
    assert_apart(model.run(inputs, [PLANTED["a head that is missing"]]).logits, logits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_by_hand(dtype):
    """Half a bound passes, two do not; it is of the largest entry, or of what is said."""
    values = torch.tensor([4.0, -8.0, 0.5, torch.nan], dtype=torch.float64)
    bound = 8.0 * tolerance(dtype)
    step = torch.tensor([0.0, 0.0, bound, 0.0], dtype=torch.float64)
    assert_close(values + 0.5 * step, values, dtype=dtype)
    assert_close(values + 5 * step, values, dtype=dtype, like=80.0)
    with pytest.raises(AssertionError):
        assert_close(values + 2 * step, values, dtype=dtype)
    assert_apart(values + 4 * step, values, dtype=dtype)
    for moved in (0.0, 0.5, 2.0):  # between the two is neither
        with pytest.raises(AssertionError):
            assert_apart(values + moved * step, values, dtype=dtype)


def test_it_grows_with_what_adds_up():
    assert tolerance(depth=1) == pytest.approx(tolerance() / 4)
    assert tolerance(size=2) == pytest.approx(tolerance() / 16)
    assert tolerance(torch.float32, depth=1, size=1) == 8 * 2.0**-24
    assert tolerance(torch.bfloat16, size=1) == tolerance(torch.bfloat16)  # summed in float32
    each = [tolerance(dtype) for dtype in DTYPES]
    assert each == sorted(each)


def test_what_has_no_size_or_another_shape_is_refused():
    with pytest.raises(AssertionError, match="like= says how large"):
        assert_close(torch.full((2,), 1e-9), torch.zeros(2))
    assert_close(torch.full((2,), 1e-9), torch.zeros(2), like=1.0)
    with pytest.raises(AssertionError, match="shapes"):
        assert_close(torch.ones(2), torch.ones(1))
    assert_close(np.ones(2), 1)
    with pytest.raises(AssertionError):
        assert_close(torch.tensor([torch.nan]), torch.tensor([1.0]))


def test_the_coarser_dtype_counts():
    coarse = torch.tensor([1.0, 3.0], dtype=torch.bfloat16)
    assert_close(coarse, torch.tensor([1.01, 3.01]))
    with pytest.raises(AssertionError):
        assert_close(coarse.float(), torch.tensor([1.01, 3.01]))
