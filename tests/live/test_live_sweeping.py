"""The page's sweeps: what each head and each layer does to the answer, beside plain runs."""

import numpy as np
import pytest
import torch
from talking import Tab

import vlmlens as vl
from vlmlens.datasets.shapes import Drawn, Scene
from vlmlens.errors import InputError
from vlmlens.interventions import PatchFrom, ZeroAblate
from vlmlens.live.edits.block import Block
from vlmlens.live.edits.tokens import Tokens
from vlmlens.live.exploring import first
from vlmlens.live.pictures import APART, elsewhere
from vlmlens.live.serving import Host
from vlmlens.live.turns import Job
from vlmlens.select import Where

Z = "blocks.{}.attn.hook_z"
BEFORE, AFTER = "blocks.0.hook_resid_pre", "blocks.*.hook_resid_post"


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture
def tab(shapes):
    host = Host(shapes, first(None))
    yield Tab(host)
    host.close()


def mirror(sample):
    return vl.Sample(sample.question, Drawn(sample.images[0].scene.mirror()))


def last(model, sample, *edits):
    return model.run(model.inputs(sample), list(edits), logits="last").logits[0, -1].float()


def word(model, token):
    return model.processor.tokenizer.decode([token])


def head_by_head(model, sample, a, b):
    """The change of logit a less logit b without each head, and what comes first then."""
    clean = last(model, sample)
    changes, firsts = [], []
    for layer in range(model.layers):
        for head in range(model.cfg.n_heads):
            cut = last(model, sample, ZeroAblate(Z.format(layer), Where(heads=head)))
            changes.append(float((cut[a] - cut[b]) - (clean[a] - clean[b])))
            firsts.append(int(cut.argmax()))
    return np.array(changes), firsts


