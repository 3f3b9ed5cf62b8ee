"""What a notebook shows: useful at a glance, and text from data stays text."""

from html.parser import HTMLParser

from conftest import TINY, build, picture

import vlmlens as vl
from vlmlens import Sample
from vlmlens.palette import ROLE_COLOURS

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def test_a_model_tells_its_parts_and_every_kind_of_point(vlm):
    page = Page(vlm._repr_html_())
    assert f"HookedVLM: {vlm.name}" in page.text
    assert f"{vlm.layers} layers" in page.text
    assert f"{len(vlm.hook_dict)} points" in page.text
    for kind in ("hook_embed", "blocks.*.attn.hook_pattern", "vision.blocks.*.hook_resid_post"):
        assert kind in page.text
    assert "batch head query key" in page.text


def test_inputs_show_pictures_and_tokens_by_role(vlm, inputs):
    html = inputs._repr_html_()
    page = Page(html)
    assert page.tags.count("img") == 2
    assert "image 0: " in page.text
    asked = [inputs.layouts[0].tokens[at].strip() for at in inputs.layouts[0].positions("user")]
    assert " ".join(word or "␣" for word in asked) in page.text
    assert html.count(ROLE_COLOURS["user"]) > len(inputs.layouts[0].positions("user"))
    assert "input_ids" in page.text


def test_a_run_tells_what_was_saved(vlm, inputs):
    page = Page(vlm.run(inputs, save="blocks.*.hook_resid_pre")._repr_html_())
    assert "blocks.0.hook_resid_pre" in page.text
    assert "batch pos d_model" in page.text
    assert "nothing was saved" in Page(vlm.run(inputs)._repr_html_()).text


def test_a_generation_shows_what_was_said(vlm, inputs):
    said = vlm.generate(inputs, max_new_tokens=2)
    page = Page(said._repr_html_())
    assert inputs.samples[1].question in page.text
    assert "2 steps" in page.text


def test_text_from_data_is_shown_and_not_obeyed(vlm):
    inputs = vlm.inputs([Sample(HOSTILE, (picture(0),))])
    for shown in (inputs, vlm.run(inputs), vlm.generate(inputs, max_new_tokens=1)):
        assert "script" not in Page(shown._repr_html_()).tags


def test_a_closed_model_says_so():
    with vl.HookedVLM(*build(next(iter(TINY))), name=HOSTILE) as model:
        pass
    page = Page(model._repr_html_())
    assert "(closed)" in page.text
    assert "script" not in page.tags
