"""Circuits: against torch hooks, as sets, and by what keeping all edges or none must do."""

import json
import re

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import EVERY, SUMMING, UNLIKE, build, by_turns, picture
from plain import Plain

import vlmlens as vl
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Circuit, edges, faithfulness, overlap

QUESTION = "What color is the circle?"
PLACES = ("vision", "last")


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


def table(vlm, pair, **options):
    return edges(vlm, [pair], scored, steps=0, normalized=False, progress=False, **options)


def held(vlm, circuits, pair, **options):
    return faithfulness(vlm, circuits, [pair], scored, progress=False, **options)


def some_of(whole, share, seed=0):
    """A circuit of edges drawn by chance."""
    rng = np.random.default_rng(seed)
    drawn = [edge for edge in whole.edges if rng.random() < share]
    return Circuit(drawn, whole.places, whole.grouped)


# A slow reference: block by block, each node's reading put together by hand.


class ByHand(Plain):
    """A model in which every reader hears the clean sample through some edges alone."""

    def logits(self, clean, corrupted, circuit):
        """The last position's logits."""
        self.hear = {reader: set() for _, reader in circuit.edges}
        for writer, reader in circuit.edges:
            self.hear[reader].add(writer)
        self.at = self.masks(corrupted)
        self.grouped = circuit.grouped
        self.begin(corrupted)
        ends = [self.entering(each, self.blocks[0]) for each in (clean, corrupted)]
        self.outer = {"image": (ends[0] - ends[1]) * self.at["seen"]}
        self.outer["text"] = (ends[0] - ends[1]) * ~self.at["seen"]
        self.outer["deepstack1"] = self.added(clean) - self.added(corrupted)
        self.now_z, self.now_mlp = {}, {}
        for layer, block in enumerate(self.blocks):
            self.attend(corrupted, layer, block)
            self.think(corrupted, layer, block)
        norm = self.hf.get_submodule(self.family.final_norm)
        stream = self.entering(corrupted, norm)
        return self.ending(corrupted, stream + self.told("logits", len(self.blocks), 0))

    def begin(self, corrupted):
        """What heads and MLPs write where nothing is heard of the clean sample."""
        _, self.z, _, mlps = self.recorded(corrupted)
        self.wrote = [self.after_mlp(block, mlps[at]) for at, block in enumerate(self.blocks)]

    def masks(self, inputs):
        (layout,) = inputs.layouts
        seen = torch.from_numpy(layout.mask("vision"))[None, :, None]
        last = torch.zeros_like(seen)
        last[:, -1] = True
        found = {"seen": seen, "vision": seen & ~last, "last": last, "rest": ~seen & ~last}
        return found | {"": torch.ones_like(seen)}

    def added(self, inputs):
        """What is added between the first two blocks."""
        out = {}
        look = (self.blocks[0], lambda m, a, x: out.update(x=x[0] if type(x) is tuple else x))
        self.run(inputs, after=[look])
        return self.entering(inputs, self.blocks[1]) - out["x"]

    def told(self, reader, layer, mlps):
        """What a reader hears more than in the corrupted run, of blocks before one."""
        total = 0.0
        for place, mask in self.at.items():
            name = f"{reader}@{place}" if place and reader != "logits" else reader
            own = self.hear.get(name, set())
            heard = {one.partition("@")[0] for one in own if one.partition("@")[2] == place}
            total = total + mask * self.sum_of(heard, layer, mlps)
        return total

    def sum_of(self, heard, layer, mlps):
        total = sum((way for name, way in self.outer.items() if name in heard), start=0.0)
        for at, block in enumerate(self.blocks[: layer + mlps]):
            heads = [int(n.partition("H")[2]) for n in heard if n.startswith(f"L{at}H")]
            if heads:
                z = self.z[at].clone()
                for head in heads:
                    own = slice(head * self.width, (head + 1) * self.width)
                    z[..., own] = self.now_z[at][..., own]
                total = total + self.write(block, z) - self.write(block, self.z[at])
            if f"M{at}" in heard:
                total = total + self.now_mlp[at] - self.wrote[at]
        return total

    def write(self, block, z):
        out = block.self_attn.o_proj.forward(z)
        sandwiched = hasattr(block, "pre_feedforward_layernorm")
        return block.post_attention_layernorm.forward(out) if sandwiched else out

    def after_mlp(self, block, out):
        sandwiched = hasattr(block, "post_feedforward_layernorm")
        return block.post_feedforward_layernorm.forward(out) if sandwiched else out

    def attend(self, inputs, layer, block):
        stream, got = self.entering(inputs, block), {}
        hooks = []
        for side in "qkv":
            module = getattr(block.self_attn, f"{side}_proj")
            made = module.forward(block.input_layernorm.forward(stream))
            for head in range(made.shape[-1] // self.width):
                heard = stream + self.told(f"L{layer}H{head}.{side}", layer, 0)
                own = slice(head * self.width, (head + 1) * self.width)
                made[..., own] = module.forward(block.input_layernorm.forward(heard))[..., own]
            hooks.append((module, lambda m, a, x, made=made: made))
        look = (block.self_attn.o_proj, lambda m, a, k: got.update(z=a[0].clone()))
        self.run(inputs, [look], hooks)
        self.now_z[layer] = got["z"]

    def think(self, inputs, layer, block):
        norm = self.mlp_norm(layer)
        parallel = norm is block.input_layernorm
        stream = self.entering(inputs, norm)
        heard = stream + self.told(f"M{layer}", layer, 0 if parallel else 1)
        self.now_mlp[layer] = self.after_mlp(block, block.mlp.forward(norm.forward(heard)))


@pytest.mark.parametrize("places", [(), PLACES])
def test_a_circuits_run_is_that_of_a_slow_reference(vlm, pair, places):
    whole = Circuit.every(table(vlm, pair, places=places))
    circuit = some_of(whole, 0.5)
    inputs = [vlm.inputs([sample]) for sample in pair]
    with torch.no_grad():
        plain = ByHand(vlm)
        expected = [plain.logits(*inputs, own) for own in (circuit, whole - circuit)]
    found = held(vlm, circuit, pair)["score"].values[:, 0, 0]
    for own, its in zip(found, expected, strict=True):
        assert_close(own, scored(its).item(), like=its)
    assert_apart(expected[0], expected[1])


@pytest.mark.parametrize("name", by_turns(EVERY))
def test_all_edges_are_the_model_and_none_are_the_corrupted_run(name, pair):
    with vl.HookedVLM(*build(name), name=name) as vlm:
        if "stream" in vlm.family.unlike or name == "lfm2_vl":
            with pytest.raises(vl.errors.UnsupportedModelError):
                held(vlm, Circuit([("image", "M0")]), pair)
            return
        whole = Circuit.every(table(vlm, pair))
        found = held(vlm, [whole, whole - whole], pair)
        ends = np.array([found["clean"].item(), found["corrupted"].item()])
        logits = vlm.run(vlm.inputs([pair[0]])).logits
        assert_close(found["score"].sel(kept="circuit").values[:, 0], ends, like=logits)
        assert_close(found["score"].sel(kept="rest").values[:, 0], ends[::-1], like=logits)


@pytest.mark.parametrize("places", [(), PLACES])
def test_edges_on_no_way_to_the_logits_change_nothing(vlm, pair, places):
    circuit = some_of(Circuit.every(table(vlm, pair, places=places)), 0.25)
    pruned = circuit.pruned()
    assert 0 < len(pruned) < len(circuit)
    assert not pruned - circuit
    whole, less = held(vlm, [circuit, pruned], pair)["score"].sel(kept="circuit").values[:, 0]
    assert_close(less, whole, like=vlm.run(vlm.inputs([pair[0]])).logits)


@pytest.mark.slow
def test_faithfulness_of_shapes_base_grows_to_one(shapes):
    """On pairs that the circuit was not found on; docs/circuits.md states these numbers."""
    pairs = [vl.datasets.counterfactual_pairs(8, kind="swap", seed=seed) for seed in (0, 1)]
    found = edges(shapes, pairs[0], places=PLACES, normalized=False, batch=8, progress=False)
    circuits = {str(n): Circuit.top(found, n) for n in (10, 40, 160, 1395)}
    curve = faithfulness(shapes, circuits, pairs[1], batch=8, progress=False)
    np.testing.assert_allclose(curve["faithfulness"], (0.21, 0.62, 0.93, 1.0), atol=0.01)
    np.testing.assert_allclose(curve["completeness"], (0.91, 0.99, 1.0, 1.0), atol=0.01)
    assert curve["edges"].values.tolist() == [10, 40, 160, 1395]
    low, high = (curve[f"faithfulness_{end}"].values[:3] for end in ("low", "high"))
    assert (low < curve["faithfulness"].values[:3]).all()
    assert (high > curve["faithfulness"].values[:3]).all()


@pytest.mark.slow
def test_shares_are_of_sums_over_pairs_and_pairs_run_together_are_those_run_alone(shapes, swaps):
    found = edges(shapes, swaps, places=PLACES, steps=0, batch=4, progress=False)
    circuit = Circuit.top(found, 60)
    together = faithfulness(shapes, circuit, swaps, batch=4, progress=False)
    alone = faithfulness(shapes, circuit, swaps, progress=False)
    xr.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)
    gained = (alone["score"] - alone["corrupted"]).sum("sample").isel(circuit=0)
    span = (alone["clean"] - alone["corrupted"]).sum()
    shares = (gained / span).values
    assert_close(alone["faithfulness"].item(), shares[0])
    assert_close(alone["completeness"].item(), 1 - shares[1])


