"""Every kind of edit is the intervention that a user would write, on every kind of model."""

import pytest
import torch
from conftest import KINDS, by_turns
from talking import SCENE, Tab, hosted

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, VLMLensError
from vlmlens.interventions import (
    KnockOut,
    MeanAblate,
    MovePositions,
    NormalizeVision,
    PatchFrom,
    PermuteVision,
    Scale,
    ZeroAblate,
)
from vlmlens.live import asking
from vlmlens.live.edits import EDITS, as_edit, as_json
from vlmlens.select import Where
from vlmlens.zoo.tiny import build

Z, PRE, POST = "blocks.*.attn.hook_z", "blocks.0.hook_resid_pre", "blocks.*.hook_resid_post"


@pytest.fixture(scope="module", params=by_turns(KINDS, ("llava",)))
def tab(request):
    with (
        pytest.MonkeyPatch.context() as patch,
        vl.HookedVLM(*build(request.param), name=request.param) as model,
    ):
        patch.setattr(asking, "TOKENS", 1)
        host = hosted(model)
        tab = Tab(host)
        tab.state("second", scene=SCENE)
        yield tab
        host.close()


def cases(tab):
    """Edits as the page sends them, and what a user would write."""
    model = tab.host.model
    clean, _, _ = tab.edited()
    layout = clean.inputs.layouts[0]
    image, last = layout.vision(0).tolist(), len(layout) - 1
    some = image[:2]
    held = model.run(clean.inputs, save=Z).saved
    other = model.inputs(tab.session.now.second)
    second = model.run(other, save=[PRE, POST]).saved
    heads = range(model.cfg.n_heads)
    rest = tuple(h for h in heads if h != 1)
    first = Where(layers=(0,), heads=(1,))
    near = Where(positions=tuple(some))
    yield {"kind": "heads", "heads": [[0, 1]]}, [ZeroAblate(Z, first)]
    yield {"kind": "heads", "heads": [[0, 1]], "how": "scale", "factor": 3}, [Scale(Z, first, by=3)]
    yield {"kind": "heads", "heads": [[0, 1]], "how": "mean"}, [MeanAblate(Z, first, source=held)]
    only = [
        ZeroAblate(f"blocks.{n}.attn.hook_z", Where(heads=tuple(heads)))
        for n in range(model.layers)
    ]
    only[0] = ZeroAblate("blocks.0.attn.hook_z", Where(heads=rest))
    yield {"kind": "heads", "heads": [[0, 1]], "how": "only"}, only
    read = Where(queries=last, keys=tuple(image))
    yield {"kind": "block", "queries": [last], "keys": image}, [KnockOut(where=read)]
    read = Where(layers=1, queries="last", keys=tuple(some))
    yield (
        {"kind": "block", "queries": [last], "keys": some, "layers": [1, 1]},
        [KnockOut(where=read)],
    )
    yield {"kind": "tokens", "keys": image, "seed": 4}, [PermuteVision(seed=4)]
    yield {"kind": "tokens", "keys": image, "how": "mirror"}, [PermuteVision(design="mirror")]
    swap = PermuteVision(permutation=(1, 0), among=tuple(image[:2]))
    move = {"kind": "tokens", "keys": image[:1], "how": "move", "by": [0, 1]}
    yield move, [swap]
    one = MovePositions(where=Where(positions=tuple(image)), to="constant")
    yield {"kind": "positions", "keys": image, "how": "collapse"}, [one]
    shifted = MovePositions(where=near, shift=5)
    yield {"kind": "positions", "keys": some, "how": "shift", "by": 5}, [shifted]
    for how, kind in (("text", "match_mean"), ("each", "match_each"), ("paper", "paper")):
        yield {"kind": "norms", "how": how}, [NormalizeVision(kind=kind)]
    longer = Scale("hook_embed", near, by=2)
    yield {"kind": "norms", "keys": some, "how": "scale", "factor": 2}, [longer]
    patched = PatchFrom("blocks.1.hook_resid_post", near, source=second)
    yield {"kind": "patch", "layers": [1, 1], "keys": some}, [patched]
    first = PatchFrom("blocks.0.hook_resid_pre", near, source=second)
    yield {"kind": "patch", "keys": some}, [first]


def test_an_edit_gives_the_logits_of_what_a_user_would_write(tab):
    changed = 0
    for edit, by_hand in cases(tab):
        tab.state("clear")
        state = tab.add(**edit)
        clean, _, logits = tab.edited()
        plain = tab.host.model.run(clean.inputs, by_hand, logits="last").logits[0, -1]
        torch.testing.assert_close(logits, plain.float(), atol=1e-4, rtol=1e-4)
        assert state["edits"][0]["edit"].items() >= edit.items()
        best = plain.float().softmax(-1).max().item()
        assert state["edited"]["top"][0]["probability"] == pytest.approx(best, abs=1e-4)
        changed += not torch.allclose(logits, clean.answer.logits, atol=1e-6)
    assert changed > 8  # the edits do something at all


def test_edits_apply_in_their_order(tab):
    tab.state("clear")
    clean, _, _ = tab.edited()
    keys = clean.inputs.layouts[0].vision(0).tolist()
    tab.add(kind="norms", how="scale", factor=2)
    tab.add(kind="norms", how="each")
    _, edits, logits = tab.edited()
    assert [type(edit) for edit in edits] == [Scale, NormalizeVision]
    by_hand = [
        Scale("hook_embed", Where(positions=tuple(keys)), by=2),
        NormalizeVision(kind="match_each"),
    ]
    plain = tab.host.model.run(clean.inputs, by_hand, logits="last").logits[0, -1]
    torch.testing.assert_close(logits, plain.float(), atol=1e-4, rtol=1e-4)


