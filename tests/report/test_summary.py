import numpy as np
import pytest
import xarray as xr

from vlmlens.report.summary import notes, on_crops, permutations, sentences, tiles
from vlmlens.report.written import Estimate, in_category, over_samples, short


def words(results, table=None):
    return " ".join(sentences(results, table)).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (-12.345, "−12.3"),
        (1234.5, "1234"),
        (0.00066, "6.6×10⁻⁴"),
        (-2e-12, "−2.0×10⁻¹²"),
        (np.nan, "–"),
    ],
)
def test_numbers_are_short(value, written):
    assert short(value) == written


@pytest.mark.parametrize(
    ("estimate", "written"),
    [
        (Estimate(49.31, 45.2, 53.4), "49 [45, 53]"),
        (Estimate(0.5281, 0.524, 0.532), "0.528 [0.524, 0.532]"),
        (Estimate(12.0, 0.3, 25.0), "12.0 [0.3, 25.0]"),  # an end that is not 0 must not look it
        (Estimate(2.01e-4, 1.98e-4, 2.04e-4), "2.01×10⁻⁴ [1.98×10⁻⁴, 2.04×10⁻⁴]"),
        (Estimate(-0.02, -0.3, 0.4), "0.0 [−0.3, 0.4]"),
        (Estimate(100.0, 100.0, 100.0), "100 [100, 100]"),
        (Estimate(0.25), "0.25"),
        (Estimate(np.nan), "–"),
    ],
)
def test_the_interval_decides_the_digits(estimate, written):
    assert str(estimate).replace("\N{NO-BREAK SPACE}", " ") == written


def test_decimals_may_be_asked_for():
    written = str(Estimate(0.875, 0.752, 0.944, decimals=3)).replace("\N{NO-BREAK SPACE}", " ")
    assert written == "0.875 [0.752, 0.944]"


@pytest.mark.parametrize(
    ("estimate", "side"),
    [(Estimate(1.0, 0.5, 2.0), 1), (Estimate(-1.0, -2.0, -0.5), -1), (Estimate(1.0, -1.0, 2.0), 0)],
)
def test_an_estimate_is_on_a_side_only_with_its_whole_interval(estimate, side):
    assert estimate.side(of=0.0) == side
    assert Estimate(5.0).side(of=0.0) == 0


def test_layers_and_heads_are_averaged_before_samples_are_drawn():
    values = xr.DataArray([[0.0, 1.0], [1.0, 0.0]], dims=("sample", "head"))
    found = over_samples(values)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert "only 2 samples" in found.note


def test_the_table_is_read_in_per_cent_but_for_nats(table):
    assert in_category(table, "accuracy") == Estimate(90.0, 85.0, 95.0)
    assert in_category(table, "psi", 1) == Estimate(12.5, -8.0, 30.0)
    assert in_category(table, "drop_log_prob") == Estimate(1.25, 1.0, 1.5)
    assert np.isnan(in_category(table, "nothing").value)
    table["accuracy"].attrs["units"] = "percent"
    assert in_category(table, "chance") == Estimate(0.25)


def test_a_clear_loss_is_called_one(results, table):
    text = words(results, table)
    assert "Shuffling the vision tokens lowers accuracy from 90 % [85, 95] to 60 % [55, 65]" in text
    assert "(PSI) of 33 % [25, 40] over 200 questions and 2 shuffles of each." in text
    assert "Chance level is 25 %." in text


def test_an_interval_with_zero_in_it_is_no_finding(results, table):
    text = words(results, table.isel(category=[1]))
    assert "changes accuracy" in text
    assert "neither show" in text


def test_a_gain_is_called_one(results, table):
    table["psi"][0], table["psi_low"][0], table["psi_high"][0] = -20, -30, -10
    assert "raises accuracy" in words(results, table)


def test_a_model_that_guesses_is_said_to(results, table):
    table["chance"][0] = 0.88
    assert "not clearly above chance" in words(results, table)


def test_without_answers_the_reference_is_named(results, table):
    results.attrs["reference"] = "own"
    text = words(results, table)
    assert "have no answers" in text
    assert "same answer to 60 %" in text
    assert "lowers accuracy" not in text
    assert "accuracy" not in text and "PSI" not in text.split("\n")[0]
    assert [tile.name for tile in tiles(results, table)][:2] == ["Answers changed", "Answers kept"]
    results.attrs["answered"] = 3  # asked for, where some have answers
    assert "have no answers" not in words(results, table)


@pytest.mark.parametrize(
    ("even", "verdict"), [(0.9, "less than"), (0.1, "more than"), (0.55, "does not tell")]
)
def test_balance_is_read_against_even_attention(results, even, verdict):
    results["cmb_uniform"][:] = even
    text = words(results)
    assert verdict in text
    assert f"would give {100 * even:.0f} %" in text


def test_rotation_and_norms(results):
    text = words(results)
    assert "by the same small step" in text
    assert "changes the share of attention on the image by 1." in text
    assert "vision tokens are 4 [4, 4] times as long" in text
    assert "before the last block, 4 [4, 4] times." in text
    assert "by 1 position," in words(results.assign_attrs(delta=1.0))
    assert "by 0.5 positions," in words(results.assign_attrs(delta=0.5))


def test_what_was_not_measured_is_not_spoken_of(results):
    assert sentences(xr.Dataset(), None) == []
    assert tiles(xr.Dataset(), None) == []
    assert permutations(xr.Dataset()) == 0
    only = results[["cmb"]]
    assert len(sentences(only, None)) == 1
    assert [tile.name for tile in tiles(only, None)] == ["Balance (CMB)"]
    absent = results[["hidden_norm"]].where(results["role"] != "vision")
    assert sentences(absent, None) == []


def test_one_sample_makes_no_claim_beyond_itself(results, table):
    for name in ("psi_low", "psi_high", "accuracy_low", "accuracy_high"):
        table[name][:] = np.nan
    text = words(results.isel(sample=[0]), table)
    assert "There is no interval" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([1.0, 0.999, np.nan], ""),
        ([np.nan], ""),
        ([1.0, 0.38, 0.667, np.nan], "is shown 38 to 67 % of the picture in 2 of 3 samples"),
        ([0.375, 0.375], "is shown 38 % of the picture in all 2 samples"),
    ],
)
def test_what_is_cropped_away_is_said(seen, told):
    results = xr.Dataset({"seen": ("sample", seen)})
    assert told in on_crops(results).replace("\N{NO-BREAK SPACE}", " ")
    assert bool(on_crops(results)) == bool(told)
    assert told in words(results)
    assert on_crops(xr.Dataset()) == ""


def test_what_an_interval_is_to_be_distrusted_for_is_told_once(results, table):
    few = "only 4 samples: such intervals hold for values that are spread about evenly"
    assert [note[: len(few)] for note in notes(results, table)] == [few]
    many = xr.concat([results] * 5, "sample")
    assert notes(many, table) == []
    assert notes(many, table.assign_attrs(note="color: only 3 pictures"))[0].startswith("color")