# Values.

ONE = Circuit([("image", "L0H1.v"), ("L0H1", "M1"), ("M1", "logits")])
OTHER = Circuit([("text", "M0"), ("L0H1", "M1")])


def test_circuits_combine_as_sets_and_keep_the_order_of_a_pass():
    assert (ONE | OTHER).edges == (
        ("image", "L0H1.v"),
        ("text", "M0"),
        ("L0H1", "M1"),
        ("M1", "logits"),
    )
    assert (ONE & OTHER).edges == (("L0H1", "M1"),)
    assert (ONE - OTHER) | (ONE & OTHER) == ONE
    assert len(ONE - ONE) == 0 and ONE - ONE == OTHER - OTHER
    assert Circuit(ONE.edges[::-1]) == ONE and hash(Circuit(ONE.edges[::-1])) == hash(ONE)
    assert ("M1", "logits") in ONE and ("M1", "logits") not in OTHER
    assert Circuit([*ONE.edges, *ONE.edges]) == ONE
    assert repr(ONE) == "Circuit(3 edges)"
    assert (ONE == 3, ONE != OTHER) == (False, True)


def test_the_top_edges_are_those_of_the_largest_mean():
    values = [[[3.0, np.nan], [-1.0, 2.0]], [[1.0, np.nan], [-6.0, np.nan]]]
    found = xr.DataArray(
        values,
        dims=("sample", "writer", "reader"),
        coords={
            "writer": ["image@last", "L0H0@last"], "reader": ["L1H0.q@last", "logits"],
            "reader_place": ("reader", ["last", ""]), "grouped": 2,
        },
    )  # fmt: skip
    mean = found.mean("sample", skipna=True)
    for given in (found, mean, found.transpose("reader", "sample", "writer")):
        assert Circuit.top(given, 1).edges == (("L0H0@last", "L1H0.q@last"),)  # -3.5
        best = Circuit.top(given, 2, by="value")
        assert best.edges == (("image@last", "L1H0.q@last"), ("L0H0@last", "logits"))  # 2 and 2
        assert (best.places, best.grouped) == (("last",), 2)
        assert len(Circuit.every(given)) == 3
    with pytest.raises(InputError, match="the table has 3 edges"):
        Circuit.top(found, 4)
    for wrong in (found.rename(reader="head"), found.expand_dims("layer")):
        with pytest.raises(InputError, match="writer, reader"):
            Circuit.top(wrong, 1)


