import numpy as np
import pytest
import xarray as xr
from scipy import stats

from vlmlens.errors import DataError
from vlmlens.experiments import summarise
from vlmlens.report import build, from_store
from vlmlens.report.others import CLAIMED, corrected, figure, others
from vlmlens.report.sections import SECTIONS, by_section

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def values(**sizes):
    shape = tuple(sizes.values())
    return xr.DataArray(np.random.default_rng(0).normal(size=shape), dims=tuple(sizes))


@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        ({"sample": 4, "layer": 2, "head": 3}, "heatmap"),
        ({"sample": 4, "layer": 2}, "scatter"),
        ({"sample": 4, "intervention": 2, "layer": 2, "head": 2}, "heatmap"),
        ({"sample": 4, "depth": 3, "role": 2}, "scatter"),
        ({"sample": 4, "dose": 3}, "scatter"),
    ],
)
def test_the_figure_follows_from_the_dimensions(sizes, kind):
    given = values(**sizes).assign_coords({d: np.arange(n) for d, n in sizes.items()})
    assert figure(given).data[0].type == kind


def test_shares_are_drawn_as_shares_and_other_roles_are_not():
    share = xr.DataArray([[0.25, 0.75]] * 3, dims=("sample", "role")).assign_coords(role=["a", "b"])
    assert figure(share).data[0].type == "bar"
    assert figure(3 * share) is None
    assert figure(values(sample=3, row=2, column=2)) is None


def test_rows_are_means_over_samples_by_intervention():
    table = xr.Dataset({"kl": values(sample=5, intervention=2)})
    table = table.assign_coords(intervention=["none", "cut"])
    (found,) = others(table, set())
    assert [name for name, _ in found.rows] == ["none", "cut"]
    assert found.rows[1][1].value == pytest.approx(
        float(table["kl"].sel(intervention="cut").mean())
    )
    assert found.rows[0][1].known
    assert found.dims == "5 sample x 2 intervention"


