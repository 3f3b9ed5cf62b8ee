"""The page's sweeps: what each head and each layer does to the answer, beside plain runs."""

import numpy as np
import pytest
import torch
from talking import Tab

import vlmlens as vl
from vlmlens.datasets.shapes import Drawn, Scene
from vlmlens.datasets.shapes.scene import APART
from vlmlens.errors import InputError
from vlmlens.interventions import PatchFrom, ZeroAblate
from vlmlens.live.edits.block import Block
from vlmlens.live.edits.tokens import Tokens
from vlmlens.live.exploring import first
from vlmlens.live.pictures import elsewhere
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


def test_the_mirror_image_shows_both_changes_of_every_head(shapes, tab):
    sample = first(None)
    a, b = last(shapes, sample).topk(2).indices.tolist()
    there, _ = head_by_head(shapes, mirror(sample), b, a)
    found = tab.ask("sweep", what="heads", mirror=True)
    np.testing.assert_allclose(np.mean(found["both"], 0), np.ravel(found["values"]), atol=2e-5)
    np.testing.assert_allclose(found["both"][1], there, atol=1e-3)


def test_heads_beside_edits_are_changes_from_the_edited_run(shapes, tab):
    sample = first(None)
    out = ZeroAblate(Z.format(1), Where(heads=3))
    tab.add(kind="heads", heads=[[1, 3]], how="zero")
    a, b = last(shapes, sample).topk(2).indices.tolist()
    before = last(shapes, sample, out)
    found = tab.ask("sweep", what="heads", edited=True)
    assert found["edited"] and not tab.ask("sweep", what="heads")["edited"]
    assert found["clean"] == pytest.approx(float(before[a] - before[b]), abs=1e-3)
    assert found["values"][1][3] == pytest.approx(0, abs=1e-3)  # it is out already
    after = last(shapes, sample, out, ZeroAblate(Z.format(2), Where(heads=1)))
    change = float((after[a] - after[b]) - (before[a] - before[b]))
    assert found["values"][2][1] == pytest.approx(change, abs=1e-3)
    assert found["said"][2 * 4 + 1].startswith(word(shapes, int(after.argmax())).strip())
    with pytest.raises(InputError, match="not in its mirror image"):
        tab.ask("sweep", what="heads", edited=True, mirror=True)


def copied(tab, monkeypatch, capsys):
    """What the code for three pictures made, and what it printed."""
    monkeypatch.setattr("vlmlens.live.many.PICTURES", 3)
    names = {}
    exec(compile(tab.ask("code", many=True)["python"], "<many>", "exec"), names)
    return names, capsys.readouterr().out


@pytest.mark.slow
def test_the_code_for_many_pictures_ranks_heads_and_tries_those_of_the_edits(
    tab, monkeypatch, capsys
):
    tab.add(kind="heads", heads=[[1, 3]], how="zero")
    tab.add(kind="heads", heads=[[2, 1]], how="scale", factor=0.5)
    names, printed = copied(tab, monkeypatch, capsys)
    model, effect, samples = names["model"], names["effect"], names["samples"]
    assert effect.dims == ("sample", "layer", "head") and len(samples) == 3
    assert names["words"] == ["left", "right"] and names["heads"] == [(1, 3), (2, 1)]
    assert {each.question for each in samples} == {first(None).question}
    ids, cut = names["tokens"], ZeroAblate(Z.format(2), Where(heads=1))
    for row, each in enumerate(samples):
        clean, edited = last(model, each), last(model, each, cut)
        mine = names["words"].index(each.answer)
        assert clean[ids[mine]] > clean[ids[1 - mine]]
        way = edited - clean
        change = float(way[ids[mine]] - way[ids[1 - mine]])
        assert float(effect[row, 2, 1]) == pytest.approx(change, abs=1e-3)
    assert names["table"]["heads"].values[1] == "L1 H3, L2 H1"
    assert names["table"].sizes["intervention"] == 2 + 4
    assert "L1 H3, L2 H1" in printed and "control 3" in printed


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [True, False])
def test_the_code_for_many_pictures_asks_the_question_that_was_asked(
    shapes, tab, monkeypatch, capsys, tmp_path, drawn
):
    question = "What color is the triangle?"
    if not drawn:
        first(None).pictures()[0].save(tmp_path / "a.png")
        tab = Tab(Host(shapes, vl.Sample(question, (str(tmp_path / "a.png"),))))
    tab.state("question", text=question)
    names, printed = copied(tab, monkeypatch, capsys)
    assert {each.question for each in names["samples"]} == {question}
    assert len(names["samples"]) == (3 if drawn else 1)
    assert names["words"][0] == "purple" and "purple" in printed
    strongest = abs(names["ranked"]["mean"]).sort_values(ascending=False).index[:2]
    assert names["heads"] == strongest.tolist()


def test_code_for_many_pictures_wants_two_words(tab, monkeypatch):
    monkeypatch.setattr(tab.session.asking, "word", lambda token: "  ")
    with pytest.raises(InputError, match="compares two words"):
        tab.ask("code", many=True)
