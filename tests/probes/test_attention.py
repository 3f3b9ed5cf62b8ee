"""Where attention goes: CMB's variants, shares, entropy and sinks, by hand and by their laws."""

import numpy as np
import pytest
import torch
import xarray as xr
from closeness import assert_close
from hand import attending, generation, run_saving

from vlmlens import probes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.probes import sinks
from vlmlens.probes.entropy import entropy
from vlmlens.probes.sinks import peak
from vlmlens.probes.steps import LAST_ROWS


def two_steps():
    """One sample, one head; V against U: 0.8 : 0.2, then 0.1 : 0.3; and one that ends at once."""
    return generation(
        attending(["bvu", "bvu"], [[[0.0, 0.8, 0.2]], [[0.0, 0.5, 0.5]]]),
        attending(["bvua", "bvua"], [[[0, 0.1, 0.3, 0.6]], [[0.0, 0.9, 0.1, 0.0]]]),
        lengths=[2, 1],
    )


def test_mean_of_ratios_ratio_of_means_and_every_step():
    run = two_steps()
    mean = probes.cross_modality_balance(run)
    np.testing.assert_allclose(mean.squeeze(), [(0.8 + 0.25) / 2, 0.5], atol=1e-6)
    sums = probes.cross_modality_balance(run, steps="sums")
    np.testing.assert_allclose(sums.squeeze(), [0.9 / 1.4, 0.5], atol=1e-6)
    each = probes.cross_modality_balance(run, steps="each")
    assert each.dims == ("sample", "step", "layer", "head")
    np.testing.assert_allclose(each.squeeze(), [[0.8, 0.25], [0.5, np.nan]], atol=1e-6)
    with pytest.raises(InputError, match="there is: mean, sums, each"):
        probes.cross_modality_balance(run, steps="last")


def test_generated_tokens_can_count_as_text():
    found = probes.cross_modality_balance(
        two_steps().steps[1], text=("user", "assistant")
    )  # 0.1 of 0.1 + 0.3 + 0.6
    np.testing.assert_allclose(found.squeeze(), [0.1, 0.9], atol=1e-6)
    with pytest.raises(InputError, match="vision cannot be both"):
        probes.cross_modality_balance(two_steps(), text=("user", "vision"))


def test_the_papers_text_has_role_tags_and_its_ratio_a_floor():
    run = attending(["bsvut"], [[[0.1, 0.3, 0.3, 0.1, 0.2], [0.9, 0.1, 0.0, 0.0, 0.0]]])
    assert probes.paper_balance(run).squeeze().values == pytest.approx([0.5, 0.0])
    against = probes.paper_balance(run, against="system")
    assert against.squeeze().values == pytest.approx([0.5, 0.0])
    assert probes.paper_balance(run)["uniform"].item() == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="there is: user, system"):
        probes.paper_balance(run, against="bos")


def test_dominance_is_attention_per_token():
    """Four vision tokens get 0.4, two words 0.4: a word gets twice what a patch gets."""
    run = attending(["bvvvvuu"], [[[0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 0.1]]])
    found = probes.modality_dominance(run)
    assert found["per_token"].item() == pytest.approx(0.5)
    assert found["mdi"].item() == pytest.approx(2.0)
    assert found["aei"].item() == pytest.approx(0.5 / (4 / 6))
    balance = probes.cross_modality_balance(run)
    assert found["aei"].item() == pytest.approx(balance.item() / balance["uniform"].item())
    even = probes.modality_dominance(attending(["bvvvvuu"], [[[0.4] + [0.1] * 6]]))
    assert [even[name].item() for name in even] == pytest.approx([1.0, 1.0, 1.0])


def test_shares_of_all_roles_sum_to_one():
    run = attending(["bsvut"], [[[0.1, 0.3, 0.35, 0.05, 0.2], [1.0, 0, 0, 0, 0]]])
    found = probes.attention_shares(run)
    assert found.dims == ("sample", "layer", "head", "role")
    np.testing.assert_allclose(found.sum("role"), 1.0, atol=1e-6)
    expected = {"bos": 0.1, "system": 0.3, "template": 0.2, "user": 0.05, "vision": 0.35}
    for role, share in expected.items():
        assert found.sel(role=role)[0, 0, 0].item() == pytest.approx(share)
    assert found.sel(role="assistant")[0, 0, 0].item() == 0.0
    each = probes.attention_shares(two_steps(), steps="each")
    np.testing.assert_allclose(each.sel(role="assistant").squeeze(), [[0, 0.6], [0, np.nan]])


def test_the_papers_pie_worked_out_on_paper():
    """Heads are averaged first, then the start token is set aside, then layers are averaged."""
    layers = [
        [[[0.5, 0.2, 0.1, 0.1, 0.1], [0.3, 0.4, 0.1, 0.1, 0.1]]],  # mean .4 .3 .1 .1 .1
        [[[0.0, 0.2, 0.4, 0.2, 0.2], [0.0, 0.2, 0.4, 0.2, 0.2]]],
    ]
    found = probes.paper_shares(attending(["bsvut"], *layers))
    system, vision = (0.3 / 0.6 + 0.2) / 2, (0.1 / 0.6 + 0.4) / 2
    user = (0.2 / 0.6 + 0.4) / 2
    np.testing.assert_allclose(found["share"][0], [system, vision, user], atol=1e-6)
    assert found["vision_of_both"].item() == pytest.approx(vision / (vision + user))
    assert found["share"]["part"].values.tolist() == ["system", "vision", "user"]