def test_every_kind_of_edit_is_tried(tab):
    saved = {"cell"}  # of a map, in test_live_saved.py
    assert {edit["kind"] for edit, _ in cases(tab)} == set(EDITS) - saved


REFUSED = [
    ({"kind": "heads", "heads": [[99, 0]]}, EmptySelectionError, "no layer 99"),
    ({"kind": "heads", "heads": [[0, 99]]}, EmptySelectionError, "no head 99"),
    ({"kind": "heads", "heads": []}, InputError, "at least one head"),
    ({"kind": "heads", "heads": [[0, 1]], "how": "burn"}, InputError, "zero"),
    ({"kind": "heads", "heads": [[0, 1]], "factor": float("nan")}, InputError, "factor"),
    ({"kind": "heads"}, InputError, "needs heads"),
    ({"kind": "heads", "head": [[0, 1]]}, InputError, "needs heads"),
    ({"kind": "heads", "heads": [[0, 1]], "hwo": "zero"}, VLMLensError, "did you mean how"),
    ({"kind": "nothing"}, InputError, "heads, block"),
    ("heads", InputError, "no edit"),
    ({"kind": "block", "queries": [0], "keys": [5]}, VLMLensError, "no query"),
    ({"kind": "block", "queries": [], "keys": [5]}, InputError, "no position"),
    (
        {"kind": "block", "queries": [1], "keys": [0], "layers": [3]},
        InputError,
        "first and the last",
    ),
    ({"kind": "block", "queries": [-1], "keys": [0]}, InputError, "queries"),
    ({"kind": "tokens", "keys": [0]}, InputError, "one image"),
    ({"kind": "tokens", "keys": [10**9]}, EmptySelectionError, "no position 1000000000"),
    (
        {"kind": "tokens", "keys": [5, 10**9], "how": "move", "by": [0, 1]},
        EmptySelectionError,
        "no",
    ),
    ({"kind": "block", "queries": [0, 10**30], "keys": [0]}, EmptySelectionError, "no position"),
    ({"kind": "heads", "heads": [[99, 0]], "how": "only"}, EmptySelectionError, "no layer 99"),
    ({"kind": "heads", "heads": [[0, 99]], "how": "only"}, EmptySelectionError, "no head 99"),
    ({"kind": "heads", "heads": [[0, 1]], "factor": 10**400}, InputError, "finite"),
    (
        {"kind": "heads", "heads": [[0, 1]], "how": "scale", "factor": 10**300},
        InputError,
        "no longer finite",
    ),
    ({"kind": "patch", "layers": [0, 99]}, EmptySelectionError, "layer"),
]


def test_what_cannot_be_done_is_refused_and_changes_nothing(tab):
    tab.state("clear")
    before = tab.add(kind="heads", heads=[[0, 1]])
    for edit, error, says in REFUSED:
        with pytest.raises(error, match=says):
            tab.state("edit", edit=edit)
        assert len(tab.session.now.edits) == 1, edit
    after = tab.state("open")
    assert after["edits"] == before["edits"] and after["clean"] == before["clean"]


def test_an_edit_that_would_change_nothing_is_refused(tab):
    clean, _, _ = tab.edited()
    layout = clean.inputs.layouts[0]
    image, model = layout.vision(0).tolist(), tab.host.model
    pair, order = image[:2], [PermuteVision(seed=s, among=tuple(image[:2])) for s in range(9)]
    stays = [list(each.order(layout, 0, 0)) == list(range(len(image))) for each in order]
    every = [[layer, head] for layer in range(model.layers) for head in range(model.cfg.n_heads)]
    for edit, says in (
        ({"kind": "heads", "heads": every, "how": "only"}, "all heads"),
        ({"kind": "tokens", "keys": image[:1], "how": "mirror"}, "more columns"),
        ({"kind": "tokens", "keys": pair, "seed": stays.index(True)}, "another seed"),
        ({"kind": "positions", "keys": image[:1]}, "choose more tokens"),
        ({"kind": "positions", "keys": image, "how": "shift", "by": 0}, "how far"),
    ):
        with pytest.raises(InputError, match=says):
            tab.add(**edit)
    tab.state("clear")
    assert tab.add(kind="tokens", keys=pair, seed=stays.index(False))["edited"]
    tab.state("clear")
    assert tab.add(kind="heads", heads=[[0, 1]], how="scale", factor=1)["unchanged"]
    tab.state("clear")
    assert not tab.add(kind="heads", heads=[[0, 1]])["unchanged"]


def test_a_region_stays_in_the_picture(tab):
    clean, _, _ = tab.edited()
    corner = clean.inputs.layouts[0].vision(0).tolist()[:1]
    with pytest.raises(InputError, match="out of the picture"):
        tab.add(kind="tokens", keys=corner, how="move", by=[-1, 0])
    with pytest.raises(InputError, match="how many rows"):
        tab.add(kind="tokens", keys=corner, how="move", by=[0, 0])


def test_an_edit_as_data_and_back(tab):
    for edit, _ in cases(tab):
        assert as_edit(as_json(as_edit(edit))) == as_edit(edit)
