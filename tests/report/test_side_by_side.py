"""Diagnoses side by side: differences against scipy and written-out sums, refusals, the page."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from report.test_build import HOSTILE, Page
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Diagnosis, save
from vlmlens.experiments.diagnosis import psi_of
from vlmlens.report import diagnoses, headlines, side_by_side

SHIFT = np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5])  # symmetric about 0.15


def diagnosis(model, correct, cmb, *, pictures=None, names=None, **attrs):
    """Made-up answers, (sample, permutation), and a balance for each sample."""
    names = [f"s{n}" for n in range(len(cmb))] if names is None else names
    grid = np.asarray(cmb)[:, None, None] + np.array([[-0.1, 0.1], [0.05, -0.05]])
    labels = ["original", *(f"seed {k}" for k in range(np.shape(correct)[1] - 1))]
    results = xr.Dataset(
        {
            "correct": (("sample", "permutation"), np.asarray(correct, float)),
            "log_prob": (("sample", "permutation"), np.log(0.2 + 0.7 * np.asarray(correct))),
            "cmb": (("sample", "layer", "head"), grid),
        },
        coords={
            "sample": names,
            "permutation": labels,
            "picture": ("sample", names if pictures is None else pictures),
            "question": ("sample", [f"What of {name}?" for name in names]),
            "category": ("sample", ["a", "b"] * (len(names) // 2)),
            "chance": ("sample", np.full(len(names), 0.25)),
        },
        attrs={"model": model, "data": "made up", "reference": "gold", "scoring": "greedy"}
        | {"versions": json.dumps({"numpy": "1"})}
        | attrs,
    )
    return Diagnosis(results, psi_of(results))


def answers(n, right, seed):
    return (np.random.default_rng(seed).random((n, 3)) < right).astype(float)


def row(table, measure, model="two"):
    found = table[(table["measure"] == measure) & (table["model"] == model)]
    return found.iloc[0]


def test_a_difference_of_means_is_students_of_the_pictures_and_its_p_exact():
    pictures = [f"p{n // 2}" for n in range(16)]
    first = np.repeat(np.random.default_rng(0).random(8), 2) + np.tile([-0.05, 0.05], 8)
    by_picture = np.repeat(SHIFT, 2) + np.tile([0.01, -0.01], 8)
    one = diagnosis("one", answers(16, 0.9, 1), first, pictures=pictures)
    two = diagnosis("two", answers(16, 0.6, 2), first + by_picture, pictures=pictures)
    table = headlines({"one": one, "two": two})
    found = row(table, "cmb")
    told = stats.ttest_1samp(SHIFT, 0).confidence_interval()
    assert found["difference"] == pytest.approx(0.15)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(tuple(told))
    assert (found["n"], found["draws"], found["unit"], found["paired"]) == (16, 8, "picture", True)
    exact = stats.permutation_test(
        (SHIFT, np.zeros(8)), lambda a, b: (a - b).mean(), permutation_type="samples"
    )
    assert found["p"] == pytest.approx(exact.pvalue)
    rest = table["p"].dropna()
    assert table.loc[rest.index, "p_corrected"].to_numpy() == pytest.approx(
        stats.false_discovery_control(rest)
    )
    assert rest.size == 5 and table[table["model"] == "one"]["p"].isna().all()


def test_differences_of_answers_are_near_a_paired_bootstrap():
    a, b = answers(60, [0.95, 0.8, 0.75], 3), answers(60, [0.8, 0.5, 0.4], 4)
    table = headlines({"one": diagnosis("one", a, a[:, 0]), "two": diagnosis("two", b, b[:, 0])})

    def psi(x, rows):
        intact, shuffled = x[rows, 0].sum(-1), x[rows, 1:].mean(-1).sum(-1)
        return 100 * (intact - shuffled) / intact

    statistics = {
        "accuracy": lambda rows, axis: 100 * (b[rows, 0] - a[rows, 0]).mean(-1),
        "accuracy_permuted": lambda rows, axis: 100 * (b[rows, 1:] - a[rows, 1:]).mean((-1, -2)),
        "psi": lambda rows, axis: psi(b, rows) - psi(a, rows),
    }
    for name, statistic in statistics.items():
        found, every = row(table, name), np.arange(60)
        assert found["difference"] == pytest.approx(float(statistic(every, -1)))
        drawn = stats.bootstrap(
            (every,), statistic, rng=np.random.default_rng(0)
        ).confidence_interval
        width = drawn.high - drawn.low
        assert abs(found["difference_low"] - drawn.low) < 0.15 * width, name
        assert abs(found["difference_high"] - drawn.high) < 0.15 * width, name


def test_other_samples_are_not_paired():
    right = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    left = np.array([0.1, 0.5, 0.3, 0.7])
    more = np.array([0.4, 0.9, 0.8, 0.6])
    one = diagnosis("one", right, left)
    two = diagnosis("two", right, more, names=list("wxyz"))
    found = row(headlines({"one": one, "two": two}), "cmb")
    assert (found["paired"], found["n"], found["draws"]) == (False, 8, 8)
    p, q = (stats.ttest_1samp(x, 0).confidence_interval() for x in (more, left))
    low = np.hypot(more.mean() - p.low, q.high - left.mean())
    assert found["difference"] == pytest.approx(0.275)
    assert found["difference_low"] <= 0.275 - low + 1e-9  # Student's, or wider
    both, seen = np.concatenate([left, more]), abs(more.mean() - left.mean())
    parted = [
        abs(both[list(mine)].mean() - np.delete(both, mine).mean())
        for mine in itertools.combinations(range(8), 4)
    ]
    assert found["p"] == pytest.approx(np.mean(np.array(parted) >= seen - 1e-12))


def test_unpaired_ends_are_those_of_both_intervals():
    one = diagnosis("one", answers(30, 0.8, 1), np.linspace(0, 1, 30))
    two = diagnosis("two", answers(24, 0.5, 2), np.ones(24), names=[f"t{n}" for n in range(24)])
    table = headlines({"one": one, "two": two})
    for name in ("accuracy", "psi"):
        (q, m, v), (p, low, high) = (
            row(table, name, model)[["value", "value_low", "value_high"]]
            for model in ("one", "two")
        )
        found = row(table, name)
        assert found["difference_low"] == pytest.approx(
            p - q - np.sqrt((p - low) ** 2 + (v - q) ** 2)
        )
        assert found["difference_high"] == pytest.approx(
            p - q + np.sqrt((high - p) ** 2 + (q - m) ** 2)
        )


def test_samples_that_one_model_lacks_are_left_out_of_both():
    right, balance = answers(8, 0.7, 5), np.linspace(0.1, 0.8, 8)
    whole = diagnosis("one", right, balance)
    failed = json.dumps([{"id": "s0", "error": "broken"}])
    names = [f"s{n}" for n in range(7, 0, -1)] + ["new"]  # another order, one failed, one more
    less = diagnosis(
        "two", right[::-1], np.append(balance[:0:-1] + 0.2, 9.0), names=names, failures=failed
    )
    found = row(headlines({"one": whole, "two": less}), "cmb")
    assert (found["paired"], found["n"]) == (True, 7)
    assert found["difference"] == pytest.approx(0.2)
    turned = row(headlines({"two": less, "one": whole}), "cmb", "one")
    assert (turned["paired"], turned["difference"]) == (True, pytest.approx(-0.2))
    del less.results.attrs["failures"]  # then each was asked what the other was not
    assert not row(headlines({"one": whole, "two": less}), "cmb")["paired"]


def test_against_own_answers_there_is_no_accuracy():
    right = np.concatenate([np.ones((8, 1)), answers(8, 0.5, 6)[:, 1:]], axis=1)
    pair = {name: diagnosis(name, right, SHIFT, reference="own") for name in ("one", "two")}
    table = headlines(pair)
    assert list(dict.fromkeys(table["measure"])) == [
        *("accuracy_permuted", "psi", "drop_log_prob", "cmb")
    ]
    assert row(table, "psi")["title"] == "Answers changed by shuffling"
    alike = row(table, "psi")  # two that agree about eight pictures are not known to be the same
    assert (
        alike["difference"] == 0 and alike["difference_low"] < -10 < 10 < alike["difference_high"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scoring": "likelihood"}, "scoring is greedy in one, likelihood in two"),
        ({"delta": 2.0}, "delta is not said in one, 2.0 in two"),
        ({"data": "else"}, "data is made up in one, else in two"),
        ({"max_new_tokens": 3, "rule": "exact"}, "rule is not said in one, exact in two; max_new"),
    ],
)
def test_what_was_measured_otherwise_is_refused(change, said):
    names = list("abcdefgh") if "data" in change else None
    one = diagnosis("one", answers(8, 0.7, 1), SHIFT)
    two = diagnosis("two", answers(8, 0.7, 1), SHIFT, names=names, **change)
    with pytest.raises(InputError, match=said):
        headlines({"one": one, "two": two})


def test_other_shuffles_are_refused():
    one = diagnosis("one", answers(8, 0.7, 1), SHIFT)
    two = diagnosis("two", answers(8, 0.7, 1)[:, :2], SHIFT)
    with pytest.raises(InputError, match="permutation is original, seed 0, seed 1 in one"):
        headlines({"one": one, "two": two})
    with pytest.raises(InputError, match="name two at least"):
        headlines({"one": one})


def test_the_same_data_at_another_place_are_the_same():
    pair = [diagnosis(n, answers(8, 0.7, 1), SHIFT, data=f"{n}/folder") for n in ("one", "two")]
    assert row(headlines(dict(zip(("one", "two"), pair, strict=True))), "cmb")["paired"]


@pytest.mark.slow
def test_folders_are_read_by_their_models_names(tmp_path):
    for folder, model in (("a", "one"), ("b", "two"), ("c", "two")):
        save(diagnosis(model, answers(8, 0.7, 1), SHIFT), tmp_path / folder)
    found = diagnoses([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert list(found) == ["one", "two (b)", "two (c)"]
    assert found["one"].psi["psi"].equals(psi_of(found["one"].results)["psi"])


@pytest.mark.slow
def test_what_is_no_diagnosis_is_refused(tmp_path):
    one = tmp_path / "one"
    save(diagnosis("one", answers(8, 0.7, 1), SHIFT), one)
    with pytest.raises(InputError, match="two folders at least"):
        diagnoses([one])
    with pytest.raises(InputError, match="named twice"):
        diagnoses([one, tmp_path / "x" / ".." / "one"])
    with pytest.raises(DataError, match="there is no such folder"):
        diagnoses([one, tmp_path / "nowhere"])
    other = tmp_path / "other"
    (other / "cells").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no results\.nc and no psi\.nc"):
        diagnoses([one, other])
    (other / "cells" / "results-1.parquet").touch()
    with pytest.raises(DataError, match="unfinished; run its command again"):
        diagnoses([one, other])
    (other / "items.parquet").touch()
    with pytest.raises(DataError, match="an evaluation"):
        diagnoses([one, other])
    for name in ("results", "psi"):
        xr.Dataset({"x": ("y", [1.0])}).to_netcdf(other / f"{name}.nc")
    with pytest.raises(DataError, match="is something else"):
        diagnoses([one, other])


@pytest.mark.slow
def test_names_and_numbers_stay_whole_in_80_columns(tmp_path, vlmlens_says, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"some-organisation/a-model-of-a-long-name-{size}b-instruct" for size in (7, 13, 70)]
    balance = 1e-4 * np.linspace(0.1, 0.8, 16)
    for at, name in enumerate(names):
        made = diagnosis(name, answers(16, 0.9 - 0.2 * at, at), balance * (1 - 3e-3 * at))
        made.results["delta_alpha_v"] = -made.results["cmb"]
        save(made, tmp_path / str(at))
    folders = [tmp_path / str(at) for at in range(3)]
    code, said, told = vlmlens_says("compare", *folders, "--out", tmp_path / "both")
    assert (code, told) == (0, "")
    lines = said.splitlines()
    assert lines[:3] == [f"#{at}  {name}" for at, name in enumerate(names, start=1)]
    assert max(map(len, lines[3:-2])) <= 80 and "…" not in said
    table = pd.read_csv(tmp_path / "both" / "compare.csv")
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines if "[" in line and "#" not in line]
    assert [cells[0].split()[0] for cells in rows] == 2 * list(dict.fromkeys(table["measure"]))
    last = dict(zip((cells[0] for cells in rows), rows, strict=False))
    for cells in rows:
        assert len(cells) == 5 and cells[3].endswith("]")
    found = row(table, "cmb", names[2])
    assert last["cmb"][4] == f"{found['p_corrected']:.2g}"


def test_who_answers_nothing_right_in_order_has_no_psi_and_no_difference():
    right = answers(8, 0.7, 1)
    never = np.concatenate([np.zeros((8, 1)), right[:, 1:]], axis=1)
    one, two = diagnosis("one", right, SHIFT), diagnosis("two", never, SHIFT)
    for names in (None, list("abcdefgh")):
        other = two if names is None else diagnosis("two", never, SHIFT, names=names)
        found = row(headlines({"one": one, "two": other}), "psi")
        assert found[["value", "difference", "p", "p_corrected"]].isna().all()


def test_one_right_answer_is_enough_for_psi_and_its_p():
    right, single = answers(8, 0.8, 1), np.zeros((8, 3))
    single[0] = 1, 1, 0
    one, two = diagnosis("one", right, SHIFT), diagnosis("two", single, SHIFT)
    found = row(headlines({"one": one, "two": two}), "psi")

    def gap(keep):
        a, b = np.where(keep[:, None], right, single), np.where(keep[:, None], single, right)
        p, q = ((x[:, 0] - x[:, 1:].mean(1)).sum() / x[:, 0].sum() for x in (a, b))
        return abs(q - p)

    with np.errstate(invalid="ignore"):  # where one of the two has no right answer left
        gaps = np.array([gap(np.array(keep)) for keep in itertools.product((1, 0), repeat=8)])
    assert found["difference"] == pytest.approx(100 * (0.5 - psi_of(one.results)["psi"][0] / 100))
    assert found["p"] == pytest.approx((gaps >= gaps[0] - 1e-12).mean())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    pair = {
        "one": diagnosis("one", answers(40, [0.95, 0.9, 0.9], 1), np.linspace(0, 1, 40)),
        HOSTILE: diagnosis(HOSTILE, answers(40, [0.9, 0.2, 0.2], 2), np.linspace(0.2, 1.3, 40)),
    }
    pair[HOSTILE].results.attrs["revision"] = HOSTILE
    pair[HOSTILE].psi["category"] = pair["one"].psi["category"] = ["overall", "a", HOSTILE]
    return side_by_side(pair, tmp_path_factory.mktemp("pages") / "compare.html"), headlines(pair)


def test_the_page_says_what_the_table_holds(written):
    page, table = written
    text = Page(page.read_text(encoding="utf-8")).text
    found = row(table, "psi", HOSTILE)
    assert found["units"] == "%" and f" {found['value']:.0f} [" in text
    assert f"p {found['p']:.2g}, corrected {found['p_corrected']:.2g}" in text
    assert "were asked the same 40 samples, and differences are paired" in text
    kept = pd.read_csv(page.with_suffix(".csv"))
    kept = kept.fillna(dict.fromkeys(("units", "other_model", "unit"), ""))
    assert kept.pop("paired").eq(True).sum() == 5
    pd.testing.assert_frame_equal(kept, table.drop(columns="paired"), check_dtype=False)


def test_the_page_warns_of_few_samples_in_either_model(tmp_path):
    pair = {
        "one": diagnosis("one", answers(14, 0.7, 1), np.linspace(0, 1, 14)),
        "two": diagnosis("two", answers(8, 0.7, 1), SHIFT, names=list("abcdefgh")),
    }
    text = Page(side_by_side(pair, tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "two was asked about other samples than one" in text
    assert "Beware: only 8 pictures" in text


def test_hostile_names_are_inert(written):
    page = written[0].read_text(encoding="utf-8")
    found = Page(page)
    assert not any("onerror" in attrs for _, attrs in found.found)
    assert found.count("img") == 0
    assert "alert(1)</script>" not in page
    assert [attrs["id"] for _, attrs in found.found if "figure" in attrs.get("id", "")] == [
        "figure-psi"
    ]


def test_a_page_is_a_file(tmp_path):
    pair = {name: diagnosis(name, answers(8, 0.7, 1), SHIFT) for name in ("one", "two")}
    with pytest.raises(InputError, match="a folder"):
        side_by_side(pair, tmp_path)