def test_pruning_by_hand():
    """What is read at a place is written there by queries, and anywhere by keys and values."""
    circuit = Circuit(
        [
            ("image@vision", "L0H0.k@vision"),  # key-value head 0: query heads 0 and 1
            ("image@vision", "L0H1.k@vision"),  # and 1: heads 2 and 3, none of which goes on
            ("L0H1@last", "logits"),
            ("text@last", "L1H0.q@last"),  # its head writes at the other place alone
            ("L1H0@vision", "logits"),
            ("text@last", "M2@last"),
            ("M2@vision", "logits"),
        ],
        ("vision", "last"),
        grouped=2,
    )  # fmt: skip
    kept = (("image@vision", "L0H0.k@vision"), ("L0H1@last", "logits"))
    assert circuit.pruned().edges == kept
    assert circuit.pruned().pruned() == circuit.pruned()


def test_a_circuit_comes_back_from_its_file(tmp_path):
    circuit = Circuit([("image@vision", "L0H1.v@vision"), ("L0H1@last", "logits")], PLACES, 2)
    path = tmp_path / "circuit.json"
    text = circuit.to_json(path)
    assert Circuit.from_json(path) == Circuit.from_json(str(path)) == circuit
    assert Circuit.from_json(text) == circuit
    said = json.loads(path.read_text())
    assert said["edges"][0] == ["image@vision", "L0H1.v@vision"]
    for broken in ("{}", "{", json.dumps(said | {"format": "2"}), json.dumps(said | {"edges": 3})):
        with pytest.raises(DataError, match="no circuit that to_json wrote"):
            Circuit.from_json(broken)
    with pytest.raises(DataError, match="no circuit can be read at"):
        Circuit.from_json(tmp_path / "none.json")


