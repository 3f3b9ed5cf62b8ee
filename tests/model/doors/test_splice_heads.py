"""Dictionaries of all heads together, at hook_z: against plain torch hooks."""

import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import KINDS, QUESTIONS, build, picture
from test_splice import Random

import vlmlens as vl
from vlmlens.experiments import sweep
from vlmlens.interop import sae
from vlmlens.interventions import Scale, ZeroAblate

POINT = "blocks.1.attn.hook_z"
ACTS = f"{POINT}.hook_sae_acts_post"
VISION = vl.Where(positions="vision")


class Reshaping(Random):
    """One that flattens heads itself, and gives them back, as SAELens's objects do."""

    hook_z_reshaping_mode = True
    d_head = None

    def encode(self, x):
        self.d_head = self.d_head or x.shape[-1]  # of the first that it sees, for good
        return super().encode(x.flatten(-2))

    def decode(self, acts):
        return super().decode(acts).unflatten(-1, (-1, self.d_head))


@pytest.fixture(scope="module", params=KINDS)
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def some_inputs(vlm):
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def width(vlm):
    return vlm.hf_model.get_submodule(vlm.family.lm_layers)[1].self_attn.o_proj.in_features


def hooked(vlm, inputs, make):
    """Logits where the projection of block 1's heads reads what is made of it."""
    project = vlm.hf_model.get_submodule(vlm.family.lm_layers)[1].self_attn.o_proj
    handle = project.register_forward_pre_hook(lambda module, args: (make(args[0]), *args[1:]))
    try:
        with torch.no_grad():
            return vlm.hf_model(**inputs.tensors, use_cache=False).logits
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", [Random, Reshaping])
def test_heads_side_by_side_are_what_a_torch_hook_would_do(vlm, some_inputs, kind):
    plain, own = Random(width(vlm)), kind(width(vlm))
    before = vlm.run(some_inputs, save=POINT)
    with vlm.splice(POINT, own):
        run = vlm.run(some_inputs, save=f"{POINT}.*")
        edited = vlm.run(some_inputs, Scale(ACTS, by=2)).logits
    assert torch.equal(run.logits, before.logits)
    assert torch.equal(run.saved[f"{POINT}.hook_sae_input"], before.saved[POINT].flatten(-2))
    assert run.saved.axes[f"{POINT}.hook_sae_output"] == ("batch", "pos", "d_heads")
    seen = torch.stack([torch.from_numpy(each.mask("vision")) for each in some_inputs.layouts])
    with vlm.splice(POINT, own, error=False, where=VISION):
        there = vlm.run(some_inputs).logits

    def doubled(x):
        acts = plain.encode(x)
        return x + plain.decode(2 * acts) - plain.decode(acts)

    def replaced(x):
        return torch.where(seen[..., None], plain.decode(plain.encode(x)), x)

    assert_close(edited, hooked(vlm, some_inputs, doubled))
    assert_close(there, hooked(vlm, some_inputs, replaced))
    assert_apart(edited, there)
    assert_apart(edited, before.logits)


def test_heads_of_a_tower_and_one_head_alone(vlm, some_inputs):
    point = "vision.blocks.0.attn.hook_z"
    before = vlm.run(some_inputs, save=[point, POINT])
    size = before.saved[point].flatten(-2).shape[-1]
    with vlm.splice(point, Random(size)):
        run = vlm.run(some_inputs, save=f"{point}.hook_sae_recons")
    assert torch.equal(run.logits, before.logits)
    assert run.saved[f"{point}.hook_sae_recons"].shape[-1] == size
    # A transcoder from heads to what attention writes.
    out = vlm.config.get_text_config().hidden_size
    with vlm.splice("blocks.1.hook_attn_out", Random(width(vlm), d_out=out), reads="attn.hook_z"):
        assert torch.equal(vlm.run(some_inputs).logits, before.logits)
    # Queries before RoPE are rows as well.
    with vlm.splice("blocks.1.attn.hook_q", Random(width(vlm)), error=False):
        assert_apart(vlm.run(some_inputs).logits, before.logits)
    # Of one head, the others stay.
    with vlm.splice(POINT, Random(width(vlm)), error=False, where=vl.Where(heads=1)):
        own = vlm.run(some_inputs, save=f"{POINT}.hook_sae_output").saved
    z = before.saved[POINT]
    made = own[f"{POINT}.hook_sae_output"].unflatten(-1, z.shape[-2:])
    assert torch.equal(made[:, :, 0], z[:, :, 0])
    assert_apart(made[:, :, 1], z[:, :, 1])


def test_features_of_heads_are_swept(vlm):
    sample = vl.Sample(QUESTIONS[0], (picture(0),), answer="red")
    with vlm.splice(POINT, Random(width(vlm))):
        found = sweep(
            vlm, [sample], edit=ZeroAblate(), point=ACTS, over="feature",
            where=vl.Where(positions="last", neurons=(0, 5)), score="log_prob", progress=False,
        )  # fmt: skip
        edit = ZeroAblate(ACTS, vl.Where(positions="last", neurons=5))
        logits = vlm.run(vlm.inputs([sample]), edit, logits="last").logits
    plain = vlm.run(vlm.inputs([sample]), logits="last").logits
    prompt = len(vlm.inputs([sample]).layouts[0])
    token = int(vlm.inputs([sample], answers=["red"]).tensors["input_ids"][0, prompt])
    moved = (logits.log_softmax(-1) - plain.log_softmax(-1))[0, 0, token]
    assert_close(found.values.ravel()[1], moved.item(), like=plain)


def test_files_of_attention_dictionaries_are_read_and_written(tmp_path):
    own = sae.load("shapes-base")
    settings = type(own.settings)(**{**vars(own.settings), "point": POINT, "reads": POINT})
    kept = sae.SAE(settings, {name: x.detach() for name, x in own.state_dict().items()})
    folder = sae.save(kept, tmp_path / "z")
    assert '"reshape_activations": "hook_z"' in (folder / "cfg.json").read_text()
    again = sae.load(folder)
    assert again.point == POINT and torch.equal(again.W_enc, own.W_enc)
