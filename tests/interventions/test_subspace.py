"""A part of another run's stream: nothing, all of it, and what plain torch makes of the rest."""

import pytest
import torch
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import PatchFrom, PatchSubspace

POINT = "blocks.1.hook_resid_post"
PLACES = {"everywhere": vl.Where(), "image": vl.Where(positions="vision")}


def basis(width, rank, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, rank, generator=drawn)).Q


@pytest.fixture(scope="module")
def two(every_vlm):
    """A base, and what a run about another picture saved."""
    base, other = (every_vlm.inputs([picture(n)], [QUESTIONS[0]]) for n in (0, 1))
    return every_vlm, base, every_vlm.run(other, save=POINT, logits=False).saved


@pytest.mark.parametrize("place", PLACES)
def test_all_of_the_width_is_a_patch_and_none_of_it_nothing(two, place):
    vlm, base, source = two
    width, where = source[POINT].shape[-1], PLACES[place]
    clean = vlm.run(base).logits
    patched = vlm.run(base, PatchFrom(POINT, where, source=source)).logits
    whole = PatchSubspace(POINT, where, source=source, basis=basis(width, width))
    none = PatchSubspace(POINT, where, source=source, basis=torch.zeros(width, 0))
    assert_close(vlm.run(base, whole).logits, patched, like=patched)
    assert torch.equal(vlm.run(base, none).logits, clean)
    assert_apart(patched, clean)


def test_a_part_is_what_plain_torch_makes_of_it(two):
    """Transformers' own block, its output changed by a hook at the image's positions."""
    vlm, base, source = two
    own = basis(source[POINT].shape[-1], 3)
    where = torch.from_numpy(base.layouts[0].mask("vision"))

    def change(module, args, output):
        x = output[0] if isinstance(output, tuple) else output
        apart = torch.einsum("bpd,dk,ek->bpe", source[POINT] - x, own, own)
        made = torch.where(where[None, :, None], x + apart, x)
        return (made, *output[1:]) if isinstance(output, tuple) else made

    handle = vlm.hf_model.get_submodule(vlm.family.lm_layers)[1].register_forward_hook(change)
    with torch.no_grad():
        wanted = vlm.hf_model(**base.tensors, use_cache=False).logits
    handle.remove()
    edit = PatchSubspace(POINT, PLACES["image"], source=source, basis=own)
    if "deepstack" in str(list(vlm.hook_dict)):
        pytest.skip("a deep tower adds to the stream between the block and its point")
    assert_close(vlm.run(base, edit).logits, wanted, like=wanted)


def test_inside_it_is_the_others_and_outside_its_own(any_vlm):
    base, other = (any_vlm.inputs([picture(n)], [QUESTIONS[0]]) for n in (0, 1))
    source = any_vlm.run(other, save=POINT, logits=False).saved
    clean = any_vlm.run(base, save=POINT).saved[POINT]
    own = basis(clean.shape[-1], 4)
    edit = PatchSubspace(POINT, source=source, basis=own)
    x = any_vlm.run(base, edit, save=POINT).saved[POINT]
    assert_close(x @ own, source[POINT] @ own, like=x)
    rest = torch.eye(len(own)) - own @ own.T
    assert_close(x @ rest, clean @ rest, like=x)
    turned = PatchSubspace(POINT, source=source, basis=own @ basis(4, 4, seed=1))
    again = any_vlm.run(base, turned, save=POINT).saved[POINT]
    assert_close(again, x, like=x)  # the subspace counts, not the basis


def test_from_other_positions_of_another_prompt(any_vlm):
    base, other = (any_vlm.inputs([picture(n)], [QUESTIONS[n]]) for n in (0, 1))
    source = any_vlm.run(other, save=POINT, logits=False).saved
    own = basis(source[POINT].shape[-1], 2)
    last = vl.Where(positions="last")
    edit = PatchSubspace(POINT, last, source=source, source_positions="last", basis=own)
    clean, x = (any_vlm.run(base, e, save=POINT).saved[POINT] for e in ([], edit))
    assert torch.equal(x[:, :-1], clean[:, :-1])
    assert_close(x[:, -1] @ own, source[POINT][:, -1] @ own, like=x)


def test_what_is_no_basis(any_vlm):
    base = any_vlm.inputs([picture(0)], [QUESTIONS[0]])
    source = any_vlm.run(base, save=POINT).saved
    wide = source[POINT].shape[-1]
    for wrong, said in (
        (torch.ones(wide), "width, rank"),
        (torch.ones(2, 3), "width, rank"),
        (2 * basis(wide, 2), "orthonormal"),
        (torch.full((wide, 1), torch.nan), "orthonormal"),
    ):
        with pytest.raises(InputError, match=said):
            PatchSubspace(POINT, source=source, basis=wrong)
    with as_users(), pytest.raises(InputError, match="basis="):
        PatchSubspace(POINT, source=source, basis="first")
    with pytest.raises(InputError, match="along the last axis"):
        any_vlm.run(base, PatchSubspace(POINT, source=source, basis=torch.eye(3)))
    with pytest.raises(InputError, match="needs basis="):
        any_vlm.run(base, PatchSubspace(POINT, source=source))
    with pytest.raises(InputError, match="needs source="):
        any_vlm.run(base, PatchSubspace(POINT, basis=basis(wide, 1)))
