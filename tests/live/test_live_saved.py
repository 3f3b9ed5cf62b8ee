"""Saved maps: a cell that is chosen is the run that the table has the value of."""

import contextlib
import io

import numpy as np
import pytest
import torch
from as_users import as_users
from talking import Tab

import vlmlens as vl
from vlmlens.errors import DataError, InputError, VLMLensError
from vlmlens.experiments import Circuit, edges, path_edits, path_patch, sweep
from vlmlens.experiments.pairs import told
from vlmlens.live.saved import open_saved
from vlmlens.live.serving import Host
from vlmlens.positions import At, Role

PAIRS = vl.datasets.counterfactual_pairs(2, kind="swap")
CLEAN, EDITED = ([getattr(pair, side) for pair in PAIRS] for side in ("clean", "corrupted"))
LAST = vl.Where(positions="last")
Z = "blocks.*.attn.hook_z"
AT = {"vision": "vision", "last": "last", "rest": ~Role("vision") & ~At(-1)}
NOISE = vl.interventions.AddNoise("hook_embed", vl.Where(positions="vision"), by=3.0)


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture
def tabbed(model):
    """Opens a tab on a saved map."""
    hosts = []

    def open_tab(sample=None, second=None, **saved):
        found = open_saved(model, sample, second, **saved)
        hosts.append(Host(model, found.edited, None, found))
        return Tab(hosts[-1])

    yield open_tab
    for host in hosts:
        host.close()


def difference(model, clean, edited, logits):
    """The logit difference of the two answers' first tokens, by plain look-up."""
    words = model.processor.tokenizer
    first, other = (
        words(f" {each.answer}", add_special_tokens=False)["input_ids"][0]
        for each in (clean, edited)
    )
    return float(logits[first] - logits[other])


