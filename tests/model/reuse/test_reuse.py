"""What passes share about one picture, and that sharing changes nothing."""

import copy

import pytest
import torch
from closeness import assert_apart
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.interventions import PermuteVision, Scale
from vlmlens.sample import Sample

EDITS = (
    (),
    (PermuteVision(seed=1),),
    (PermuteVision(seed=2),),
    (Scale(point="hook_embed", by=2.0),),
)


@pytest.fixture(scope="module")
def samples():
    return [Sample(q, (picture(i),), id=str(i)) for i, q in enumerate(QUESTIONS)]


def test_passes_with_shared_features_are_those_without_bit_for_bit(every_vlm, samples):
    alone = [every_vlm.run(every_vlm.inputs(samples), edits).logits for edits in EDITS]
    said = every_vlm.generate(every_vlm.inputs(samples), max_new_tokens=3).tokens
    with every_vlm.reuse() as reuse:
        together = [every_vlm.run(every_vlm.inputs(samples), edits).logits for edits in EDITS]
        assert torch.equal(
            every_vlm.generate(every_vlm.inputs(samples), max_new_tokens=3).tokens, said
        )
    edits_tower = 2 if every_vlm.family.deepstack else 0  # permuted tokens enter in two places
    assert (reuse.encoded, reuse.reused, reuse.why_not) == (1, len(EDITS) - edits_tower, "")
    assert len(repr(reuse)) < 80, "printed, it is what it counted and no tensors"
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture
def tower_runs(llava):
    """How often the tower ran, whatever anybody says."""
    runs = []
    tower = llava.hf_model.model.vision_tower  # whose own method: a hook would be somebody's
    usual = tower.forward
    tower.forward = lambda *args, **kwargs: runs.append(1) or usual(*args, **kwargs)
    yield runs
    del tower.forward


def test_the_tower_runs_once_for_several_questions_about_one_image(llava, tower_runs):
    image = picture(3)
    with llava.reuse():
        for question in (*QUESTIONS, "Is it red?"):
            llava.run(llava.inputs(image, question))
    assert len(tower_runs) == 1


def test_another_image_is_seen_anew(llava, tower_runs):
    plain = [llava.run(llava.inputs(picture(n), "Is it red?")).logits for n in (0, 1)]
    tower_runs.clear()
    with llava.reuse():
        shared = [llava.run(llava.inputs(picture(n), "Is it red?")).logits for n in (0, 1)]
    assert len(tower_runs) == 2
    assert all(map(torch.equal, plain, shared))


@pytest.mark.parametrize("name", ["vision.blocks.0.hook_resid_post", "projector.hook_out"])
def test_who_watches_or_edits_the_tower_gets_a_tower_that_runs(llava, samples, tower_runs, name):
    edit = Scale(point=name, by=0.5)
    inputs = llava.inputs(samples)
    alone = llava.run(inputs, [edit], save=name)
    clean = llava.run(inputs).logits
    tower_runs.clear()
    with llava.reuse() as reuse:
        llava.run(inputs)
        shared = llava.run(inputs, [edit], save=name)
        assert name in reuse.why_not
        assert torch.equal(llava.run(inputs).logits, clean)
    assert len(tower_runs) == 2
    assert torch.equal(alone.logits, shared.logits)
    assert torch.equal(alone.saved[name], shared.saved[name])
    assert_apart(clean, shared.logits)


def test_gradients_reach_the_pixels(llava, samples):
    inputs = llava.inputs(samples)
    with llava.reuse() as reuse:
        llava.run(inputs)
        saved = llava.run(inputs, save="projector.hook_in", grad=True)
        llava.run(inputs, grad=True)
        assert reuse.why_not == "the graph is kept"
    assert saved.saved["projector.hook_in"].requires_grad


def test_another_road_through_the_tower_is_another_result(llava, samples, tower_runs):
    inputs = llava.inputs(samples)
    with llava.reuse():
        for road in ("sdpa", "eager", "sdpa", "eager"):
            llava.run(inputs, attention=road)
    assert len(tower_runs) == 2


def test_inputs_of_the_same_samples_are_made_once(llava, samples):
    assert llava.inputs(samples) is not llava.inputs(samples)
    with llava.reuse():
        assert llava.inputs(samples) is llava.inputs(samples)
        assert llava.inputs(samples) is not llava.inputs(samples, system="Be brief.")
        assert llava.inputs(samples, answers=["a", "b"]) is not llava.inputs(samples)
        assert llava.inputs(samples, padding="right") is not llava.inputs(samples)
        answered = llava.inputs(samples, answers=["a", "b"]).tensors["pixel_values"]
        assert answered is llava.inputs(samples).tensors["pixel_values"]
    assert llava.inputs(samples) is not llava.inputs(samples)


def test_nothing_is_kept_once_it_is_over(llava, samples, tower_runs):
    with llava.reuse():
        llava.run(llava.inputs(samples))
    llava.run(llava.inputs(samples))
    assert len(tower_runs) == 2


