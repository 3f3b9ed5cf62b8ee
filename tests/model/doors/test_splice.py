"""Dictionaries in the place of activations: against plain torch hooks, on every family."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from as_users import as_users
from closeness import DEPTH, assert_apart, assert_close
from conftest import QUESTIONS, picture
from torch import nn

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs
from vlmlens.errors import DataError, EmptySelectionError, InputError, UnknownPointError
from vlmlens.experiments import Probing, harvest, sweep
from vlmlens.experiments.keys import Keys
from vlmlens.interventions import Edit, PatchFrom, Scale, ZeroAblate
from vlmlens.probes import answer_score, attribution_patching, hidden_norms

POINT = "blocks.1.hook_resid_post"
ACTS = f"{POINT}.hook_sae_acts_post"
POINTS = ["input", "acts_post", "recons", "error", "output"]


class Random(nn.Module):
    """A random dictionary that says nothing of itself but how it encodes and decodes."""

    def __init__(self, d_in, d_sae=24, d_out=None, seed=0):
        super().__init__()
        drawn = torch.Generator().manual_seed(seed)
        width = d_in if d_out is None else d_out
        self.reads = nn.Parameter(torch.randn(d_in, d_sae, generator=drawn) / d_in**0.5)
        self.writes = nn.Parameter(torch.randn(d_sae, width, generator=drawn) / d_sae**0.5)

    def encode(self, x):
        return (x @ self.reads).relu()

    def decode(self, acts):
        return acts @ self.writes


class Keeps(Random):
    """One that keeps the input's length from encode to decode, as some of SAELens's do."""

    def encode(self, x):
        self.length = x.norm(dim=-1, keepdim=True) + 1
        return super().encode(x / self.length)

    def decode(self, acts):
        length, self.length = self.length, None
        return super().decode(acts) * length


def width(vlm):
    return vlm.config.get_text_config().hidden_size


def hooked(vlm, module, make, inputs):
    """Logits under a plain torch hook that puts what ``make`` makes in a module's output."""

    def after(module, args, output):
        first = output[0] if isinstance(output, tuple) else output
        made = make(first)
        return (made, *output[1:]) if isinstance(output, tuple) else made

    handle = module.register_forward_hook(after)
    try:
        with torch.no_grad():
            return vlm.hf_model(**inputs.tensors, use_cache=False).logits
    finally:
        handle.remove()


def block(vlm, layer=1):
    return vlm.hf_model.get_submodule(vlm.family.lm_layers)[layer]


@pytest.fixture(scope="module")
def some_inputs(every_vlm):
    return every_vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def pair():
    return counterfactual_pairs(1, kind="swap")[0]


@pytest.fixture(scope="module")
def inputs(model, pair):
    return model.inputs([pair.clean], answers=[pair.clean.answer])


@pytest.fixture
def sae(model):
    return Random(width(model))


def test_in_every_family_it_is_what_a_torch_hook_would_do(every_vlm, some_inputs):
    vlm, sae = every_vlm, Random(width(every_vlm))
    plain = vlm.run(some_inputs).logits
    with vlm.splice(POINT, sae):
        run = vlm.run(some_inputs, save=f"{POINT}.*")
        assert torch.equal(run.logits, plain)
        edited = vlm.run(some_inputs, Scale(ACTS, by=2)).logits
    with vlm.splice(POINT, sae, error=False):
        alone = vlm.run(some_inputs).logits
    assert list(run.saved) == [f"{POINT}.hook_sae_{name}" for name in POINTS]

    def doubled(x):
        acts = sae.encode(x.to(sae.reads.dtype))
        return sae.decode(2 * acts) + (x - sae.decode(acts))  # in the order of a splice

    layer = block(vlm)
    # Rounding here moves Gemma 4's logits by 6e-4, which plain torch shows: its later blocks too.
    assert_close(edited, hooked(vlm, layer, doubled, some_inputs), depth=4 * DEPTH)
    assert_close(alone, hooked(vlm, layer, lambda x: sae.decode(sae.encode(x)), some_inputs))
    assert_apart(edited, plain)
    assert torch.equal(vlm.run(some_inputs).logits, plain)
    assert not any(point.watched for point in vlm.hook_dict.values())
    assert ACTS not in vlm.hook_dict