def test_dot_names_every_edge_and_every_way_through_a_head():
    circuit = Circuit([("image@vision", "L0H1.v@vision"), ("L0H3@last", "logits")], PLACES, 2)
    lines = circuit.to_dot().splitlines()
    arrows = [re.fullmatch(r'  "(.*)" -> "(.*?)"(.*);', line) for line in lines[2:-1]]
    assert [arrow.groups() for arrow in arrows] == [
        ("image@vision", "L0KV1@vision", ' [label="v"]'),
        ("L0H3@last", "logits", ""),
        ("L0KV1@vision", "L0H3@last", " [style=dashed]"),
    ]
    assert (lines[0], lines[-1]) == ("digraph circuit {", "}")


# Overlap.


def grid_of(layers=3, heads=4, grouped=1):
    """A table in which every edge of a small model is."""
    writers = ["image", *(f"L{n}H{h}" for n in range(layers) for h in range(heads))]
    keys = heads // grouped
    readers = [
        f"L{n}H{h}.{side}"
        for n in range(layers)
        for side, count in (("q", heads), ("k", keys), ("v", keys))
        for h in range(count)
    ]
    values = np.ones((len(writers), len(readers) + 1))
    for row, writer in enumerate(writers):
        for column, reader in enumerate(readers):
            if writer != "image" and int(writer[1]) >= int(reader[1]):
                values[row, column] = np.nan
    places = ("reader", [""] * (len(readers) + 1))
    coords = {"writer": writers, "reader": [*readers, "logits"]}
    coords |= {"reader_place": places, "grouped": grouped}
    return xr.DataArray(values, dims=("writer", "reader"), coords=coords)


def test_overlap_counts_what_is_shared():
    among = grid_of()
    one = Circuit([("image", "L0H1.v"), ("L0H1", "logits"), ("L0H2", "L1H0.q")])
    other = Circuit([("image", "L0H1.v"), ("L0H1", "logits"), ("L0H3", "L1H0.q")])
    same = overlap({"a": one, "b": other}, among, null="edges")
    assert same["shared"].values.tolist() == [[3, 2], [2, 3]]
    assert same["jaccard"].sel(circuit="a", other="b") == 0.5
    edges_there = int(np.isfinite(among.values).sum())
    assert same["expected"].values == pytest.approx(9 / edges_there)
    # Two of three or more, by hand: hypergeometric with three of all drawn.
    total = edges_there * (edges_there - 1) * (edges_there - 2) / 6
    assert same["p"].sel(circuit="a", other="b") == pytest.approx(
        (3 * (edges_there - 3) + 1) / total
    )


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [1, 2])
def test_heads_that_change_names_share_what_has_no_head(grouped):
    """A lone edge of head 1 is found again in one renaming of four, with its keys."""
    among = grid_of(grouped=grouped)
    head = Circuit([("image", "L0H1.q"), ("image", "logits")], grouped=grouped)
    same = overlap([head, head], among, draws=4000)
    assert same["expected"][0, 1] == pytest.approx(1.25, abs=0.03)
    assert (same["low"][0, 1].item(), same["high"][0, 1].item()) == (1, 2)
    assert same["p"][0, 1] == pytest.approx(0.25, abs=0.03)
    # A head's query and its key move together, whatever they are called.
    both = Circuit([("image", "L0H3.q"), ("image", f"L0H{3 // grouped}.k")], grouped=grouped)
    moved = overlap([both, both], among, draws=4000)
    assert moved["p"][0, 1] == pytest.approx(0.25, abs=0.03)
    again = overlap([both, both], among, draws=4000)
    xr.testing.assert_identical(moved, again)


