"""Paths between heads and MLPs, against torch hooks that freeze everything else."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_close
from conftest import EVERY, KINDS, build, picture

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, UnsupportedModelError
from vlmlens.experiments import path_patch

QUESTION = "What color is the circle?"


def scored(logits):
    return logits[:, 7] - logits[:, 11]


@pytest.fixture(scope="module", params=[*KINDS, "qwen3_vl", "aya_vision"])
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


# A slow reference: plain torch hooks on transformers' own modules, nothing of ours.


class Plain:
    """One model's blocks, run with torch hooks alone."""

    def __init__(self, vlm):
        self.hf = vlm.hf_model
        self.family = vlm.family
        self.blocks = self.hf.get_submodule(vlm.family.lm_layers)
        config = vlm.config.get_text_config()
        self.width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )

    def run(self, inputs, before=(), after=()):
        """Logits of the last position; hooks are (module, function), before it runs or after."""
        with ExitStack() as stack, torch.no_grad():
            for module, hook in before:
                handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            for module, hook in after:
                stack.callback(module.register_forward_hook(hook).remove)
            given = dict(inputs.tensors)
            return self.hf(**given, use_cache=False).logits[:, -1]

    def recorded(self, inputs):
        """What every o_proj reads, and what every attention and MLP gives back."""
        z, attn, mlp = {}, {}, {}

        def entering(store, layer):
            def hook(module, args, kwargs):
                store[layer] = args[0].clone()

            return hook

        def leaving(store, layer):
            def hook(module, args, output):
                store[layer] = (output[0] if isinstance(output, tuple) else output).clone()

            return hook

        blocks = list(enumerate(self.blocks))
        before = [(b.self_attn.o_proj, entering(z, i)) for i, b in blocks]
        after = [(b.self_attn, leaving(attn, i)) for i, b in blocks]
        after += [(b.mlp, leaving(mlp, i)) for i, b in blocks]
        logits = self.run(inputs, before, after)
        return logits, z, attn, mlp

    def stream_at(self, inputs, layer, head, clean_z, attn, mlp, reader, where=slice(None)):
        """What enters the reader's block (or the final norm) with a sender patched, all frozen."""
        got = {}

        def patched(module, args, kwargs):
            z = args[0].clone()
            own = slice(head * self.width, (head + 1) * self.width)
            z[:, where, own] = clean_z[layer][:, where, own]
            return (z, *args[1:]), kwargs

        def frozen(x):
            return lambda module, args, output: (x, *output[1:]) if isinstance(output, tuple) else x

        def stop(module, args, kwargs):
            got["x"] = args[0] if args else kwargs["hidden_states"]

        norm = self.hf.get_submodule(self.family.final_norm)
        target = self.blocks[reader] if reader < len(self.blocks) else norm
        after = [(b.self_attn, frozen(attn[i])) for i, b in enumerate(self.blocks) if i != layer]
        after += [(b.mlp, frozen(mlp[i])) for i, b in enumerate(self.blocks)]
        before = [(self.blocks[layer].self_attn.o_proj, patched), (target, stop)]
        self.run(inputs, before, after)
        return got["x"]

    def reading(self, inputs, reader, side, head, stream, where=slice(None)):
        """Logits where one head's projection reads this stream, and all after it is computed."""
        block = self.blocks[reader]
        module = getattr(block.self_attn, f"{side}_proj")
        own = slice(head * self.width, (head + 1) * self.width)

        def replaced(_, args, output):
            output = output.clone()
            fresh = module.forward(block.input_layernorm.forward(stream))
            output[:, where, own] = fresh[:, where, own]
            return output

        return self.run(inputs, after=[(module, replaced)])

    def ending(self, inputs, stream):
        norm = self.hf.get_submodule(self.family.final_norm)
        return self.run(inputs, [(norm, lambda m, a, k: ((stream, *a[1:]), k))])


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


@pytest.mark.parametrize("name", EVERY)
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