def test_a_transcoder_reads_the_mlps_input_and_writes_its_output(every_vlm, some_inputs):
    vlm, point = every_vlm, "blocks.1.hook_mlp_out"
    if "blocks.1.mlp.hook_in" not in vlm.hook_dict:
        pytest.skip(vlm.absent["blocks.1.mlp.hook_in"])
    transcoder = Random(width(vlm), seed=1)
    saved = vlm.run(some_inputs, save=["blocks.1.mlp.hook_in", point]).saved
    made = transcoder.decode(transcoder.encode(saved["blocks.1.mlp.hook_in"])).detach()
    put = Edit(point, by=lambda x: made)
    with vlm.splice(point, transcoder, reads="mlp.hook_in", error=False):
        run = vlm.run(some_inputs, save=f"{point}.hook_sae_*")
    assert_close(run.logits, vlm.run(some_inputs, put).logits)
    assert torch.equal(run.saved[f"{point}.hook_sae_input"], saved["blocks.1.mlp.hook_in"])
    with vlm.splice(point, transcoder, reads="mlp.hook_in"):
        run = vlm.run(some_inputs, save=f"{point}.hook_sae_error")
    assert_close(run.saved[f"{point}.hook_sae_error"], saved[point] - made, like=made)


@pytest.mark.parametrize("name", POINTS)
def test_every_point_goes_on_into_the_pass(model, inputs, sae, name):
    """Each one zeroed, against what a torch hook makes of the whole."""

    def made(x):
        read = x * 0 if name == "input" else x
        acts = sae.encode(read) * (name != "acts_post")
        recons = sae.decode(acts) * (name != "recons")
        error = (x - sae.decode(sae.encode(x))) * (name != "error")
        return (recons + error) * (name != "output")

    with model.splice(POINT, sae):
        zeroed = model.run(inputs, ZeroAblate(f"{POINT}.hook_sae_{name}")).logits
    assert_close(zeroed, hooked(model, block(model), made, inputs), like=model.run(inputs).logits)


def test_what_is_kept_from_encode_to_decode_is_this_pairs(model, inputs):
    keeps = Keeps(width(model))
    plain = model.run(inputs).logits
    with model.splice(POINT, keeps):
        assert torch.equal(model.run(inputs).logits, plain)
        edited = model.run(inputs, Scale(ACTS, by=2)).logits
    whole = Random(width(model))

    def made(x):
        length = x.norm(dim=-1, keepdim=True) + 1
        return x + whole.decode(whole.encode(x / length)) * length

    assert_close(edited, hooked(model, block(model), made, inputs))


def test_an_edit_leaves_other_positions_bit_for_bit(model, inputs, sae):
    where = vl.Where(positions="last", neurons=(3, 5))
    with model.splice(POINT, sae):
        saved = model.run(inputs, save=f"{POINT}.hook_sae_output").saved
        edited = model.run(inputs, Scale(ACTS, where, by=3), f"{POINT}.hook_sae_output").saved
    ((before,), (after,)) = saved.values(), edited.values()
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert_apart(before[:, -1], after[:, -1])


