"""The notebook changes its model while the page is open, tabs take turns, and the page closes."""

import numpy as np
import pytest
import torch
from conftest import picture
from talking import Tab, awaited, hosted

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import ZeroAblate
from vlmlens.live import asking, changing
from vlmlens.live.changing import Watch
from vlmlens.live.exploring import first
from vlmlens.live.turns import Job
from vlmlens.zoo.tiny import build

EDIT = {"kind": "heads", "heads": [[0, 1]]}


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(asking, "TOKENS", 1)
    with vl.HookedVLM(*build("llava"), name="tiny") as model:
        yield model


@pytest.fixture
def tab(model):
    host = hosted(model)
    yield Tab(host)
    host.close()


def doubled(model):
    with torch.no_grad():
        model.hf_model.lm_head.weight.mul_(2)


def doubled_by_data(model):
    model.hf_model.lm_head.weight.data.mul_(2)


def exchanged(model):
    layer = model.hf_model.get_submodule(model.family.lm_layers)[0]
    layer.self_attn.o_proj.weight = torch.nn.Parameter(layer.self_attn.o_proj.weight * 3)


def switched(model):
    layer = model.hf_model.get_submodule(model.family.lm_layers)[0]
    layer.self_attn.o_proj._disable_adapters = True  # as peft's layers are switched


@pytest.mark.parametrize("change", [doubled, doubled_by_data, exchanged, switched])
def test_nothing_is_kept_of_a_model_that_changed(tab, model, change):
    last = tab.state("open")["query"]
    tab.ask("attention", layer=1, head=0, query=last)
    before, _, _ = tab.edited()
    again, _, _ = tab.edited()
    assert again is before  # what did not change is not run again
    change(model)
    after, _, logits = tab.edited()
    assert after is not before
    plain = model.run(after.inputs, logits="last").logits[0, -1].float()
    torch.testing.assert_close(after.answer.logits, plain)
    torch.testing.assert_close(logits, plain, atol=1e-4, rtol=1e-4)
    shown = tab.ask("attention", layer=1, head=0, query=last)["values"]
    name = "blocks.1.attn.hook_pattern"
    rows = model.run(after.inputs, save=name, logits=False).saved[name][0, 0, last]
    np.testing.assert_allclose(shown, rows, atol=1e-5)


def test_one_pass_and_a_look_for_each_request_are_enough_for_a_new_picture(tab, model, monkeypatch):
    tab.add(**EDIT)
    runs, looks, run, changed = [], [], type(model).run, Watch.changed
    monkeypatch.setattr(type(model), "run", lambda *a, **k: runs.append(1) or run(*a, **k))
    monkeypatch.setattr(Watch, "changed", lambda self: looks.append(1) or changed(self))
    maps = tab.ask("maps", layer=0, count=1, query=3, which="edited")["values"]
    maps += tab.ask("maps", layer=1, count=model.layers - 1, query=3, which="edited")["values"]
    lens = tab.ask("lens", position=3, edited=True)["layers"]
    assert (len(runs), len(looks)) == (1, 3)
    tab.state("question", text="What is this?")
    assert len(looks) == 4
    tab.state("undo")
    clean, edits, _ = tab.edited()
    save = vl.Save("blocks.*.attn.hook_pattern", rows=(3,))
    rows = run(model, clean.inputs, list(edits), save=save, logits=False).saved.stack(save)
    np.testing.assert_allclose(np.array(maps), rows[:, 0, :, 0], atol=1e-5)
    need = vl.probes.lens_needs(model, rows=(3,))
    words = vl.probes.logit_lens(
        run(model, clean.inputs, list(edits), save=need, logits=False),
        need,
        model.processor.tokenizer,
    )["word"]
    told = words.isel(sample=0, pos=0).values.tolist()
    assert [[each["token"] for each in layer] for layer in lens] == told
    for count in (0, model.layers):
        with pytest.raises(InputError, match=f"count={count}"):
            tab.ask("maps", layer=1, count=count, query=3)


def test_a_look_finds_nothing_where_only_runs_were_made(tab, model):
    watch = Watch(model)
    tab.add(**EDIT)
    tab.ask("lens", position=3, edited=True)
    assert not watch.changed()
    doubled(model)
    assert watch.changed() and not watch.changed()