def test_the_pies_ratio_is_formed_at_every_step():
    """Two steps whose masses differ: their ratios are averaged, and not their rows."""
    first = attending(["bsvut"], [[[0.0, 0.2, 0.2, 0.4, 0.2]]])
    later = attending(["bsvuta"], [[[0.0, 0.02, 0.06, 0.01, 0.01, 0.9]]])
    found = probes.paper_shares(generation(first, later, lengths=[2]))
    steps = np.array([[0.2, 0.2, 0.6], [0.2, 0.6, 0.2]])
    np.testing.assert_allclose(found["share"][0], steps.mean(0), atol=1e-6)
    assert found["vision_of_both"].item() == pytest.approx((0.25 + 0.75) / 2)
    ended = probes.paper_shares(generation(first, later, lengths=[1]))
    np.testing.assert_allclose(ended["share"][0], steps[0], atol=1e-6)


def test_entropy_of_what_is_even_peaked_and_in_between():
    rows = [[0.0, 0.1, 0.1, 0.1, 0.1, 0.6], [0.5, 0.5, 0, 0, 0, 0], [0, 0.3, 0.3, 0, 0, 0.4]]
    found = probes.attention_entropy(attending(["bvvvvu"], [[*rows, [1.0, 0, 0, 0, 0, 0]]]))
    np.testing.assert_allclose(found.squeeze(), [1.0, 0.0, 0.5, np.nan], atol=1e-6)
    quarter = torch.tensor([0.5, 0.25, 0.125, 0.125])  # 1.75 bits of 2
    assert entropy(quarter * 7).item() == pytest.approx(1.75 / 2)


def test_a_sink_is_left_out_of_balance_and_entropy():
    run = attending(["bvvvu"], [[[0.0, 0.6, 0.1, 0.1, 0.2]]])
    sink = xr.DataArray([[False, True, False, False, False]], dims=("sample", "pos"))
    assert probes.cross_modality_balance(run).item() == pytest.approx(0.8)
    found = probes.cross_modality_balance(run, without=sink)
    assert found.item() == pytest.approx(0.5)
    assert found["uniform"].item() == pytest.approx(2 / 3)
    assert probes.attention_entropy(run, without=sink).item() == pytest.approx(1.0)
    later = generation(run, attending(["bvvvua"], [[[0, 0, 0.2, 0, 0.2, 0.6]]]), lengths=[2])
    assert probes.cross_modality_balance(later, without=sink).item() == pytest.approx(0.5)
    every = xr.ones_like(sink, dtype=bool)
    with pytest.raises(EmptySelectionError, match="once the others are left out"):
        probes.cross_modality_balance(run, without=every)
    with pytest.raises(InputError, match="these very inputs"):
        probes.cross_modality_balance(run, without=sink.rename(pos="key"))


def test_massive_activations_make_a_sink():
    assert peak(torch.tensor([[1.0, -1.0, 1.0], [0.0, 0.0, -5.0]])).tolist() == pytest.approx(
        [1.0, 3**0.5]
    )
    values = [torch.tensor([[9.0, 25.0, 2.0, 3.0]]), torch.tensor([[9.0, 2.0, 2.0, 19.9]])]
    found = probes.sink_tokens(run_saving([".bvu"], {"hook_resid_pre": values}))
    assert found["sink"].values.tolist() == [[False, True, False, False]]
    assert np.isnan(found["peak"].values[0, :, 0]).all()  # padding
    assert found["peak"].values[0, :, 1].tolist() == [25.0, 2.0]
    lower = probes.sink_tokens(run_saving([".bvu"], {"hook_resid_pre": values}), threshold=19.0)
    assert lower["sink"].values.tolist() == [[False, True, False, True]]


def test_a_real_run_gives_what_its_tensors_say(vlm, inputs):
    run = vlm.run(inputs, save=[LAST_ROWS, *sinks.NEEDS])
    whole = vlm.run(inputs, save="blocks.*.hook_resid_pre").saved.stack("blocks.*.hook_resid_pre")
    found = probes.sink_tokens(run, threshold=2.0)
    for row, own in enumerate(inputs.layouts):
        at = ~own.mask("pad")
        x = whole[:, row, at]
        expected = x.abs().amax(-1) / x.pow(2).mean(-1).sqrt()
        assert_close(found["peak"][row].values[:, at], expected)
    shares = probes.attention_shares(run)
    assert_close(shares.sum("role"), 1.0)
    vision, user = (shares.sel(role=r) for r in ("vision", "user"))
    balance = probes.cross_modality_balance(run)
    assert_close(balance, vision / (vision + user), like=1.0)


def test_blind_to_which_picture(vlm, inputs):
    """A control: where heads look changes with the picture, what sums to one does not."""
    from dataclasses import replace

    tensors = dict(inputs.tensors)
    tensors["pixel_values"] = torch.zeros_like(tensors["pixel_values"])
    blank = replace(inputs, tensors=tensors)
    seen, blind = (vlm.run(x, save=LAST_ROWS) for x in (inputs, blank))
    apart = abs(probes.attention_entropy(seen) - probes.attention_entropy(blind))
    assert apart.max() > 1e-3
    for run in (seen, blind):
        assert_close(probes.attention_shares(run).sum("role"), 1.0)