def test_gradients_of_features_are_finite_differences(pair, sae):
    sae = sae.double()
    with vl.HookedVLM.from_pretrained("shapes-base", dtype="float64") as other:
        clean = other.inputs([pair.clean], answers=[pair.clean.answer])
        corrupted = other.inputs([pair.corrupted], answers=[pair.clean.answer])
        for error in (True, False):
            with other.splice(POINT, sae, error=error):
                effect = attribution_patching(other, clean, corrupted, ACTS, by_channel=True)
                source = other.run(clean, save=ACTS).saved
                step = 3e-3  # transformers' norms are in single precision

                def toward(share, x, source=source):
                    return x + share * (source[ACTS] - x)

                scores = [
                    float(
                        answer_score(
                            other.run(corrupted, Edit(ACTS, by=lambda x, s=s: toward(s, x)))
                        )
                    )
                    for s in (-step, step)
                ]
                slope = (scores[1] - scores[0]) / (2 * step)
            assert effect.dims == ("sample", "layer", "pos", "d_sae")
            assert float(effect.sum()) == pytest.approx(slope, rel=2e-3)


def test_gradients_pass_through_to_what_comes_before(model, pair, sae):
    """With the error term the whole is the identity, and so is its derivative."""
    clean = model.inputs([pair.clean], answers=[pair.clean.answer])
    corrupted = model.inputs([pair.corrupted], answers=[pair.clean.answer])
    plain = attribution_patching(model, clean, corrupted, "hook_embed")
    with model.splice(POINT, sae):
        through = attribution_patching(model, clean, corrupted, "hook_embed")
    assert_close(through, plain)


def test_features_are_swept_and_patched_as_whole_passes_say(model, pair, sae):
    with model.splice(POINT, sae):
        map_ = sweep(model, pair.clean, pair.corrupted, ACTS, over="feature", normalized=False)
        clean = model.inputs([pair.clean])
        corrupted = model.inputs([pair.corrupted])
        saved = model.run(clean, save=ACTS).saved
        patch = PatchFrom(ACTS, vl.Where(neurons=7), source=saved)
        edited, base, top = (
            model.run(inputs, edits, logits="last").logits[0, -1]
            for inputs, edits in ((corrupted, [patch]), (corrupted, []), (clean, []))
        )
        assert_close(
            model.run(corrupted, PatchFrom(ACTS, source=saved), save=ACTS).saved[ACTS], saved[ACTS]
        )
    assert map_.dims == ("sample", "layer", "feature")
    assert map_.sizes["feature"] == 24
    right, wrong = int(top.argmax()), int(base.argmax())
    moved = (edited - base)[right] - (edited - base)[wrong]
    assert float(map_[0, 0, 7]) == pytest.approx(float(moved), abs=1e-3)


def test_a_position_is_resumed_as_its_whole_pass(model, pair, sae):
    one = model.inputs([pair.clean])
    cells = [[Scale(ACTS, vl.Where(positions=at), by=2)] for at in (30, 50, 70)]
    for where in (vl.Where(), vl.Where(positions="vision")):
        with model.splice(POINT, sae, error=False, where=where):
            found = model.resume(model.prefill(one), cells[:2])
            for cell, logits in zip(cells[:2], found.logits, strict=True):
                assert_close(logits, model.run(one, cell, logits="last").logits[0])
            assert not found.whole


def test_where_leaves_other_positions_as_they_are(model, inputs, sae):
    vision = torch.from_numpy(inputs.layouts[0].mask("vision"))[None, :, None]
    where = vl.Where(positions="vision")
    with model.splice(POINT, sae, error=False, where=where):
        some = model.run(inputs).logits
        by_hook = model.run_with_hooks(inputs, fwd_hooks=[(ACTS, lambda x, hook: None)])
        with pytest.raises(InputError, match="edited where nothing is spliced in"):
            model.run(inputs, Scale(ACTS, vl.Where(positions="last"), by=2))
        with pytest.raises(InputError, match="nobody said what the positions"):
            model.hf_model(**inputs.tensors)
    expected = hooked(
        model, block(model), lambda x: torch.where(vision, sae.decode(sae.encode(x)), x), inputs
    )
    assert_close(some, expected)
    assert_close(by_hook.detach(), expected)


