"""Paths between heads and MLPs, against torch hooks that freeze everything else."""

import numpy as np
import pytest
import xarray as xr
from as_users import as_users
from closeness import assert_close
from conftest import EVERY, SUMMING, UNLIKE, build, by_turns, picture
from plain import Plain

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, UnsupportedModelError
from vlmlens.experiments import path_patch
from vlmlens.experiments.circuits.nodes import readers, writers

QUESTION = "What color is the circle?"


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
def pair():
    return [vl.Sample(QUESTION, images=(picture(seed),)) for seed in (0, 1)]


def found(vlm, pair, senders, receivers, **options):
    options = {"score": scored, "normalized": False, "progress": False} | options
    return path_patch(vlm, *pair, senders, receivers, **options).isel(sample=0)


@pytest.mark.parametrize("side", ["q", "k", "v"])
def test_a_path_is_that_of_a_slow_reference(vlm, pair, side):
    clean, corrupted = (vlm.inputs([sample]) for sample in pair)
    plain = Plain(vlm)
    _, clean_z, _, _ = plain.recorded(clean)
    base, _, attn, mlp = plain.recorded(corrupted)
    reader = vlm.layers - 1
    effect = found(vlm, pair, "L0H1", f"L{reader}H0.{side}").item()
    stream = plain.stream_at(corrupted, 0, 1, clean_z, attn, mlp, reader)
    patched = plain.reading(corrupted, reader, side, 0, stream)
    assert_close(effect, (scored(patched) - scored(base)).item(), like=base)
    ended = plain.ending(
        corrupted, plain.stream_at(corrupted, 0, 1, clean_z, attn, mlp, vlm.layers)
    )
    direct = found(vlm, pair, "L0H1", "logits").item()
    assert_close(direct, (scored(ended) - scored(base)).item(), like=base)


def test_a_path_of_some_positions_is_that_of_a_slow_reference(vlm, pair):
    clean, corrupted = (vlm.inputs([sample]) for sample in pair)
    plain = Plain(vlm)
    _, clean_z, _, _ = plain.recorded(clean)
    base, _, attn, mlp = plain.recorded(corrupted)
    layout = corrupted.layouts[0]
    sent, received = layout.positions("vision")[1:], layout.positions("vision")[:3]
    reader = vlm.layers - 1
    effect = found(
        vlm, pair, "L0H0", f"L{reader}H0.v",
        sent=vl.Where(positions=[int(at) for at in sent]),
        received=vl.Where(positions=[int(at) for at in received]),
    ).item()  # fmt: skip
    stream = plain.stream_at(corrupted, 0, 0, clean_z, attn, mlp, reader, where=list(sent))
    patched = plain.reading(corrupted, reader, "v", 0, stream, where=list(received))
    assert_close(effect, (scored(patched) - scored(base)).item(), like=base)


@pytest.mark.parametrize("name", by_turns(EVERY))
def test_all_writers_together_restore_the_clean_answer(name, pair):
    """The stream is the sum of what is written: the logits then read the clean run's."""
    with vl.HookedVLM(*build(name), name=name) as vlm:
        if "stream" in vlm.family.unlike:
            with pytest.raises(UnsupportedModelError, match="no sum of what nodes write"):
                found(vlm, pair, "*", "logits")
        elif all(f"blocks.{layer}.hook_attn_out" in vlm.hook_dict for layer in range(vlm.layers)):
            restore_all(vlm, pair)
        else:
            assert name == "lfm2_vl"  # what its convolutions write is no point


def restore_all(vlm, pair):
    everybody = ("embed", *(f"{kind}{layer}" for layer in range(vlm.layers) for kind in "AM"))
    clean, corrupted = (vlm.run(vlm.inputs([sample])).logits[:, -1] for sample in pair)
    whole = found(vlm, pair, [everybody], "logits").item()
    assert_close(whole, (scored(clean) - scored(corrupted)).item(), like=clean)


def test_all_writers_together_tell_an_mlp_what_it_reads_in_the_clean_run(vlm, pair):
    """In blocks whose MLP reads beside attention, and after what a deep tower adds, as well."""
    plain, reader = Plain(vlm), vlm.layers - 1
    inputs = [vlm.inputs([sample]) for sample in pair]
    read = [plain.entering(each, plain.mlp_norm(reader)) for each in inputs]
    before, _ = plain.telling(reader, "mlp", 0, read[0] - read[1], 1.0)
    base = plain.run(inputs[1])
    expected = scored(plain.run(inputs[1], before)) - scored(base)
    names = [f"{kind}{layer}" for layer in range(vlm.layers) for kind in ("deepstack", "A", "M")]
    feeding = (node.name for node in writers(vlm) if node.step < mlp_of(vlm, reader).step)
    everybody = ("embed", *sorted({*names} & {*feeding}))
    assert_close(found(vlm, pair, [everybody], f"M{reader}").item(), expected.item(), like=base)


def mlp_of(vlm, layer):
    return next(node for node in readers(vlm) if node.name == f"M{layer}")


