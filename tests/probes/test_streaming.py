"""What probes hold beyond the pass grows with its length, not with its square."""

import pytest
import torch
from conftest import build
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vlmlens as vl
from vlmlens.cache import Save
from vlmlens.probes import cmb, entropy, norms, residual, rope, shares, sinks

BATCH = 3


class Sizes(TorchDispatchMode):
    """The numbers in every tensor that is made, the language model's stream and all."""

    def __init__(self):
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        new = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor) and x._base is None]
        self.made += [x.numel() for x in new]
        return out


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(build("llava")[0], name="llava") as model:
        yield model


def prompt(vlm, length):
    """A batch of words."""
    ids = torch.arange(BATCH * length).reshape(BATCH, length) % 40 + 5
    return vlm.inputs_from(ids, roles={"system": (1, 3), "user": (3, length)})


def largest(run):
    """The largest tensor, and what all tensors hold together."""
    with Sizes() as sizes:
        run()
    return max(sizes.made), sum(sizes.made)


NEEDS = {
    "cmb": cmb.NEEDS,
    "entropy": entropy.NEEDS,
    "shares": shares.NEEDS,
    "norms": norms.NEEDS,
    "sinks": sinks.NEEDS,
    "rope": rope.NEEDS,
    "residual": residual.NEEDS,
}


@pytest.mark.parametrize("name", NEEDS)
def test_what_a_probe_makes_beyond_the_pass_grows_with_its_length(vlm, name):
    extra = {}
    for length in (128, 512):
        inputs = prompt(vlm, length)
        vlm.run(inputs)  # what is made once is not counted
        most, bare = largest(lambda: vlm.run(inputs))  # noqa: B023
        widest, whole = largest(lambda: vlm.run(inputs, save=NEEDS[name]))  # noqa: B023
        assert widest == most, "nothing larger than what the pass itself makes"
        extra[length] = whole - bare
    assert 0 < extra[512] < 4.5 * extra[128]


def test_whole_patterns_grow_with_the_square(vlm):
    """The law above can fail."""
    whole = Save("blocks.*.attn.hook_pattern")
    extra = []
    for length in (128, 512):
        inputs = prompt(vlm, length)
        bare = largest(lambda: vlm.run(inputs))[1]  # noqa: B023
        extra.append(largest(lambda: vlm.run(inputs, save=whole))[1] - bare)  # noqa: B023
    assert extra[1] > 12 * extra[0]


@pytest.mark.parametrize("name", ["cmb", "norms"])
def test_what_is_kept_of_a_batch(vlm, name):
    length = 512
    heads = vlm.config.get_text_config().num_attention_heads
    saved = vlm.run(prompt(vlm, length), save=NEEDS[name]).saved
    kept = sum(x.untyped_storage().nbytes() // x.element_size() for x in saved.values())
    row = BATCH * length
    each = {"cmb": vlm.layers * heads, "norms": vlm.layers + 1}
    assert kept <= row * each[name]
