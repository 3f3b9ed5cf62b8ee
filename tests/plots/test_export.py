import re

import plotly.graph_objects as go
import pytest

from vlmlens import plots
from vlmlens.errors import InputError, MissingToolError


def test_a_page_opens_offline(tmp_path):
    page = plots.export(go.Figure(go.Bar(y=[1])), tmp_path / "new" / "a.html").read_text()
    assert "* plotly.js v" in page
    # Of its elements none; within its code plotly.js may name icons of maps, which are not drawn.
    assert not re.search(r"""<(script|img|iframe|link)\b[^>]*\b(src|href)=.http""", page)


def test_other_endings_are_named(tmp_path):
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf, \.html"):
        plots.export(go.Figure(), tmp_path / "a.gif")


def test_without_kaleido_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("vlmlens.extras.find_spec", lambda _: None)
    with pytest.raises(MissingToolError, match=r"\[png\]"):
        plots.export(go.Figure(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_without_a_browser_it_says_what_to_install(tmp_path, monkeypatch):
    def none_there(*_, **__):
        raise RuntimeError("Kaleido requires Google Chrome to be installed.")

    monkeypatch.setattr(go.Figure, "to_image", none_there)
    with pytest.raises(MissingToolError, match="install Chromium"):
        plots.export(go.Figure(), tmp_path / "a.png")


def test_other_troubles_keep_their_own_words(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(go.Figure, "to_image", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        plots.export(go.Figure(), tmp_path / "a.png")
