"""PSI, from tables small enough to work out on paper."""

import numpy as np
import pytest
import xarray as xr

from vlmlens import probes
from vlmlens.errors import InputError
from vlmlens.probes import position_sensitivity_index as psi_of
from vlmlens.probes.statistics import exchange_p


def table(original, *shuffled, **coords):
    """A table of right and wrong answers: one column for intact images, one a shuffle."""
    columns = np.array([original, *shuffled], dtype=float).T
    names = ["original", *(f"seed {n}" for n in range(len(shuffled)))]
    dims = ("sample", "permutation")
    return xr.DataArray(columns, dims=dims, coords={"permutation": names}).assign_coords(
        {name: ("sample", values) for name, values in coords.items()}
    )


@pytest.mark.parametrize(
    ("original", "shuffled", "psi"),
    [
        ([1, 1, 1, 0], [[1, 0, 0, 0], [1, 1, 0, 0]], 50.0),  # 0.75 and a mean of 0.375
        ([1, 1, 1, 1], [[0, 0, 0, 0]], 100.0),
        ([1, 1, 0, 0], [[0, 0, 1, 1]], 0.0),  # every answer flips, and as many are right
        ([1, 0, 0, 0], [[1, 1, 0, 0]], -100.0),  # shuffling may help; nothing is clamped
        ([1, 0, 0, 0], [[1, 1, 1, 1]], -300.0),
        ([0, 0, 0, 0], [[1, 0, 0, 0]], np.nan),
        ([0, 0, 0, 0], [[0, 0, 0, 0]], np.nan),
    ],
)
def test_the_share_of_accuracy_that_is_lost(original, shuffled, psi):
    found = psi_of(table(original, *shuffled)).sel(category="overall")
    assert found["psi"].item() == pytest.approx(psi, nan_ok=True)
    assert found["accuracy"].item() == np.mean(original)
    assert found["accuracy_permuted"].item() == np.mean(shuffled)
    assert found["n"].item() == 4
    assert found["psi"].attrs["units"] == "%"


def test_the_columns_names_decide_and_not_their_order():
    correct = table([1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0])
    turned = correct.isel(permutation=[2, 0, 1]).transpose("permutation", "sample")
    xr.testing.assert_allclose(psi_of(correct), psi_of(turned))
    assert psi_of(correct).attrs["permutations"] == 2


def test_corrected_for_chance():
    correct = table([1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], chance=[0.25, 0.25, 0.5, 0.0])
    found = psi_of(correct).sel(category="overall")
    assert found["chance"].item() == 0.25
    assert found["psi_corrected"].item() == pytest.approx(100 * 0.375 / (0.75 - 0.25))
    assert found["psi"].item() == pytest.approx(50.0)
    down_to_chance = psi_of(table([1, 1, 1, 1], [1, 0, 1, 0], chance=[0.5] * 4))
    assert down_to_chance["psi_corrected"].item() == pytest.approx(100.0)


@pytest.mark.parametrize("chance", [0.5, 0.75])
def test_a_model_at_chance_has_nothing_to_lose(chance):
    found = psi_of(table([1, 0, 1, 0], [0, 0, 1, 0], chance=[chance] * 4))
    assert np.isnan(found["psi_corrected"].item())
    assert found["psi"].item() == pytest.approx(50.0)


def test_overall_comes_first_and_then_each_category():
    correct = table([1, 1, 1, 0], [0, 0, 1, 0], category=["side", "side", "color", "color"])
    found = psi_of(correct)
    assert found["category"].values.tolist() == ["overall", "color", "side"]
    assert found["psi"].values.tolist() == pytest.approx([100 * 2 / 3, 0.0, 100.0])
    assert found["n"].values.tolist() == [4, 2, 2]
    alone = psi_of(correct.isel(sample=[0, 1]))
    assert found["psi_low"].sel(category="side") == alone["psi_low"].sel(category="overall")


def test_a_category_called_overall_is_not_taken_for_all_samples():
    category = ["overall", "overall", "x", "x"]
    found = psi_of(table([1, 1, 0, 1], [0, 1, 0, 0], category=category))
    assert found["category"].values.tolist() == ["overall", "overall (category)", "x"]
    assert found["n"].values.tolist() == [4, 2, 2]


def test_without_categories_there_is_only_overall():
    for coords in ({}, {"category": ["", "", "", ""]}):
        found = psi_of(table([1, 1, 1, 0], [0, 0, 1, 0], **coords))
        assert found["category"].values.tolist() == ["overall"]


