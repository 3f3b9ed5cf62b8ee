import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import xarray as xr
from conftest import picture
from PIL import Image

from vlmlens.errors import InputError
from vlmlens.report import Thumbnail, build, pictures
from vlmlens.sample import Sample

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
FIGURES = ["psi", "cmb", "lift", "alpha_v", "delta_g_v", "delta_alpha_v", "norms"]


class Page(HTMLParser):
    """The elements of a page, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] not in ("script", "style"):
            self.words.append(data)

    def ids(self):
        return [attrs["id"] for _, attrs in self.found if "id" in attrs]

    def count(self, tag):
        return sum(name == tag for name, _ in self.found)

    @property
    def text(self):
        joined = " ".join(self.words).replace("\N{NO-BREAK SPACE}", " ")
        return re.sub(r"\s+", " ", joined)


@pytest.fixture
def page(tmp_path):
    def written(results, psi=None):
        return Page(build(results, psi, tmp_path / "report.html").read_text(encoding="utf-8"))

    return written


@pytest.mark.slow
def test_every_measurement_has_its_figure_and_section(page, results, table):
    found = page(results, table)
    assert [name for name in found.ids() if name.startswith("figure-")] == [
        f"figure-{name}" for name in FIGURES
    ]
    assert {"psi", "cmb", "rope", "norms", "samples", "provenance"} <= set(found.ids())
    assert len(found.ids()) == len(set(found.ids()))
    assert "failures" not in found.ids()


@pytest.mark.slow
def test_it_says_how_it_came_about(page, results, table):
    text = page(results, table).text
    for said in ("shapes-base", "vlmlens diagnose shapes-base --seed 3", "torch 2.13.0", "3"):
        assert said in text
    assert "4 samples of shapes-2d" in text


@pytest.mark.slow
def test_the_table_holds_the_numbers(page, results, table):
    text = page(results, table).text
    assert "overall 200 90 % [85, 95] 60 % [55, 65] 33 % [25, 40] 46.2 %" in text
    assert "1.2 [1.0, 1.5] 25 % 0.0001" in text


@pytest.mark.slow
def test_the_first_samples_are_shown_with_and_without_order(page, results, table):
    text = page(results, table).text
    assert "What is 0? right red in order ✓ red shuffled ✗ blue ×2 0 · color" in text
    assert "What is 1? right red in order ✓ red shuffled ✓ red, ✗ blue 1 · color" in text
    assert "right, but wrong when shuffled: 3" in text and "wrong in order" not in text


@pytest.mark.slow
def test_pictures_stand_with_their_answers_and_show_what_the_model_was_shown(tmp_path, results):
    shown = {
        "0": (Thumbnail("data:image/png;base64,AAAA", "a<b>.png", (25.0, 0.0, 50.0, 100.0)),),
        "2": (Thumbnail("data:image/png;base64,BBBB"), Thumbnail("data:image/png;base64,CCCC")),
    }
    page = Page(build(results, None, tmp_path / "report.html", shown).read_text(encoding="utf-8"))
    found = [attrs for tag, attrs in page.found if tag == "img"]
    assert [attrs["src"][-4:] for attrs in found] == ["AAAA", "BBBB", "CCCC"]
    assert found[0]["title"] == "a<b>.png" and found[0]["alt"] == "picture of 0"
    parts = [attrs["style"] for tag, attrs in page.found if attrs.get("class") == "part"]
    assert parts == ["left:25.00%;top:0.00%;width:50.00%;height:100.00%"]
    assert "cut away before the model sees it" in page.text
    bare = Page(build(results, None, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not bare.count("img") and "cut away" not in bare.text
    kinds = [attrs["data-is"].split() for tag, attrs in page.found if tag == "article"]
    assert kinds == [["turned"], ["turned"], ["turned"], []]


def test_thumbnails_are_small_and_of_pictures_that_are_there(vlm, tmp_path):
    noise = picture(0, (400, 200))
    noise.save(tmp_path / "noise.png")
    samples = [
        Sample("What?", (Image.new("RGB", (96, 64), "red"),), id="wide"),
        Sample("What?", (str(tmp_path / "gone.png"),), id="gone"),
        Sample("What?", (picture(1), str(tmp_path / "noise.png"))),
        Sample("What?", (), id="text"),
    ]
    found = pictures(samples, lambda sample: vlm.inputs(sample).layouts[0])
    assert list(found) == ["wide", "2", "text"] and found["text"] == ()
    ((wide,), (_, large)) = found["wide"], found["2"]
    assert large.name == "noise.png" and large.url.startswith("data:image/jpeg;base64,")
    decoded = Image.open(BytesIO(base64.b64decode(large.url.partition(",")[2])))
    assert decoded.size == (168, 84)
    assert wide.url.startswith("data:image/png") and Image.open(
        BytesIO(base64.b64decode(wide.url.partition(",")[2]))
    ).getpixel((0, 0)) == (255, 0, 0)
    seen = vlm.inputs(samples[0]).layouts[0].seen(0)
    if seen < 0.99:
        assert wide.part is not None
        assert wide.part[2] * wide.part[3] / 1e4 == pytest.approx(seen, abs=0.02)
    else:
        assert wide.part is None
    assert list(pictures(samples, lambda sample: vlm.inputs(sample).layouts[0], most=1)) == ["wide"]


def test_the_absolute_value_is_taken_before_the_mean(tmp_path, results):
    """delta_g_v is -2 in half of the samples and 2 in the others: its mean is 0."""
    text = build(results[["delta_g_v"]] * 2, None, tmp_path / "report.html").read_text()
    assert "mean 2\\u003cbr\\u003e95 % interval [2, 2]" in text


@pytest.mark.slow
def test_it_is_one_file_that_loads_nothing(tmp_path, results, table):
    path = build(results, table, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size < 8_000_000
    text = path.read_text(encoding="utf-8")
    for tag, attrs in Page(text).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "data", "poster", "action"):
            assert name not in attrs, (tag, attrs)
        assert attrs.get("href", "#")[0] == "#", (tag, attrs)  # the contents list
    assert "@import" not in text.split("</style>")[0]
    assert "default-src 'none'" in text
    assert text.count("* plotly.js v") == 1


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes(tmp_path, results, table):
    first, second = (
        build(results, table, tmp_path / name).read_bytes() for name in ("a.html", "b.html")
    )
    assert first == second


def test_text_from_data_is_shown_and_not_obeyed(page, tmp_path, results, table):
    plain = page(results, table)
    hostile = results.assign_coords(
        question=("sample", [HOSTILE] * 4),
        gold=("sample", [HOSTILE] * 4),
        category=("sample", [HOSTILE] * 4),
    )
    hostile["answer"] = (("sample", "permutation"), np.full((4, 3), HOSTILE))
    hostile.attrs |= dict.fromkeys(("model", "command", "data", "created", "attention"), HOSTILE)
    hostile.attrs["versions"] = json.dumps({HOSTILE: HOSTILE})
    hostile.attrs["failures"] = json.dumps([{"id": HOSTILE, "error": HOSTILE}])
    hostile = hostile.assign_coords(role=[HOSTILE, "user", "vision"])
    psi = table.assign_coords(category=["overall", HOSTILE]).assign_attrs(interval=HOSTILE)
    found = page(hostile, psi)
    assert found.count("script") == plain.count("script")
    assert found.count("img") == 0
    assert found.text.count("alert(1)") > 12
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img" not in text.split("</style>")[0] + text.split("<body>")[1]
    # In figures a name is also plotly's little HTML, so it is escaped twice over.
    assert "\\u003cimg" not in text
    assert "&lt;\\u002fscript&gt;" in text


def test_every_section_has_its_line_of_the_contents_and_a_sentence(page, results, table):
    results["mine"] = results["cmb"]
    found = page(results, table)
    links = [attrs["href"][1:] for tag, attrs in found.found if tag == "a"]
    sections = [attrs["id"] for tag, attrs in found.found if tag == "section" and "id" in attrs]
    assert links == sections
    assert sections[:2] == ["summary", "psi"] and sections[-2:] == ["more", "provenance"]
    tags = [tag for tag, _ in found.found]
    starts = [at for at, (tag, own) in enumerate(found.found) if tag == "section" and "id" in own]
    for start in starts:
        assert tags[start : start + 3] == ["section", "h2", "p"]


@pytest.mark.slow
def test_every_figure_has_a_name_a_key_and_a_button(page, results, table):
    found = page(results, table).found
    drawn = [attrs for tag, attrs in found if "plotly-graph-div" in attrs.get("class", "")]
    assert len(drawn) == len(FIGURES)
    assert all(each["role"] == "img" and each["tabindex"] == "0" for each in drawn)
    labels = [each["aria-label"] for each in drawn]
    assert len(set(labels)) == len(labels)
    saves = [attrs["aria-label"] for tag, attrs in found if attrs.get("class") == "save"]
    assert len(saves) == len(drawn) and all(each.startswith("Save as PNG: ") for each in saves)
    regions = [attrs for tag, attrs in found if attrs.get("class") == "scroll"]
    assert any(each.get("tabindex") == "0" for each in regions)


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["cmb", "alpha_v", "hidden_norm", "correct", "answer", "log_prob"])
def test_what_was_not_measured_is_left_out(page, results, table, gone):
    found = page(results.drop_vars(gone), table)
    assert "provenance" in found.ids()
    missing = {"cmb": "cmb", "hidden_norm": "norms", "answer": "samples"}
    if gone in missing:
        assert missing[gone] not in found.ids()


@pytest.mark.slow
def test_there_may_be_no_psi_and_nothing_at_all(page, results):
    assert "psi" not in page(results).ids()
    assert "no measurement" in page(xr.Dataset()).text


@pytest.mark.slow
def test_a_data_set_without_answers(page, results, table):
    results.attrs["reference"] = "own"
    text = page(results.drop_vars("gold"), table).text
    assert "right answer" not in text
    assert "answers kept" in text and "answers changed" in text
    assert "accuracy" not in text and "p: " not in text


@pytest.mark.slow
def test_questions_without_an_answer_are_named(page, results, table):
    results.attrs["unanswered"] = json.dumps(["gray.png", "b"])
    assert "2 of 4 questions have no right answer" in page(results, table).text
    assert "gray.png, b" in page(results, table).text


@pytest.mark.slow
def test_questions_about_one_picture_are_counted(page, results, table):
    n = results.sizes["sample"]
    names = [f"picture {k // 2}" for k in range(n)]
    shared = results.assign_coords(picture=("sample", names))
    assert f"{n} questions about {(n + 1) // 2} pictures" in page(shared, table).text
    alone = results.assign_coords(picture=("sample", [str(k) for k in range(n)]))
    assert "questions about" not in page(alone, table).text


@pytest.mark.slow
def test_failures_are_told_and_counted(page, results):
    results.attrs["failures"] = json.dumps([{"id": "7", "error": "ImageError: 7.png is empty"}])
    text = page(results).text
    assert "1 sample failed It is in none of the numbers" in text
    assert "7 ImageError: 7.png is empty" in text


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["not json", "[1]", '{"a": 1}', "3"])
def test_attributes_that_are_no_json_are_shown_as_they_are(page, results, broken):
    results.attrs |= {"failures": broken, "versions": broken}
    assert broken in page(results).text


@pytest.mark.slow
def test_it_survives_the_way_through_a_file(tmp_path, page, results, table):
    results.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as opened:
        assert page(opened, table).text == page(results, table).text


@pytest.mark.slow
def test_bytes_that_are_no_text_do_not_stop_it(page, results):
    results.attrs["data"] = "folder\udcff"  # how Python spells a file name that is not UTF-8
    assert "folder\\udcff" in page(results).text


@pytest.mark.slow
def test_folders_are_made_and_an_old_page_is_replaced(tmp_path, results):
    path = tmp_path / "deep" / "report.html"
    build(results, None, path)
    results.attrs["model"] = "another"
    assert build(results, None, path) == path
    assert "another" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_no_place_for_it(tmp_path, results):
    with pytest.raises(InputError, match=r"is a folder"):
        build(results, None, tmp_path)


@pytest.mark.slow
def test_every_answer_says_whose_it_is(page, results, table):
    """A folder of images asks all of them the same: only their names tell them apart."""
    named = results.assign_coords(
        sample=[f"holiday/{number}.jpg" for number in range(4)],
        question=("sample", ["Describe the image."] * 4),
    )
    assert "holiday/3.jpg" in page(named, table).text
    first = named["correct"].where(named["sample"] != "holiday/0.jpg")  # it has no answer
    text = page(named.assign(correct=first), table).text
    assert "tell whether the answer agrees with the right one" in text
    nobody = page(named.assign(correct=first * np.nan), table).text
    assert "tell whether the answer agrees" not in nobody
