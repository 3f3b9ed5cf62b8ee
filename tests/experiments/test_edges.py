"""Edges, against torch hooks, against exact patching, and by the sums that they must have."""

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import EVERY, SUMMING, UNLIKE, build, by_turns, picture
from plain import Plain
from scipy.stats import spearmanr
from torch.utils._python_dispatch import TorchDispatchMode

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, UnsupportedModelError
from vlmlens.experiments import edges, path_patch
from vlmlens.positions import Column

QUESTION = "What color is the circle?"
#: What comes into the stream from outside, by the name of its node.
OUTSIDE = ("image", "text", "deepstack")


def scored(logits):
    return logits[:, 7] - logits[:, 11]


@pytest.fixture(scope="module", params=by_turns(SUMMING, UNLIKE))
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*build("llava"), name="llava") as model:
        yield model


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture(scope="module")
def swaps():
    return vl.datasets.counterfactual_pairs(4, kind="swap")


@pytest.fixture(scope="module")
def pair():
    return tuple(vl.Sample(QUESTION, images=(picture(seed),)) for seed in (0, 1))


def found(vlm, pairs, **options):
    options = {"score": scored, "normalized": False, "progress": False} | options
    return edges(vlm, pairs, **options)


def outside(table):
    """The edges out of what comes into the stream from outside."""
    names = [name for name in table["writer"].values if name.startswith(OUTSIDE)]
    return table.sel(writer=names)


def by_hooks(plain, clean, corrupted, reader, side, head, shares):
    """The edge from head 1 of block 0 at whatever positions, and the logits for their size."""
    _, clean_z, _, _ = plain.recorded(clean)
    logits, _, attn, mlp = plain.recorded(corrupted)
    final = plain.hf.get_submodule(plain.family.final_norm)
    stop = {"mlp": plain.mlp_norm(reader) if side == "mlp" else None, "": final}.get(side, reader)
    target = plain.blocks[stop] if isinstance(stop, int) else stop
    patched = plain.stream_at(corrupted, 0, 1, clean_z, attn, mlp, target)
    told = patched - plain.entering(corrupted, target)
    slopes = [
        plain.slope(
            corrupted, scored, reader, side, head, told, plain.moved(clean, corrupted, share)
        )
        for share in shares
    ]
    return np.mean(slopes), logits


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("side", ["q", "k", "v", "mlp", ""])
def test_an_edge_is_that_of_a_slow_reference(vlm, pair, side, steps):
    plain = Plain(vlm)
    reader = 1 if side else vlm.layers
    name = {"mlp": f"M{reader}", "": "logits"}.get(side, f"L{reader}H0.{side}")
    shares = [(k + 0.5) / steps for k in range(steps)] or [0.0]
    inputs = [vlm.inputs([sample]) for sample in pair]
    expected, logits = by_hooks(plain, *inputs, reader, side, 0, shares)
    edge = found(vlm, [pair], steps=steps, writers="L0H1", readers=name).item()
    assert_close(edge, expected, like=logits)
    assert side != "v" or abs(expected) > 1e-7  # something was told


#: Families some of whose layers convolve.
CONVOLVING = ("lfm2_vl",)


@pytest.mark.parametrize("name", by_turns(EVERY))
def test_all_edges_out_of_what_comes_in_sum_to_the_whole_effect(name, pair):
    """Completeness of the integrated form: to within 1 % of what the edges are together."""
    with vl.HookedVLM(*build(name), name=name) as vlm:
        if "stream" in vlm.family.unlike:
            with pytest.raises(UnsupportedModelError, match="so it has no edges"):
                found(vlm, [pair])
            return
        if name in CONVOLVING:
            with pytest.raises(UnsupportedModelError, match=f"block . of {name} is no attention"):
                found(vlm, [pair])
            return
        table = found(vlm, [pair], steps=16)
        whole = (table["clean"] - table["corrupted"]).item()
        entering = outside(table)
        assert entering.sum().item() == pytest.approx(
            whole, rel=0.01, abs=0.01 * np.abs(entering).sum().item()
        )


#: Where the sum of a block's heads is normed, what they write one by one does not add up to it.
NORMED = (
    *("gemma3", "paligemma/gemma2", "glm4v", "glm46v", "glmga", "glm_ocr"),
    *("hyperclovax_vision_v2", "exaone4_5"),
)
REFUSED = ("gemma4", "gemma4/experts", *CONVOLVING)
ADDING = [name for name in EVERY if name not in (*NORMED, *REFUSED)]


@pytest.mark.parametrize("name", by_turns(ADDING))
def test_all_edges_into_the_logits_sum_to_the_whole_effect_where_the_logits_move(name, pair):
    """Completeness of the other way: to within 1 % of what the edges are together."""
    with vl.HookedVLM(*build(name), name=name) as vlm:
        table = found(vlm, [pair], steps=8, along="reader", readers="logits")
        whole = (table["clean"] - table["corrupted"]).item()
        slack = 0.01 * np.abs(table).sum().item()
        assert table.sum().item() == pytest.approx(whole, rel=0.01, abs=slack)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "qwen3_vl", "aya_vision"])