def test_where_holds_while_tokens_are_generated(model, pair, sae):
    prompt = model.inputs([pair.clean])
    plain = model.generate(prompt, max_new_tokens=2, stop=False)
    with model.splice(POINT, sae, error=False, where=vl.Where(steps="decode")):
        later = model.generate(prompt, max_new_tokens=2, stop=False)
    assert torch.equal(later.steps[0].logits, plain.steps[0].logits)
    assert_apart(later.steps[1].logits, plain.steps[1].logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_dictionary_keeps_its_dtype(pair, dtype):
    with vl.HookedVLM.from_pretrained("shapes-base", dtype=dtype) as model:
        inputs, sae = model.inputs([pair.clean]), Random(width(model))
        plain = model.run(inputs).logits
        with model.splice(POINT, sae):
            run = model.run(inputs, save=f"{POINT}.*")
        with model.splice(POINT, sae, error=False):
            alone = model.run(inputs).logits
        assert torch.equal(run.logits, plain)
        assert run.saved[ACTS].dtype == torch.float32
        assert run.saved[f"{POINT}.hook_sae_recons"].dtype == dtype
        expected = hooked(
            model, block(model), lambda x: sae.decode(sae.encode(x.float())).to(dtype), inputs
        )
        assert_close(alone, expected, dtype=dtype)


def test_in_the_tower_and_in_an_mlp(model, inputs):
    for point, size in (("vision.blocks.1.hook_resid_post", 128), ("blocks.0.mlp.hook_post", 352)):
        plain = model.run(inputs).logits
        with model.splice(point, Random(size), error=False):
            run = model.run(inputs, save=f"{point}.hook_sae_acts")
            assert run.saved[f"{point}.hook_sae_acts"].shape[-1] == 24
            assert run.saved.axes[f"{point}.hook_sae_acts_post"][-1] == "d_sae"
            assert_apart(run.logits, plain)
        with model.splice(point, Random(size + 1)), pytest.raises(InputError, match=f"{size}"):
            model.run(inputs)


def test_in_other_threads_it_does_not_act(model, inputs, sae):
    plain = model.run(inputs).logits
    with model.splice(POINT, sae, error=False), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(lambda: model.run(inputs).logits).result(60), plain)
        assert_apart(model.run(inputs).logits, plain)
        samples = [counterfactual_pairs(1, kind="swap")[0].clean]
        experiment = vl.Experiment(model, samples, Probing(probes=(hidden_norms,)))
        with pytest.raises(InputError, match="in another thread"):
            experiment.run(executor=pool)


def test_nothing_is_left_after_an_exception(model, inputs, sae):
    plain, names = model.run(inputs).logits, list(model.hook_dict)
    with pytest.raises(RuntimeError, match="of my own"), model.splice(POINT, sae, error=False):
        raise RuntimeError("of my own")

    def fails(x, hook):
        raise RuntimeError("in a pass")

    with pytest.raises(RuntimeError, match="in a pass"), model.splice(POINT, sae):
        model.run_with_hooks(inputs, fwd_hooks=[(ACTS, fails)])
    assert list(model.hook_dict) == names
    assert not model.splices
    assert not any(point.watched for point in model.hook_dict.values())
    assert torch.equal(model.run(inputs).logits, plain)


def test_two_dictionaries_at_two_points(model, inputs):
    one, other = Random(128, seed=1), Random(128, seed=2)
    below = "blocks.0.hook_resid_post"
    with model.splice(below, one, error=False), model.splice(POINT, other, error=False):
        both = model.run(inputs, save=["*.hook_sae_acts_post"])
    layers = model.hf_model.get_submodule(model.family.lm_layers)
    handle = layers[0].register_forward_hook(lambda m, a, o: one.decode(one.encode(o)))
    expected = hooked(model, layers[1], lambda x: other.decode(other.encode(x)), inputs)
    handle.remove()
    assert_close(both.logits, expected)
    assert len(both.saved) == 2