def test_the_first_block_reads_the_embeddings_alone(vlm, pair):
    """From "embed" to everything that block 0 reads, and to the rest: the whole corruption."""
    effect = found(vlm, pair, "embed", "*")
    assert set(effect.dims) == {"sender", "receiver"}
    assert np.isfinite(effect.values).all()
    same = found(vlm, [pair[0], pair[0]], "*", "*")
    assert_close(np.nan_to_num(same.values), 0.0, like=vlm.run(vlm.inputs(pair[:1])).logits)


def test_heads_of_a_block_add_up_to_it_where_nothing_norms_their_sum(vlm, pair):
    heads = vlm.hook_dict["blocks.1.attn.hook_z"].size("head")
    together = tuple(f"L1H{head}" for head in range(heads))
    effect = found(vlm, pair, [together, "A1"], "logits").values
    assert_close(effect[0], effect[1], like=vlm.run(vlm.inputs(pair[:1])).logits)


def test_a_node_that_is_named_twice_writes_once(model, pair):
    once, twice = (found(model, pair, names, "logits").item() for names in ("M0", [("M0", "M*0")]))
    assert_close(once, twice, like=model.run(model.inputs(pair[:1])).logits)


def test_what_comes_later_has_no_path(model, pair):
    effect = found(model, pair, ["M1", "L1H0", "embed"], ["L1H0.q", "M1", "M0"])
    there = np.isfinite(effect.values)
    # Attention of a block is before its MLP, and neither feeds itself.
    expected = [[False, False, False], [False, True, False], [True, True, True]]
    assert there.tolist() == expected
    with pytest.raises(InputError, match="there is no path"):
        found(model, pair, "M1", "M0")


def test_samples_are_normalized_one_by_one_and_joined():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        pairs = vl.datasets.counterfactual_pairs(2, kind="swap")
        clean, corrupted = [p.clean for p in pairs], [p.corrupted for p in pairs]
        options = {"senders": ["embed", "M1"], "receivers": ["M1", "logits"], "progress": False}
        table = path_patch(model, clean, corrupted, **options)
        assert table.dims == ("sample", "sender", "receiver")
        alone = [path_patch(model, *each, **options) for each in zip(clean, corrupted, strict=True)]
        for row, own in enumerate(alone):
            xr.testing.assert_allclose(
                table.isel(sample=row, drop=True), own.isel(sample=0, drop=True)
            )
        raw = path_patch(model, clean, corrupted, normalized=False, **options)
        span = table["clean"] - table["corrupted"]
        assert_close(raw.values, (table * span).transpose(*raw.dims).values)


def test_slips_are_named(model, pair):
    for given, said in (
        ({"senders": "L9H9"}, "means no node of this model: there are embed"),
        ({"senders": "L0H0.q"}, "a reader is a head's"),
        ({"receivers": "L1H0"}, "a reader is a head's"),
        ({"senders": []}, "is empty"),
        ({"senders": [("A1", "L1H0")]}, "L1H0 is part of its block's attention, A1"),
        ({"senders": [("embed", "text")]}, "text is part of embed"),
        ({"senders": [3]}, "senders"),
        ({"sent": vl.Where(heads=1)}, r"Where\(positions=...\) and no more"),
        ({"received": vl.Where(layers=1)}, r"Where\(positions=...\) and no more"),
        ({"score": "banana"}, "banana"),
    ):
        with as_users(), pytest.raises(InputError, match=said):
            path_patch(model, *pair, **({"score": scored, "progress": False} | given))
    with pytest.raises(InputError, match="2 clean samples and 1 corrupted"):
        path_patch(model, pair, pair[0], score=scored, progress=False)
    with pytest.raises(EmptySelectionError):
        path_patch(model, *pair, score=scored, progress=False, sent=vl.Where(positions="assistant"))
    other = vl.Sample(QUESTION + " Say it.", images=pair[1].images)
    with pytest.raises(InputError, match=r"align|length"):
        path_patch(model, pair[0], other, score=scored, progress=False)
    with pytest.raises(InputError, match="score alike"):
        path_patch(model, pair[0], pair[0], score=scored, progress=False)


@pytest.mark.slow
def test_the_edits_of_a_path_are_the_path():
    pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        ends, place = (("L0H1", "M0"), "L2H3.v"), vl.Where(positions="vision")
        edits = vl.experiments.path_edits(model, pair.clean, pair.corrupted, *ends, sent=place)
        table = path_patch(
            model, pair.clean, pair.corrupted, [ends[0]], [ends[1]], sent=place,
            score=lambda logits: logits[:, 7], normalized=False, progress=False,
        )  # fmt: skip
        inputs = model.inputs([pair.corrupted])
        runs = [model.run(inputs, each, logits="last").logits[0, -1, 7] for each in (edits, ())]
        assert float(runs[0] - runs[1]) == pytest.approx(table.item(), abs=1e-4)
        assert abs(table.item()) > 1e-3
        with pytest.raises(InputError, match="means 4 nodes"):
            vl.experiments.path_edits(model, pair.clean, pair.corrupted, "L0H*", "logits")