def test_edges_into_a_reader_sum_to_what_it_does_by_itself(name, pair):
    """Of every kind: a query, key and value, MLPs, the logits; one that has moved alone."""
    with vl.HookedVLM(*build(name), name=name) as vlm:
        end = vlm.layers - 1
        readers = [(end, side, f"L{end}H0.{side}") for side in "qkv"]
        readers += [(end, "mlp", f"M{end}"), (0, "mlp", "M0"), (vlm.layers, "", "logits")]
        names = [label for _, _, label in readers]
        table = found(vlm, [pair], steps=8, along="reader", readers=names)
        plain, inputs = Plain(vlm), [vlm.inputs([sample]) for sample in pair]
        blocks = [*plain.blocks, plain.hf.get_submodule(plain.family.final_norm)]
        base = scored(plain.run(inputs[1]))
        for reader, side, label in readers:
            place = plain.mlp_norm(reader) if side == "mlp" else blocks[reader]
            ends = [plain.entering(each, place) for each in inputs]
            before, after = plain.telling(reader, side, 0, ends[0] - ends[1], 1.0)
            expected = (scored(plain.run(inputs[1], before, after)) - base).item()
            own = table.sel(reader=label)
            slack = 0.01 * np.abs(own).sum().item() + 1e-6
            assert own.sum().item() == pytest.approx(expected, rel=0.02, abs=slack), label


@pytest.mark.slow
def test_the_sums_of_shapes_base_are_those_that_the_page_states(shapes, swaps):
    table = edges(shapes, swaps, steps=16, progress=False)
    into = table.sel(reader="logits").sum("writer")
    np.testing.assert_allclose(outside(table).sum(["writer", "reader"]), 1, atol=0.02)
    assert 0.92 < into.min() < into.max() < 1.01
    alone = {"along": "reader", "readers": "logits", "steps": 4}
    into = edges(shapes, swaps, progress=False, **alone).sum(["writer", "reader"])
    np.testing.assert_allclose(into, 1, atol=0.01)


def test_one_step_more_or_less_is_not_complete(model, pair):
    """The law above has something to fail on: the gradient at one end alone."""
    whole = [outside(found(model, [pair], steps=steps)).sum().item() for steps in (0, 16)]
    assert abs(whole[0] - whole[1]) > 0.1 * abs(whole[1])


def test_edges_are_there_where_paths_are(vlm, pair):
    table = found(vlm, [pair], steps=0).isel(sample=0)
    exact = path_patch(
        vlm, *pair, list(table["writer"].values), "*",
        score=scored, normalized=False, progress=False,
    ).isel(sample=0)  # fmt: skip
    assert list(exact["receiver"].values) == list(table["reader"].values)
    np.testing.assert_array_equal(np.isfinite(exact.values), np.isfinite(table.values))


def correlations(vlm, pairs, score, ways):
    """With exact patching, for each way: Spearman's, that of sizes, and Pearson's."""
    options = {"score": score, "normalized": False, "progress": False}
    tables = [edges(vlm, pairs, **way, **options) for way in ways]
    senders = tables[0]["writer"].values.tolist()
    exact = path_patch(vlm, *zip(*pairs, strict=True), senders, "*", **options)
    there = np.isfinite(exact.values[0])
    found = []
    for table in tables:
        both = [(x[there], y[there]) for x, y in zip(table.values, exact.values, strict=True)]
        ranks = [(spearmanr(*each)[0], spearmanr(*map(np.abs, each))[0]) for each in both]
        straight = [np.corrcoef(*each)[0, 1] for each in both]
        found.append((*np.mean(ranks, 0), np.mean(straight)))
    return found


@pytest.mark.slow
def test_edges_rank_as_exact_patching_does(shapes, swaps):
    """All 532 edges of shapes-base, means of four pairs; docs/circuits.md states these numbers."""
    pairs = [(p.clean, p.corrupted) for p in swaps]
    ways = [{"steps": 0}, {"steps": 8}, {"steps": 4, "along": "reader", "batch": 4}]
    stated = [(0.87, 0.96, 0.77), (0.48, 0.85, 0.93), (0.84, 0.94, 0.99)]
    found = correlations(shapes, pairs, "logit_difference", ways)
    np.testing.assert_allclose(found, stated, atol=0.01)


def test_edges_rank_as_exact_patching_does_in_other_families(vlm, pair):
    found = correlations(vlm, [pair], scored, [{"steps": 0}, {"steps": 8}])
    assert np.min(found) > 0.9


@pytest.mark.slow
def test_places_cut_an_edge_into_parts_that_sum_to_it(vlm, pair):
    whole = found(vlm, [pair], steps=0).isel(sample=0)
    at = {"left": Column((0.0, 0.5)), "vision": "vision", "last": "last"}
    parts = found(vlm, [pair], steps=0, places=at).isel(sample=0)
    assert set(parts["reader_place"].values) == {"left", "vision", "last", "rest", ""}
    for writer in whole["writer"].values:
        rows = parts.sel(writer=parts["writer_node"] == writer)
        for reader in whole["reader"].values:
            own = rows.sel(reader=rows["reader_node"] == reader)
            total = own.sum(min_count=1)
            expected = whole.sel(writer=writer, reader=reader)
            if reader != "logits" or np.isfinite(total):
                assert_close(total.values, expected.values, like=np.nan_to_num(whole.values))
    told = parts.sel(reader="logits")
    assert {str(writer) for writer in told["writer"].values[np.isfinite(told)]} == {
        name for name in parts["writer"].values if name.endswith("@last")
    }
    assert parts.sel(writer="image@left", reader="L0H0.v@vision").isnull()
    assert "image@last" not in parts["writer"].values
    assert "text@left" not in parts["writer"].values