def test_what_the_log_probability_drops_by():
    correct = table([1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0])
    log_prob = table([-1.0, -2.0, -3.0, -4.0], [-2.0, -2.0, -3.0, -5.0], [-4.0, -2.0, -3.0, -5.0])
    found = psi_of(correct, log_prob).sel(category="overall")
    assert found["drop_log_prob"].item() == pytest.approx((2 + 0 + 0 + 1) / 4)
    assert found["drop_log_prob_low"] <= found["drop_log_prob"] <= found["drop_log_prob_high"]
    assert "drop_log_prob" not in psi_of(correct)


@pytest.mark.parametrize("names", [["original"], ["seed 0", "seed 1"]])
def test_it_needs_the_original_and_a_shuffle(names):
    correct = table([1, 1, 1, 0], [0, 0, 1, 0]).isel(permutation=[0] * len(names))
    with pytest.raises(InputError, match="at least one permutation; there is"):
        psi_of(correct.assign_coords(permutation=names))


def simulated(seed, n=80):
    """80 % right; shuffled, 60 % of those stay right and 10 % of the others become so: PSI 37.5."""
    rng = np.random.default_rng(seed)
    intact = rng.random(n) < 0.8
    shuffled = rng.random((3, n)) < np.where(intact, 0.6, 0.1)
    return table(intact, *shuffled)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = {"psi": 37.5, "accuracy": 0.8, "accuracy_permuted": 0.5}
    found = [psi_of(simulated(seed)).sel(category="overall") for seed in range(20)]
    for name, value in truth.items():
        held = [row[f"{name}_low"].item() <= value <= row[f"{name}_high"].item() for row in found]
        assert np.mean(held) >= 0.85, name  # 95 %, of 20 draws
        widths = [row[f"{name}_high"].item() - row[f"{name}_low"].item() for row in found]
        assert 0 < np.mean(widths) < (30 if name == "psi" else 0.3)


def test_samples_are_resampled_with_all_their_columns():
    """Which samples are right is shared by both columns, so it cancels; shuffled apart it adds."""
    rng = np.random.default_rng(0)
    intact = (rng.random(200) < 0.5).astype(float)
    shuffled = intact * (rng.random(200) < 0.9)

    def width(column):
        found = psi_of(table(intact, column)).sel(category="overall")
        return (found["psi_high"] - found["psi_low"]).item()

    assert width(rng.permutation(shuffled)) > 2 * width(shuffled)


def test_the_same_seed_gives_the_same_numbers():
    correct = simulated(0)
    xr.testing.assert_identical(psi_of(correct, seed=3), psi_of(correct, seed=3))
    one, other = psi_of(correct, seed=3), psi_of(correct, seed=4)
    for name in ("psi", "psi_low", "psi_high", "accuracy_low"):  # formulas, not draws
        assert one[name].item() == other[name].item()


def test_p_is_small_where_order_matters_and_one_where_nothing_changes():
    assert psi_of(simulated(0))["p_value"].item() < 0.001
    assert psi_of(table([1, 1, 0, 1], [1, 1, 0, 1]))["p_value"].item() == 1.0
    lost = psi_of(table([1] * 5, [0] * 5), reference="gold")
    assert lost["p_value"].item() == pytest.approx(2 / 2**5)


# What is drawn, and what answers are held against.


def test_questions_about_one_picture_are_one_draw_without_being_asked():
    names = np.repeat([f"{n:02}" for n in range(12)], 5)
    rng = np.random.default_rng(0)
    intact = (rng.random(12) < 0.8).astype(float)
    shuffled = [intact * (rng.random(12) < 0.6) for _ in range(2)]
    once = psi_of(table(intact, *shuffled))
    many = table(np.repeat(intact, 5), *(np.repeat(s, 5) for s in shuffled))
    together = psi_of(many.assign_coords(picture=("sample", names)))
    for name in ("psi", "accuracy"):
        for end in ("", "_low", "_high"):
            assert together[name + end].item() == pytest.approx(once[name + end].item())
    assert together["p_value"].item() == once["p_value"].item()
    assert (together.attrs["unit"], together.attrs["n_units"]) == ("picture", 12)
    assert (together["n"].item(), together["units"].item()) == (60, 12)
    alone = psi_of(many.assign_coords(picture=("sample", names)), scene=False)
    xr.testing.assert_equal(alone.drop_attrs(), psi_of(many).drop_attrs())
    assert alone["p_value"] < together["p_value"]
    unnamed = psi_of(many.assign_coords(picture=("sample", [""] * 60)))
    assert unnamed["units"].item() == 60  # no picture, nothing in common