def test_a_mean_of_ratios_is_that_of_the_finite_ones_and_says_so(tmp_path):
    ratios = abs(values(sample=6, layer=2, head=2))
    ratios[0, 1, 1] = ratios[3, 0, 1] = np.inf  # a head that gave the image nothing at all
    kept = ratios.where(ratios < np.inf)
    table = ratios.assign_attrs(units="ratio", long_name="modality dominance").to_dataset(
        name="mdi"
    )
    (found,) = others(table, set())
    ((_, mean),) = found.rows
    own = kept.mean(("layer", "head")).values
    told = stats.ttest_1samp(own, 0).confidence_interval()
    assert mean.value == pytest.approx(own.mean())
    assert mean.low <= told.low + 1e-9 and told.high - 1e-9 <= mean.high < np.inf
    drawn = np.asarray(found.figure.data[0].z, float)
    assert np.isfinite(drawn).all()
    text = build(table, None, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 infinite values left out" in text


def test_what_other_sections_tell_and_what_is_no_measurement_is_left_out():
    table = xr.Dataset(
        {
            "cmb": values(sample=3, layer=2, head=2),
            "text": ("sample", ["a", "b", "c"]),
            "picture_0": values(y_0=3, x_0=3),
            "mine": values(sample=3),
        }
    )
    assert [other.name for other in others(table, CLAIMED)] == ["mine"]


@pytest.mark.slow
def test_a_store_is_reported_from_its_folder_or_its_file(tmp_path, results, table):
    results["mine"] = values(sample=4, layer=2, head=3).assign_attrs(long_name="my measure")
    results.attrs["delta"] = 0.5  # from a file it comes back as a number of numpy's
    results.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    table.to_netcdf(tmp_path / "psi.nc", engine="h5netcdf")
    page = from_store(tmp_path)
    assert page == tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    assert "my measure" in text
    assert "by 0.5 positions, and nothing else" in text
    assert 'id="figure-more-0"' in text
    names = sorted(each.name for each in (tmp_path / "tables").iterdir())
    assert "cells.csv" in names and 'href="tables/cells.csv"' in text
    assert 'id="psi"' in text
    alone = from_store(tmp_path / "results.nc", tmp_path / "b.html").read_text(encoding="utf-8")
    assert "my measure" in alone
    assert 'id="psi"' not in alone


def test_a_store_without_results_says_what_there_is(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        from_store(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no results"):
        from_store(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "results-a.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 files of finished results.*run the experiment again"):
        from_store(tmp_path)


def test_names_from_data_are_shown_and_not_obeyed(tmp_path):
    table = xr.Dataset({HOSTILE: values(sample=3, intervention=2, layer=2, head=2)})
    table = table.assign_coords(intervention=[HOSTILE, "b"])
    table[HOSTILE].attrs = dict.fromkeys(("long_name", "units", "source"), HOSTILE)
    table.attrs[HOSTILE] = HOSTILE
    text = build(table, None, tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img" not in text.split("<body>")[1]
    assert "&lt;script&gt;alert(1)" in text


def test_every_figure_of_a_page_is_its_own(tmp_path):
    table = xr.Dataset({name: values(sample=3, layer=2, head=2) for name in "abc"})
    text = build(table, None, tmp_path / "x.html").read_text(encoding="utf-8")
    assert [text.count(f'id="figure-more-{i}"') for i in range(3)] == [1, 1, 1]


def test_measurements_stand_in_the_sections_of_a_paper_in_its_order(tmp_path):
    names = ("mine", "lens_log_prob", "stream_rms", "object_auroc", "kl", "slope_g_v")
    table = xr.Dataset({name: values(sample=3) for name in names})
    kept = by_section(others(table, CLAIMED))
    assert {key: [other.name for other in found] for key, found in kept.items()} == {
        "tokens": ["kl"],
        "place": ["object_auroc"],
        "rotation": ["slope_g_v"],
        "stream": ["stream_rms"],
        "lens": ["lens_log_prob"],
        "more": ["mine"],
    }
    text = build(table, None, tmp_path / "x.html").read_text(encoding="utf-8")
    order = [key for key in (section.key for section in SECTIONS) if f'<section id="{key}"' in text]
    assert order == ["tokens", "place", "rotation", "stream", "lens", "more", "provenance"]
    places = [text.index(f'<section id="{key}"') for key in order]
    assert places == sorted(places)
    links = [text.index(f'href="#{key}"') for key in order]
    assert links == sorted(links)


def test_a_tested_map_has_its_dots_its_middle_and_its_count():
    cells = 0.5 + 0.01 * values(sample=12, layer=2, head=3)
    cells[:, 1, 2] += 0.4  # one head that clearly differs from 0.5
    tests = summarise(cells.to_dataset(name="object_auroc"))
    test = corrected(tests, "object_auroc")
    heat, dots = figure(cells, "object_auroc", test).data
    assert (dots.x.tolist(), dots.y.tolist()) == ([2], [1])
    assert heat.z[1, 2] == pytest.approx(float(cells[:, 1, 2].mean()))
    (other,) = others(cells.to_dataset(name="object_auroc"), set(), tests)
    assert other.differ == "1 of 6 differ from 0.5"
    (untested,) = others(cells.to_dataset(name="object_auroc"), set())
    assert untested.differ == "" and len(untested.figure.data) == 1
    scale = untested.figure.layout.coloraxis
    assert scale.cmin <= 0.5 <= scale.cmax  # neutral at 0.5, tested or not
    assert corrected(tests, "mine") is None


def test_ratios_of_many_sizes_have_a_logarithmic_scale():
    ratio = xr.DataArray(
        [[[1.0, 10.0], [100.0, 1000.0]]] * 3,
        dims=("sample", "layer", "head"),
        attrs={"units": "ratio"},
    )
    fig = figure(ratio, "mdi")
    np.testing.assert_allclose(fig.data[0].z, [[0, 1], [2, 3]])
    assert fig.layout.coloraxis.cmin == 0  # a ratio of 1 is the middle, and nothing is below
    assert fig.layout.coloraxis.colorbar.ticktext[:2] == ("1", "10")
    np.testing.assert_allclose(figure(1 + 0 * ratio, "mdi").data[0].z, 1)