def test_a_place_is_where_a_sender_is_confined_to(model, pair):
    """The limit of a small share: an edge at a place is the slope of the path there."""
    parts = found(model, [pair], steps=0, places=("vision",)).isel(sample=0)
    plain = Plain(model)
    corrupted = model.inputs([pair[1]])
    vision = torch.zeros(1, len(corrupted.layouts[0]), 1)
    vision[:, corrupted.layouts[0].positions("vision")] = 1
    ways = [plain.entering(model.inputs([one]), plain.blocks[0]) for one in pair]
    told = (ways[0] - ways[1]) * vision
    slope = plain.slope(corrupted, scored, 1, "v", 0, told)
    logits = plain.run(corrupted)
    assert_close(
        parts.sel(writer="image@vision", reader="L1H0.v@vision").item(), slope, like=logits
    )


@pytest.mark.slow
def test_pairs_run_together_are_those_run_alone(shapes, swaps):
    """Questions of different length are padded; normalized by each pair's own effect."""
    assert len({len(shapes.inputs([p.clean]).layouts[0]) for p in swaps}) > 1
    options = {"places": ("vision", "last"), "steps": 2, "progress": False}
    together = edges(shapes, swaps, batch=4, **options)
    alone = edges(shapes, [(p.clean, p.corrupted) for p in swaps], **options)
    xr.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    raw = edges(shapes, swaps, batch=4, normalized=False, **options)
    span = raw["clean"] - raw["corrupted"]
    assert_close(raw.values, (together * span).transpose(*raw.dims).values)


def test_chosen_nodes_have_the_edges_that_they_have_among_all(model, pair):
    whole = found(model, [pair], steps=2)
    some = found(model, [pair], steps=2, writers=["M0", "image"], readers=["L2H*.k", "logits"])
    assert some["writer"].values.tolist() == ["image", "M0"]
    chosen = whole.sel(writer=some["writer"].values, reader=some["reader"].values)
    assert_close(some.values, chosen.values)


class Largest(TorchDispatchMode):
    """The number of entries of the largest tensor that is made."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.entries = max(self.entries, each.numel())
        return made


def test_nothing_is_as_large_as_edges_times_tokens(shapes, swaps):
    table = edges(shapes, swaps[:1], steps=0, progress=False)
    tokens, width = len(shapes.inputs([swaps[0].clean]).layouts[0]), 128
    edges_there = int(np.isfinite(table.values).sum())
    with Largest() as seen:
        edges(shapes, swaps[:1], steps=0, progress=False)
    assert seen.entries <= (table.sizes["writer"] + table.sizes["reader"]) * tokens * width
    assert seen.entries < edges_there * tokens * width / 5


def test_what_is_the_same_tells_nothing_new(model, pair):
    table = found(model, [(pair[0], pair[0])], steps=0)
    assert np.nanmax(np.abs(table.values)) == 0.0
    assert_apart(found(model, [pair], steps=0).fillna(0.0).values, 0.0, like=1e-4)


def test_slips_are_named(model, pair):
    for given, said in (
        ({"writers": "L9H9"}, "means no node of this model"),
        ({"writers": "embed"}, "means no node of this model"),
        ({"readers": [("L1H0.q", "L1H0.k")]}, "an edge has one at each end"),
        ({"steps": -1}, "steps"),
        ({"steps": 0, "along": "reader"}, "steps"),
        ({"along": "banana"}, "along"),
        ({"places": 3}, "places=3: roles, such as"),
        ({"places": {"rest": "last"}}, "'rest' is no name of a place"),
        ({"places": {"a@b": "last"}}, "is no name of a place"),
        ({"places": {"all": ~Column(99), "last": "last"}}, "column"),
        ({"places": {"words": ("user", "template"), "last": "last"}}, "come first"),
        ({"score": "banana"}, "banana"),
        ({"batch": 0}, "batch"),
    ):
        with as_users(), pytest.raises((InputError, EmptySelectionError), match=said):
            found(model, [pair], **given)
    for pairs in (pair[0], [pair[0]], "swap", [(1, 2)]):
        with as_users(), pytest.raises(InputError, match=r"pairs|no sample"):
            found(model, pairs)
    with pytest.raises(EmptySelectionError):
        found(model, [pair], places=("assistant",))
    other = vl.Sample(QUESTION + " Say it.", images=pair[1].images)
    with pytest.raises(InputError, match=r"align|length"):
        found(model, [(pair[0], other)])
    with pytest.raises(InputError, match="score alike"):
        found(model, [(pair[0], pair[0])], normalized=True)