def places(table, count=5):
    """Some cells that the table has, the largest among them, as the page names them."""
    there = np.argwhere(np.isfinite(table))
    order = np.argsort(-np.abs(table[tuple(there.T)]))
    return there[order[:: max(1, len(order) // count)]].tolist()


SWEEPS = {
    "layers": {"over": "role"},
    "positions": {"over": "pos"},
    "cells": {"over": "cell", "window": 2},
    "heads": {"point": Z, "over": "head", "where": LAST},
    "all of a layer": {"over": "layer"},
    "embeddings": {"point": "hook_embed", "over": "role"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_the_patched_run_scores_what_the_table_says(model, tabbed, name):
    table = sweep(model, CLEAN[1], EDITED[1], **SWEEPS[name], normalized=False, progress=False)
    tab = tabbed(sweep=table)
    shown = tab.ask("map")["map"]
    values = np.array(shown["values"], dtype=float)
    rest = [dim for dim in table.dims if dim not in ("sample", "layer")]
    grid = table.isel(sample=0).values.reshape(len(shown["rows"]), -1)
    assert values.shape == grid.shape == (len(shown["rows"]), len(shown["columns"])), rest
    np.testing.assert_allclose(values, grid, atol=1e-5)
    floor = float(table["corrupted"][0])
    for at in places(values):
        state = tab.state("cell", at=at)
        assert state["cell"]["same"] and len(state["edits"]) == 1
        _, edits, logits = tab.edited()
        plain = model.run(model.inputs(EDITED[1]), edits, logits="last").logits[0, -1].float()
        for own in (logits, plain):
            effect = difference(model, CLEAN[1], EDITED[1], own) - floor
            assert effect == pytest.approx(grid[tuple(at)], abs=2e-3)


OTHERS = {
    "shares": {"over": "role"},
    "whole answers": {"over": "role", "score": "answer_difference"},
    "kl": {"over": "role", "score": "kl"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_scores_are_those_of_the_table(model, tabbed, name):
    table = sweep(model, CLEAN[0], EDITED[0], **OTHERS[name], progress=False)
    tab = tabbed(sweep=table)
    for at in places(table.values[0], 3):
        told = tab.state("cell", at=at)["cell"]
        assert told["score"] == pytest.approx(table.values[(0, *at)], abs=1e-3) and told["same"]


@pytest.mark.slow
def test_ablations_and_corruptions_are_made_again(model, tabbed):
    ablated = sweep(
        model, CLEAN[0], point=Z, over="head", edit=vl.interventions.ZeroAblate(),
        score="log_prob", progress=False,
    )  # fmt: skip
    tab = tabbed(sweep=ablated)
    told = tab.state("cell", at=[1, 2])
    assert told["cell"]["same"] and told["edits"][0]["python"].startswith("ZeroAblate(")
    restored = sweep(model, CLEAN[0], corrupt=NOISE, over="role", score="kl", progress=False)
    tab = tabbed(sweep=restored)
    state = tab.state("cell", at=[0, restored["role"].values.tolist().index("user")])
    assert state["cell"]["same"]
    assert [type(edit).__name__ for edit in tab.edited()[1]] == ["AddNoise", "PatchFrom"]


@pytest.mark.slow
def test_a_path_is_patched_as_the_table_says(model, tabbed):
    table = path_patch(
        model, CLEAN[1], EDITED[1], ["embed", "L0H*", "M*"], ["L1H*.v", "M2", "logits"],
        normalized=False, progress=False,
    )  # fmt: skip
    tab, floor = tabbed(circuit=table), float(table["corrupted"][0])
    for at in places(table.values[0]):
        assert tab.state("cell", at=at)["cell"]["same"]
        _, edits, _ = tab.edited()
        logits = model.run(model.inputs(EDITED[1]), edits, logits="last").logits[0, -1].float()
        effect = difference(model, CLEAN[1], EDITED[1], logits) - floor
        assert effect == pytest.approx(table.values[(0, *at)], abs=2e-3)
    with pytest.raises(InputError, match="no such cell"):
        tab.state("cell", at=np.argwhere(np.isnan(table.values[0]))[0].tolist())


@pytest.mark.slow
def test_an_edge_of_a_circuit_is_patched_exactly(model, tabbed, tmp_path):
    pairs = [(CLEAN[1], EDITED[1])]
    found = edges(
        model, pairs, places=("vision", "last"), steps=0, normalized=False, progress=False
    )
    circuit = Circuit.top(found, 12)
    circuit.to_json(tmp_path / "left.json")
    saved = {"circuit": tmp_path / "left.json", "sample": EDITED[1], "second": CLEAN[1]}
    for tab in (tabbed(**saved), tabbed(circuit=found)):
        rows, columns = (tab.ask("map")["map"][name] for name in ("rows", "columns"))
        for one, other in circuit.edges[::4]:
            told = tab.state("cell", at=[rows.index(one), columns.index(other)])["cell"]
            place = vl.Where(positions=AT[one.partition("@")[2]])
            exact = path_patch(
                model, CLEAN[1], EDITED[1], one.partition("@")[0], [other.partition("@")[0]],
                sent=place, received=place, normalized=False, progress=False,
            )  # fmt: skip
            assert told["score"] == pytest.approx(exact.item(), abs=1e-4) and told["estimate"]
    here = found.sel(writer=one, reader=other).item()
    assert told["value"] == pytest.approx(here, abs=1e-4)


@pytest.mark.slow
def test_a_node_is_run_with_all_its_edges_of_the_circuit_together(model, tabbed, tmp_path):
    places = ("vision", "last")
    found = edges(model, PAIRS[:1], places=places, steps=0, normalized=False, progress=False)
    circuit = Circuit.top(found, 250)
    circuit.to_json(tmp_path / "found.json")
    tab = tabbed(EDITED[0], CLEAN[0], circuit=tmp_path / "found.json")
    shown = tab.ask("map")["map"]
    inputs = model.inputs([EDITED[0]])
    kinds = ("image@vision", "L0H", "M1@")
    for row, writer in enumerate(shown["rows"]):
        readers = [other for one, other in circuit.edges if one == writer]
        if len(readers) < 2 or not writer.startswith(kinds):
            continue
        state = tab.state("cell", at=[row, 0])
        assert state["cell"]["label"] == f"patch all edges out of {writer} ({len(readers)})"
        node, _, place = writer.partition("@")
        told = tuple(name.partition("@")[0] for name in readers)
        at = vl.Where(positions=AT[place])
        exact = path_patch(
            model, CLEAN[0], EDITED[0], [node], [told],
            sent=at, received=at, normalized=False, progress=False,
        )  # fmt: skip
        assert state["cell"]["score"] == pytest.approx(exact.item(), abs=1e-4)
        edits = path_edits(model, CLEAN[0], EDITED[0], node, told, sent=at, received=at)
        assert len(edits) == len(readers)
        run = model.run(inputs, edits, logits="last").logits[0, -1]
        torch.testing.assert_close(tab.edited()[2], run, atol=1e-4, rtol=1e-4)
        kinds = tuple(kind for kind in kinds if not writer.startswith(kind))
    assert kinds == ()  # one of each was tried


@pytest.mark.slow
def test_a_folder_a_file_and_a_table_open_alike(model, tabbed, tmp_path):
    table = sweep(model, CLEAN, EDITED, over="role", folder=tmp_path, progress=False)
    table.to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")
    maps = [
        tabbed(sample=EDITED[1], sweep=given).ask("map")["map"]
        for given in (tmp_path, str(tmp_path / "mine.nc"), table)
    ]
    assert maps[0] == maps[1] == maps[2]
    np.testing.assert_allclose(maps[0]["values"], table.values[1], atol=1e-5)


@pytest.mark.slow
def test_code_that_is_copied_gives_the_same_answers(model, tabbed):
    table = sweep(model, CLEAN[0], EDITED[0], over="role", progress=False)
    paths = path_patch(model, CLEAN[0], EDITED[0], "image", ["L1H2.v"], progress=False)
    node = {"circuit": Circuit([("image", "L1H2.v"), ("image", "M0"), ("M0", "logits")])}
    node |= {"sample": EDITED[0], "second": CLEAN[0]}
    for saved, at in (({"sweep": table}, [0, 3]), ({"circuit": paths}, [0, 0]), (node, [0, 0])):
        tab = tabbed(**saved)
        tab.state("cell", at=at)
        names, heard = {}, io.StringIO()
        with contextlib.redirect_stdout(heard):
            exec(tab.ask("code")["python"], names)
        torch.testing.assert_close(names["logits"], tab.edited()[2], atol=1e-4, rtol=1e-4)
        names["model"].close()


@pytest.mark.slow
def test_the_map_is_of_its_own_question_and_picture(model, tabbed):
    table = sweep(model, CLEAN[0], EDITED[0], over="role", progress=False)
    tab = tabbed(sweep=table)
    first = tab.state("cell", at=[0, 3])
    assert first["home"] and first["cell"]["at"] == [0, 3]
    assert tab.state("cell", at=[1, 3])["cell"]["at"] == [1, 3]  # one cell at a time
    gone = tab.state("question", text="What color is the star?")
    assert not gone["home"] and gone["cell"] is None and "question" in gone["dropped"][0]["reason"]
    with pytest.raises(InputError, match="go back to it first"):
        tab.state("cell", at=[0, 3])
    assert tab.state("home")["home"]
    assert tab.state("cell", at=[0, 3])["edited"] == first["edited"]


@pytest.mark.slow
def test_other_weights_are_said(tabbed):
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        table = sweep(model, CLEAN[0], EDITED[0], over="role", progress=False)
        saved = open_saved(model, None, None, sweep=table)
        host = Host(model, saved.edited, None, saved)
        tab = Tab(host)
        assert tab.state("cell", at=[1, 3])["cell"]["same"]
        with torch.no_grad():
            model.hf_model.get_submodule(model.family.lm_layers)[1].mlp.down_proj.weight.mul_(3)
        assert not tab.state("cell", at=[1, 3])["cell"]["same"]
        host.close()


@pytest.mark.slow
def test_what_cannot_be_made_again_says_why(model, tmp_path):
    table = sweep(model, CLEAN, EDITED, over="role", folder=tmp_path, progress=False)
    paths = path_patch(model, CLEAN[0], EDITED[0], "image", progress=False)
    plain = vl.Sample(EDITED[0].question, EDITED[0].pictures()[0], "purple")
    pixels = sweep(
        model, CLEAN[0], plain, over="role", answers=("yellow", "purple"), progress=False
    )
    by_hand = sweep(
        model, CLEAN[0], EDITED[0], over="role", progress=False, score=lambda x: x[:, 5]
    )
    asked = sweep(model, CLEAN[0], EDITED[0], over="role", system="Be brief.", progress=False)
    other = table.assign_attrs(asked=table.attrs["asked"].replace("shapes-base", "another"))
    with as_users():
        for saved, error, says in (
            ({"sweep": other}, InputError, "of the model 'another'"),
            ({"sweep": table, "sample": CLEAN[0]}, InputError, "another sample than the table's"),
            ({"sweep": table, "second": CLEAN[1]}, DataError, "asks"),
            ({"sweep": pixels}, DataError, "given as pixels"),
            ({"sweep": by_hand}, DataError, "does not hold the score"),
            ({"sweep": asked}, InputError, "system prompt"),
            ({"sweep": table.mean("sample")}, InputError, "no samples"),
            ({"sweep": table.assign_attrs(asked=None).drop_attrs()}, InputError, "how it was made"),
            ({"sweep": paths}, InputError, "pass this one as circuit="),
            ({"circuit": table}, InputError, "pass it as sweep="),
            ({"sweep": table, "circuit": paths}, InputError, "one map"),
            ({"second": CLEAN[0]}, InputError, "sweep= or circuit="),
            ({"circuit": Circuit([("image", "M0")])}, InputError, "which pair"),
            ({"sweep": tmp_path / "none.nc"}, DataError, "there is no file"),
            ({"sweep": tmp_path / "maps"}, DataError, "name one of the files"),
        ):
            both = saved.pop("sample", None), saved.pop("second", None)
            with pytest.raises(error, match=says):
                open_saved(model, *both, **saved)
        far = Circuit([("image", "M9")])
        with pytest.raises(InputError, match="no M9"):
            open_saved(model, EDITED[0], CLEAN[0], circuit=far)
        sweep(model, CLEAN[:1], EDITED[:1], over="role", folder=tmp_path, progress=False)
        with pytest.raises(DataError, match="2 maps"):
            open_saved(model, None, None, sweep=tmp_path)


@pytest.mark.slow
def test_pixels_that_are_passed_complete_a_table(model, tabbed):
    edited = vl.Sample(EDITED[0].question, EDITED[0].pictures()[0], "purple")
    clean = vl.Sample(CLEAN[0].question, CLEAN[0].pictures()[0], "yellow")
    table = sweep(model, clean, edited, over="role", progress=False)
    tab = tabbed(sample=edited, second=clean, sweep=table)
    assert tab.state("cell", at=[0, 3])["cell"]["same"]


def test_settings_are_read_and_nothing_else():
    for text in ("__import__('os')", "open('x')", "Where.mask", "[x for x in ()]", "1 + x"):
        with pytest.raises((ValueError, VLMLensError)):
            told._read(text)
    place = vl.positions.Role("vision") & ~vl.positions.Row(0) | vl.positions.At((1, 2))
    given = vl.Where(layers=range(1, 3), positions=place)
    assert told._read(repr(given)) == given