# What was changed meanwhile is seen.


def whiten(image):
    image.paste("white", (0, 0, *image.size))


def test_a_picture_that_is_painted_over_is_seen_anew(llava):
    image = picture(4)
    samples = [Sample(QUESTIONS[0], (image,))]
    with llava.reuse():
        before = llava.run(llava.inputs(samples)).logits
        whiten(image)
        after = llava.run(llava.inputs(samples)).logits
    assert not torch.equal(before, after)
    assert torch.equal(llava.run(llava.inputs(samples)).logits, after)


@pytest.mark.parametrize(
    "write",
    [torch.Tensor.zero_, lambda x: x.data.zero_(), lambda x: x.numpy().fill(0)],
    ids=["in place", "data", "numpy"],
)
def test_pixels_that_are_written_over_are_seen_anew(llava, samples, write):
    inputs = llava.inputs(samples)
    with llava.reuse():
        before = llava.run(inputs).logits
        write(inputs.tensors["pixel_values"])
        after = llava.run(inputs).logits
    assert not torch.equal(before, after)
    assert torch.equal(llava.run(inputs).logits, after)


def halve(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)


def load(module):
    module.load_state_dict({name: x * 0.5 for name, x in module.state_dict().items()})


def put(module):
    for parameter in module.parameters():
        parameter.data = parameter.data * 0.5


def write_data(module):
    for parameter in module.parameters():
        parameter.data[...] = parameter.data * 0.5


def write_data_in_place(module):
    for parameter in module.parameters():
        parameter.data.mul_(0.5)


def write_memory(module):
    for parameter in module.parameters():
        parameter.detach().numpy()[...] *= 0.5


def write_one(module):
    next(module.parameters()).data[-1] += 1.0


def another_forward(module):
    inner = next(part for part in module.modules() if isinstance(part, torch.nn.Linear))
    inner.forward = lambda x, _was=inner.forward: _was(x) * 0.5


def another_part(module):
    for inner in module.modules():
        for name, _ in inner.named_children():
            if "act" in name:
                setattr(inner, name, torch.nn.Tanh())


WRITES = (halve, load, put, write_data, write_data_in_place, write_memory, write_one)


@pytest.mark.parametrize("part", ["vision_tower", "multi_modal_projector"])
@pytest.mark.parametrize("change", [*WRITES, another_forward, another_part])
def test_weights_that_were_changed_are_used(samples, part, change):
    with vl.HookedVLM(*build("llava")) as model:
        inputs = model.inputs(samples)
        with model.reuse() as reuse:
            before = model.run(inputs).logits
            change(getattr(model.hf_model.model, part))
            after = model.run(inputs).logits
            assert (reuse.encoded, reuse.reused) == (2, 0)
        assert not torch.equal(before, after)
        assert torch.equal(model.run(inputs).logits, after)


def test_settings_that_were_changed_are_used(samples):
    with vl.HookedVLM(*build("llava")) as model:
        inputs = model.inputs(samples)
        with model.reuse() as reuse:
            before = model.run(inputs).logits
            model.config.vision_feature_layer = 1
            after = model.run(inputs).logits
            assert (reuse.encoded, reuse.reused) == (2, 0)
        assert not torch.equal(before, after)
        assert torch.equal(model.run(inputs).logits, after)


def another_template(processor):
    processor.chat_template += "Well: "


def other_pixels(processor):
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]


def another_size(processor):
    processor.image_processor.resample = 0


def another_token(processor):
    processor.tokenizer.add_tokens(["circle"])


@pytest.mark.parametrize("change", [another_template, other_pixels, another_size, another_token])
def test_a_processor_that_was_changed_is_used(samples, change):
    hf_model, processor = build("llava")
    with vl.HookedVLM(hf_model, copy.deepcopy(processor)) as model:
        with model.reuse():
            before = model.inputs(samples)
            change(model.processor)
            after = model.inputs(samples)
        wanted = model.inputs(samples)

    def same(one, other):
        return one.tensors.keys() == other.tensors.keys() and all(
            torch.equal(x, other.tensors[name]) for name, x in one.tensors.items()
        )

    assert same(after, wanted) and not same(before, after)


@pytest.mark.parametrize("part", ["vision_tower", "multi_modal_projector"])
def test_a_torch_hook_of_ones_own_is_called_in_every_pass(llava, samples, part):
    inputs, calls = llava.inputs(samples), []
    module = getattr(llava.hf_model.model, part)
    with llava.reuse() as reuse:
        clean = llava.run(inputs).logits
        handle = module.register_forward_hook(lambda *_: calls.append(1))
        for _ in range(2):
            assert torch.equal(llava.run(inputs).logits, clean)
        assert "torch's own" in reuse.why_not
        handle.remove()
        llava.run(inputs)
        assert reuse.why_not == ""
    assert len(calls) == 2