@pytest.mark.slow
def test_heads_say_what_is_answered_without_them_here_and_in_the_mirror(shapes, tab):
    sample = first(None)
    a, b = last(shapes, sample).topk(2).indices.tolist()
    assert last(shapes, mirror(sample)).argmax() == b  # so its own difference is b less a
    here, firsts = head_by_head(shapes, sample, a, b)
    there, _ = head_by_head(shapes, mirror(sample), b, a)
    one, both = tab.ask("sweep", what="heads"), tab.ask("sweep", what="heads", mirror=True)
    np.testing.assert_allclose(np.ravel(one["values"]), here, atol=1e-3)
    np.testing.assert_allclose(np.ravel(both["values"]), (here + there) / 2, atol=1e-3)
    assert one["others"] == both["others"] == [token not in (a, b) for token in firsts]
    assert any(one["others"]) and not all(one["others"])
    listed = np.argsort(-np.abs(here))[:8].tolist()
    for at, said in enumerate(one["said"]):
        begun = word(shapes, firsts[at]).strip()
        assert said.startswith(begun)
        assert (said == f"{begun}…") == (at not in listed)
    top = listed[0]
    cut = ZeroAblate(Z.format(top // 4), Where(heads=top % 4))
    whole = shapes.generate(shapes.inputs(sample), [cut], max_new_tokens=8).texts[0].strip()
    assert one["said"][top] == whole


def test_a_mirror_image_with_another_kind_of_answer_has_no_mean(tab, monkeypatch):
    clean, _ = tab.session.edits(job := Job())
    other = tab.session.asking.clean(tab.session.asking.mirrored(clean), job)
    other.answer.logits[7] = 100.0
    with pytest.raises(InputError, match=r"neither “left” nor “right”: there is no mean"):
        tab.ask("sweep", what="heads", mirror=True)


@pytest.mark.slow
def test_layers_are_shares_of_the_way_to_the_second_picture(shapes, tab):
    sample = first(None)
    scene = tab.state("open")["sample"]["scene"]
    tab.state("second", scene=[{**each, "x": 1 - each["x"]} for each in scene])
    found = tab.ask("sweep", what="layers")
    second = shapes.run(shapes.inputs(mirror(sample)), save=[BEFORE, AFTER], logits="last")
    clean, other = last(shapes, sample), second.logits[0, -1].float()
    a, b = clean.topk(2).indices.tolist()
    points = [BEFORE, *(AFTER.replace("*", str(n)) for n in range(shapes.layers))]
    for at, point in enumerate(points):
        patch = PatchFrom(point, Where(positions="vision"), source=second.saved)
        logits = last(shapes, sample, patch)
        way = float((logits[a] - logits[b]) - (clean[a] - clean[b]))
        share = way / float((other[a] - other[b]) - (clean[a] - clean[b]))
        assert found["shares"][at] == pytest.approx(share, abs=1e-3)
        assert found["flips"][at] == (logits.argmax() != a)
        assert found["said"][at] == word(shapes, int(logits.argmax())).strip()
    assert found["shares"][0] == pytest.approx(1, abs=1e-3)  # all that the picture tells
    assert found["second"]["answer"] == "right"
    state = tab.add(kind="patch")
    assert state["edits"][0]["label"] == "patch the picture before layer 0"
    torch.testing.assert_close(tab.edited()[2], other, atol=1e-3, rtol=1e-3)
    tab.state("second", scene=scene)  # the same picture: no way at all
    assert tab.ask("sweep", what="layers")["shares"] is None


def test_the_same_shapes_elsewhere_are_the_same_question(tab):
    state = tab.state("picture", elsewhere=3)
    names = [(each["shape"], each["color"]) for each in state["sample"]["scene"]]
    assert names == [("square", "orange"), ("triangle", "purple")]
    scene = tab.session.now.sample.images[0].scene
    assert scene.fits() and scene != first(None).images[0].scene
    one, other = scene.shapes
    assert min(abs(one.x - other.x), abs(one.y - other.y)) >= APART - 1e-3  # rounded
    assert tab.state("undo")["sample"]["scene"] != state["sample"]["scene"]
    crowd = Scene(tuple(vl.datasets.shapes.Shape("star", "red", 0.5, 0.5, 0.3) for _ in range(9)))
    with pytest.raises(InputError, match="9 shapes leave no room"):
        elsewhere((Drawn(crowd),), 0)
    with pytest.raises(InputError, match="drawn scene"):
        elsewhere(("photo.png",), 0)


def test_edits_are_named_by_words_and_places(tab):
    clean, _ = tab.session.edits(Job())
    layout = clean.inputs.layouts[0]
    orange = [token.strip() for token in layout.tokens].index("orange")
    image = layout.vision(0).tolist()
    area = tuple(image[8 * row + column] for row in (1, 2) for column in (4, 5, 6))
    cut = Block((orange,), area, (1, 2))
    said = "“orange” does not read the patches in rows 1 to 2, columns 4 to 6 in layers 1 to 2"
    assert cut.label(layout) == said
    assert Tokens(tuple(image), "mirror").label(layout) == "mirror the tokens of the picture"
    odd = Block((orange, orange + 1), (image[0], image[9]))
    said = "“orange”, “shape” do not read 2 patches in rows 0 to 1, columns 0 to 1 in all layers"
    assert odd.label(layout) == said


@pytest.mark.slow
def test_the_code_for_many_pictures_ranks_heads_with_intervals(tab, monkeypatch, capsys):
    monkeypatch.setattr("vlmlens.live.source.PAIRS", 3)
    python = tab.ask("code", many=True)["python"]
    names = {}
    exec(compile(python, "<many>", "exec"), names)
    assert names["effect"].dims == ("sample", "layer", "head")
    assert capsys.readouterr().out.count("\n") >= 9
    pair, cut = names["pairs"][1], ZeroAblate(Z.format(2), Where(heads=1))
    model = names["model"]
    clean, edited = last(model, pair.clean), last(model, pair.clean, cut)
    encode = model.processor.tokenizer.encode
    right, wrong = (
        encode(f" {text}", add_special_tokens=False)[0]
        for text in (pair.clean.answer, pair.corrupted.answer)
    )
    change = float((edited[right] - edited[wrong]) - (clean[right] - clean[wrong]))
    assert float(names["effect"][1, 2, 1]) == pytest.approx(change, abs=1e-3)