def weight(model):
    return model.hf_model.get_submodule(model.family.lm_layers)[1].self_attn.o_proj.weight


def written(model):
    with torch.no_grad():
        weight(model)[0, 0] += 1


def assigned(model):
    weight(model).data = weight(model).data.clone()


def written_by_data(model):
    weight(model).data.mul_(1.5)


def written_by_numpy(model):
    weight(model).detach().numpy()[...] += 1


def loaded(model):
    model.hf_model.load_state_dict({k: v + 1 for k, v in model.hf_model.state_dict().items()})


def replaced(model):
    owner = model.hf_model.get_submodule(model.family.lm_layers)[1].self_attn.o_proj
    owner.weight = torch.nn.Parameter(owner.weight.detach().clone())


CHANGES = [written, assigned, written_by_data, written_by_numpy, loaded, replaced]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_the_next_look_sees_a_change_however_large_the_model(model, monkeypatch, change, large):
    if large:
        monkeypatch.setattr(changing, "MOST", 2048)
        monkeypatch.setattr(changing, "PIECE", 1024)
        monkeypatch.setattr(changing, "SPREAD", 8)
    watch = Watch(model)
    assert bool(watch._pieces) == large
    for _ in range(3):
        assert not watch.changed()
    change(model)
    assert watch.changed() and not watch.changed()


def test_one_number_that_no_version_counts_is_seen_when_its_turn_comes(model, monkeypatch):
    monkeypatch.setattr(changing, "MOST", 2048)
    monkeypatch.setattr(changing, "PIECE", 1024)
    monkeypatch.setattr(changing, "SPREAD", 2)
    watch = Watch(model)
    turns = -(-len(watch._pieces) // 2)
    assert not any(watch.changed() for _ in range(turns))
    weight(model).data.view(-1)[7] += 1
    assert sum(watch.changed() for _ in range(turns)) == 1
    assert not any(watch.changed() for _ in range(turns))


def test_hooks_that_the_notebook_left_on_are_refused(tab, model):
    last = tab.state("open")["query"]
    tab.ask("attention", layer=0, head=0, query=last)
    model.add_hook("blocks.0.hook_mlp_out", lambda x, hook: x * 0)
    for asked in (
        {"do": "lens", "position": 3, "edited": False},
        {"do": "attention", "layer": 0, "head": 0, "query": last},
        {"do": "say", "edited": False},
        {"do": "edit", "edit": EDIT},
    ):
        with pytest.raises(InputError, match="reset_hooks"):
            tab.ask(**asked)
    model.reset_hooks()
    assert tab.ask("lens", position=3, edited=False)["layers"]


def test_one_picture_is_asked_about_and_no_video():
    film = vl.Video(np.zeros((2, 8, 8, 3), np.uint8), fps=1)
    with pytest.raises(InputError, match="2 pictures and 0 videos"):
        first(vl.Sample("Same?", (picture(1), picture(2))))
    with pytest.raises(InputError, match="1 pictures and 1 videos"):
        first(vl.Sample("Same?", picture(1), videos=film))


def test_the_tab_used_last_is_the_one_in_python_and_stays_after_close(model):
    with vl.live.explore(model, vl.Sample("What is this?", picture(3, (40, 40)))) as view:
        assert (view.edits, view.code) == ((), "")
        host = view._server.host
        one, other = host.session(None), host.session(None)
        awaited(host.done(other, "open", {}, Job()))
        awaited(host.done(one, "edit", {"edit": EDIT}, Job()))
        edits, code = view.edits, view.code
        assert [type(edit) for edit in edits] == [ZeroAblate] and "ZeroAblate" in code
    assert (view.edits, view.code) == (edits, code)
    view.close()


def test_a_close_calls_off_what_runs(model):
    host = hosted(model)
    begun = []

    def endless(job):
        begun.append(1)
        while True:
            job.check()

    running = host.turns.submit(Job(), endless)
    while not begun:
        pass
    host.turns.call_off()
    assert host.turns.submit(Job(), lambda job: 7).result(timeout=10) == 7
    assert running.exception() is not None
    host.close()