@pytest.mark.parametrize("changed", [0, 1, 5, 6, 100])
def test_own_answers_have_a_share_changed_and_no_p(changed):
    """Intact they are right by construction, so that no exchange of the two could be."""
    shuffled = np.ones(100)
    shuffled[:changed] = 0
    correct = table(np.ones(100), shuffled)
    for found in (
        psi_of(correct, reference="own"),
        psi_of(correct.assign_attrs(reference="own")),
    ):
        assert np.isnan(found["p_value"].item())
        assert found["psi"].item() == pytest.approx(changed)
        assert found["lost"].item() == pytest.approx(changed / 100)
        assert found["psi_low"] <= changed <= found["psi_high"]
        assert 0 < found["psi_high"] - found["psi_low"] < 25
        assert found.attrs["reference"] == "own" and "no null" in found.attrs["test"]
    assert not np.isnan(psi_of(correct, reference="gold")["p_value"].item())
    assert np.isnan(psi_of(correct)["p_value"].item())  # they may be the model's own
    own = probes.answer_flips(correct.assign_attrs(reference="own"))
    assert np.isnan(own["p"]).all() and own["lost"].values[0, 0] == changed
    with pytest.raises(InputError, match="there is: gold, own"):
        psi_of(correct, reference="silver")


def test_where_nothing_varies_the_interval_is_that_of_none_of_all():
    unseen = 100 * psi_of(table([1] * 12, [0] * 12))["accuracy_permuted_high"].item()
    same = psi_of(table([1] * 12, [1] * 12))
    assert (same["psi_low"].item(), same["psi_high"].item()) == pytest.approx((-unseen, unseen))
    gone = psi_of(table([1] * 12, [0] * 12))
    assert (gone["psi_low"].item(), gone["psi_high"].item()) == pytest.approx((100 - unseen, 100))


def test_p_is_that_of_the_intact_image_among_its_shuffles():
    """Two questions, three conditions each: the nine choices written down."""
    intact, shuffled = np.array([1.0, 1.0]), np.array([[0.0, 1.0], [0.0, 0.0]])
    x = np.column_stack([intact, shuffled])
    sums = np.array([x[0, i] + x[1, j] for i in range(3) for j in range(3)])
    assert exchange_p(intact, shuffled) == min(1.0, 2 * (sums >= 2).mean())


@pytest.mark.parametrize("shuffles", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_questions_that_are_asked_again_about_their_pictures_add_nothing(seed, shuffles):
    """Every question seven times: intervals stay, but for a share of what rounding to answers is.

    No more of them than there are answers counts, which is the only place where copies show.
    """
    rng = np.random.default_rng(seed)
    pictures = [f"picture {n}" for n in range(30)]
    intact = (rng.random(30) < 0.9).astype(float)
    changed = (rng.random((shuffles, 30)) < 0.25) * intact
    once = psi_of(table(intact, *changed, picture=pictures))
    again = psi_of(
        table(
            np.repeat(intact, 7),
            *np.repeat(changed, 7, axis=1),
            picture=list(np.repeat(pictures, 7)),
        )
    )
    for name in ("psi", "accuracy", "accuracy_permuted"):
        width = float((once[f"{name}_high"] - once[f"{name}_low"])[0])
        for end in ("_low", "_high"):
            assert abs(float((once[name + end] - again[name + end])[0])) < 0.05 * width
    assert float(once["p_value"][0]) == pytest.approx(float(again["p_value"][0]), abs=0.01)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.rename(permutation="shuffle"),
        lambda t: t.rename(sample="item"),
        lambda t: t.drop_vars("permutation"),
        lambda t: t.assign_coords(permutation=["original", "seed 0", "seed 0"]),
        lambda t: t.assign_coords(permutation=["original", "original", "seed 0"]),
    ],
)
@pytest.mark.parametrize("measure", [psi_of, probes.answer_flips])
def test_tables_that_are_labelled_otherwise_are_refused(measure, spoil):
    with pytest.raises(InputError, match=r"\(sample, permutation\)|is there twice"):
        measure(spoil(table([1, 1], [1, 0], [0, 0])))