@pytest.mark.slow
def test_circuits_of_halves_of_the_pairs_share_heads(shapes):
    """docs/circuits.md states these numbers, and how much less the other null has them share."""
    pairs = vl.datasets.counterfactual_pairs(32, kind="swap")
    found = edges(shapes, pairs, batch=8, normalized=False, progress=False)
    halves = [Circuit.top(found[part], 60) for part in (slice(0, 16), slice(16, 32))]
    same, loose = (overlap(halves, found, draws=499, null=null) for null in ("heads", "edges"))
    assert (same["shared"] == loose["shared"])[0, 1] and same["shared"][0, 1] == 46
    assert same["expected"][0, 1] == pytest.approx(41, abs=0.5)
    assert same["p"][0, 1] == pytest.approx(0.03, abs=0.01)
    assert loose["expected"][0, 1] == pytest.approx(60 * 60 / 532)
    assert loose["p"][0, 1] < 1e-30


def test_slips_are_named(model, pair, shapes):
    for given, said in (
        ({"edges": "image"}, "pairs of names"),
        ({"edges": [("image",)]}, "is no edge"),
        ({"edges": [("image", "L0H1")]}, "L0H1 reads nothing"),
        ({"edges": [("L0H1.q", "M0")]}, "L0H1.q writes nothing"),
        ({"edges": [("logits", "M0")]}, "logits writes nothing"),
        ({"edges": [("M0", "image")]}, "image reads nothing"),
        ({"edges": [("M1", "L1H0.q")]}, "M1 writes after L1H0.q reads"),
        ({"edges": [("banana", "M0")]}, "'banana' names no node"),
        ({"edges": [("image@a", "M0@b")], "places": ("a", "b")}, "at two places"),
        ({"edges": [("image@a", "M0@a")]}, "places are none"),
        ({"edges": [], "grouped": 0}, "grouped"),
    ):
        with as_users(), pytest.raises(InputError, match=said):
            Circuit(**given)
    with pytest.raises(InputError, match="different graphs"):
        ONE | Circuit([], ("vision",))
    with as_users(), pytest.raises(TypeError):
        ONE | 3
    for circuits, said in (
        ([], "one is wanted"),
        ("banana", "circuits"),
        ([3], "takes a circuit, such as"),
        (Circuit([("L9H0", "logits")]), "this model has no L9H0"),
        ([ONE, Circuit([], ("last",))], "run them one by one"),
    ):
        with as_users(), pytest.raises(InputError, match=said):
            held(model, circuits, pair)
    at = Circuit([("image@seen", "M0@seen")], ("seen", "rest"))
    with pytest.raises(vl.errors.VLMLensError, match="seen"):
        held(model, at, pair)
    with pytest.raises(InputError, match="the same ones are wanted"):
        held(model, at, pair, places={"vision": "vision"})
    assert held(model, at, pair, places={"seen": "vision"})["faithfulness"].size == 1
    for given, said in (
        ([ONE], "at least two"),
        ([ONE, Circuit([("L7H0", "logits")])], "the table has not"),
    ):
        with pytest.raises(InputError, match=said):
            overlap(given, grid_of(), draws=9)
    with as_users(), pytest.raises(InputError, match="null"):
        overlap([OTHER, OTHER], grid_of(), null="banana")