def test_what_is_spliced_in_is_part_of_a_results_key(model, sae, tmp_path):
    def key(**how):
        with model.splice(POINT, how.pop("sae", sae), **how):
            return Keys(model, "measure").base

    other = Random(128, seed=5)
    keys = [
        Keys(model, "measure").base,
        key(),
        key(error=False),
        key(sae=other),
        key(sae=Keeps(128)),
        key(where=vl.Where(positions="vision")),
    ]
    assert len(set(keys)) == len(keys)
    assert key(sae=Random(128)) == keys[1]  # equal weights and code
    sae.register_forward_hook(lambda *_: None)
    with pytest.raises(DataError, match="a hook is on at"):
        key()
    with model.splice(POINT, other):
        found = harvest(
            model, [counterfactual_pairs(1, kind="swap")[0].clean], ACTS, folder=tmp_path
        )
    assert found.points == [ACTS]


def test_features_of_one_dictionary_are_not_another_ones(model, pair, inputs):
    one, other = Random(128, seed=1), Random(128, seed=2)
    with model.splice(POINT, one):
        saved, prefill = model.run(inputs, save=ACTS).saved, model.prefill(model.inputs(pair.clean))
    with model.splice(POINT, other):
        with pytest.raises(InputError, match="features of another dictionary"):
            model.run(inputs, PatchFrom(ACTS, source=saved))
        with pytest.raises(InputError, match="spliced in"):
            model.resume(prefill, [[Scale(ACTS, by=2)]])
    with pytest.raises(InputError, match="spliced in"):
        model.resume(prefill, [[Scale("hook_embed", by=2)]])


def test_a_copy_of_a_spliced_model_is_refused(model, sae):
    import copy

    with model.splice(POINT, sae), pytest.raises(InputError, match="a copy would not have"):
        copy.deepcopy(model)


def test_names_that_are_not_there(model, sae):
    with pytest.raises(UnknownPointError, match="hook_sae_acts"), model.splice(POINT, sae):
        model.run(model.inputs(picture(0), "a"), save=f"{POINT}.hook_sae_act")
    with (
        model.splice(POINT, sae, error=False),
        pytest.raises(UnknownPointError, match="error=True"),
    ):
        model.matching(f"{POINT}.hook_sae_error")


MISUSE = [
    ((POINT, lambda x: x), {}, "no dictionary"),
    ((POINT, Random(64)), {}, "64"),
    (("blocks.1.attn.hook_k", Random(32)), {}, "one row of channels"),
    (("blocks.1.attn.hook_pattern", Random(32)), {}, "one row of channels"),
    (("blocks.1.hook_q_input", Random(128)), {}, "one row of channels"),
    (("hook_logits", Random(418)), {}, "one row of channels"),
    (("blocks.*.hook_resid_post", Random(128)), {}, "means 4 points"),
    ((POINT, Random(128, d_out=64)), {}, "writes rows of 64 numbers.*128"),
    (
        ("blocks.1.hook_mlp_out", Random(128)),
        {"reads": "hook_resid_post"},
        "reads before it writes",
    ),
    ((POINT, Random(128)), {"error": 1}, "True or False"),
    ((3, Random(128)), {}, "a text is wanted"),
]


@pytest.mark.parametrize(("given", "how", "message"), MISUSE)
def test_what_cannot_be_spliced_in_is_refused(model, given, how, message):
    with as_users(), pytest.raises(InputError, match=message), model.splice(*given, **how):
        pass
    assert not model.splices


def test_a_width_that_is_said_is_refused_with_both_numbers(model):
    sae = Random(64)
    sae.d_in = 64
    with pytest.raises(InputError, match=r"64 numbers.*128"), model.splice(POINT, sae):
        pass


def test_one_at_a_point(model, sae):
    again = model.splice(POINT, sae)
    with again, pytest.raises(InputError, match="already"), model.splice(POINT, Random(128)):
        pass


def test_roles_mean_nothing_in_the_tower(model, inputs):
    where = vl.Where(positions="vision")
    tower = model.splice("vision.blocks.0.hook_resid_post", Random(128), where=where)
    with tower, pytest.raises(EmptySelectionError):
        model.run(inputs)
