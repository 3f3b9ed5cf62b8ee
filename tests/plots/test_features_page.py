"""The page of many features: what the index says, and that every crop is of its own picture."""

import base64
import re
from html import unescape
from io import BytesIO

import numpy as np
import pytest
from as_users import as_users
from PIL import Image

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.errors import InputError

NUMBERS = (165, 3, 94, 412)


@pytest.fixture(scope="module")
def made():
    samples, sae = shapes_2d(24), vl.interop.sae.load("shapes-base")
    acts = f"{sae.point}.hook_sae_acts_post"
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        with model.splice(sae.point, sae):
            run = model.run(model.inputs(samples), save=acts)
        regions = [vl.probes.most_active(run, acts, one, count=4) for one in NUMBERS]
        return {
            "samples": samples,
            "regions": regions,
            "words": [vl.probes.most_active(run, acts, n, positions="user") for n in NUMBERS],
            "writes": [vl.probes.direction_words(model, sae.W_dec[n], 4) for n in NUMBERS],
            "marks": vl.probes.marking_features(run, "row", acts),
        }


def rows(text):
    """The index, as text by column."""
    found = re.findall(r"<tr>(.*?)</tr>", text.partition("<tbody>")[2], re.S)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in found]
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in row] for row in cells]


def test_the_index_says_what_was_measured(made, tmp_path):
    path = vl.plots.write_features(tmp_path / "some" / "page.html", **made)
    text = path.read_text()
    assert path.name == "page.html"
    marks = made["marks"]
    for row, table, writes in zip(rows(text), made["regions"], made["writes"], strict=True):
        number = table.attrs["feature"]
        assert row[0] == str(number) and f'id="feature-{number}"' in text
        assert row[1] == f"{float(table.density):.2%}"
        own = marks.isel(label=np.flatnonzero(marks.feature == number))
        if own.sizes["label"]:
            best = own.isel(label=int(own.auroc.values.argmax()))
            assert row[3:5] == [best.label.item(), f"{float(best.auroc):.2f}"]
        else:
            assert row[3:5] == ["", ""]
        assert row[5].startswith(str(writes.raised.values[0]).strip())
    assert any(row[3] for row in rows(text)) and not all(row[3] for row in rows(text))
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text


def test_every_crop_holds_its_own_region_in_the_outline(made, tmp_path):
    text = vl.plots.write_features(tmp_path / "page.html", **made).read_text()
    parts = re.split(r'<section id="feature-\d+">', text)[1:]
    pattern = r'base64,([^"]+)".*?left:([\d.]+)px;top:([\d.]+)px;width:([\d.]+)px'
    seen = 0
    for part, table in zip(parts, made["regions"], strict=True):
        crops = re.findall(pattern, part, re.S)
        assert len(crops) == table.sizes["rank"]
        for at, (data, left, top, wide) in enumerate(crops):
            left, top, wide = float(left), float(top), float(wide)
            crop = np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"), float)
            one = table.isel(rank=at)
            whole = made["samples"][int(one.sample)].pictures()[int(one.image)].convert("RGB")
            box = [round(float(one[edge])) for edge in ("left", "top", "right", "bottom")]
            inner = crop[
                round(top + 3) : round(top + wide - 3), round(left + 3) : round(left + wide - 3)
            ]
            original = np.asarray(whole.crop(box), float)
            assert np.abs(inner.mean((0, 1)) - original.mean((0, 1))).max() < 45
            seen += 1
    assert seen == 12  # the fourth feature is never active


def test_words_of_data_are_only_ever_text(made, tmp_path):
    given = made | {"title": "<script>alert(1)</script>"}
    text = vl.plots.write_features(tmp_path / "page.html", **given).read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_what_does_not_go_together_is_refused(made, tmp_path):
    one = made["regions"][0]
    other = one.assign_attrs(point="hook_embed", feature=7)
    for changed, said in (
        ({"regions": []}, "one for each feature"),
        ({"regions": one}, "takes several, each a table"),
        ({"regions": [one, one], "words": (), "writes": ()}, "165 is there twice"),
        ({"regions": [one, other], "words": (), "writes": ()}, "one page for each"),
        ({"words": made["words"][:2]}, "2 words and 4 features"),
        ({"samples": made["samples"][:1]}, "1 samples"),
    ):
        with as_users(), pytest.raises(InputError, match=said):
            vl.plots.write_features(tmp_path / "page.html", **(made | changed))
    with pytest.raises(InputError, match="a folder"):
        vl.plots.write_features(tmp_path, **made)
