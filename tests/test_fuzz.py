"""Whatever is passed at a public door: it works, or ends in one of our errors, never in another.

Annotations are not checked here, as they are not for users.
"""

import dataclasses

import pytest
import torch
from as_users import as_users
from conftest import build, picture
from hypothesis import given
from hypothesis import strategies as st
from whatever import anything, bounded, keywords, some_of, tried

import vlmlens as vl
from vlmlens import positions
from vlmlens.interventions import INTERVENTIONS, Edit, ZeroAblate


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0)], ["Is it red?"])


@pytest.fixture(scope="module")
def kept(vlm, inputs):
    return vlm.prefill(inputs)


WHERE = [item.name for item in dataclasses.fields(vl.Where)]


@bounded(40)
@given(some_of([*WHERE, "layer"]))
def test_where(vlm, inputs, fields):
    where = tried(lambda: vl.Where(**fields))
    if where is None:
        return
    assert hash(where) == hash(vl.Where(**fields)) and repr(where)
    for point in ("hook_embed", "blocks.*.attn.hook_z", "blocks.*.attn.hook_attn_scores"):
        tried(lambda point=point: vlm.run(inputs, ZeroAblate(point, where), logits="last"))


SELECTIONS = ("At", "Box", "Cell", "Column", "Region", "Role", "Row", "Text", "AnyOf", "AllOf")


@bounded(60)
@given(st.sampled_from((*SELECTIONS, "Not")), st.lists(anything, max_size=4))
def test_selections(inputs, name, values):
    kind = getattr(positions, name)
    names = [item.name for item in dataclasses.fields(kind)]
    required = [i.name for i in dataclasses.fields(kind) if i.default is dataclasses.MISSING]
    given_values = dict(zip(names, values, strict=False))
    if not set(required) <= set(given_values):
        return
    made = tried(lambda: kind(**given_values))
    if made is not None:
        repr(made), hash(made)
        tried(lambda: made.of(inputs.layouts[0]))
        for other in values:
            tried(lambda other=other: made | other)
            tried(lambda other=other: ~made & other)


@bounded(60)
@given(st.data())
def test_interventions(vlm, inputs, data):
    kind = data.draw(st.sampled_from(list(INTERVENTIONS.values())))
    names = [item.name for item in dataclasses.fields(kind)]
    fields = data.draw(some_of([*names, "layers"]))
    edit = tried(lambda: kind(**fields))
    if edit is not None:
        assert str(edit)
        tried(lambda: vlm.run(inputs, edit, logits="last"))


@bounded(40)
@given(anything, anything)
def test_saves(vlm, inputs, points, how):
    for options in ({"rows": how}, {"reduce": how}):
        save = tried(lambda options=options: vl.Save(points, **options))
        if save is not None:
            tried(lambda save=save: vlm.run(inputs, save=save))
        save = tried(lambda options=options: vl.Save("blocks.0.hook_resid_post", **options))
        if save is not None:
            tried(lambda save=save: vlm.run(inputs, save=save))


@bounded(25)
@given(anything, anything, some_of(["logits", "attention", "grad", "banana"]))
def test_run(vlm, inputs, interventions, save, options):
    tried(lambda: vlm.run(inputs, interventions, **options))
    tried(lambda: vlm.run(inputs, save=save, **options))
    tried(lambda: vlm.run(save))


@pytest.mark.slow
@bounded(25)
@given(anything, anything)
def test_transformer_lens_doors(vlm, inputs, names, option):
    tried(lambda: vlm(names))
    tried(lambda: vlm.run_with_cache(inputs, names))
    for keyword in keywords(vlm.run_with_cache):
        tried(lambda keyword=keyword: vlm.run_with_cache(inputs, "hook_embed", **{keyword: option}))
    tried(lambda: vlm.run_with_hooks(inputs, fwd_hooks=names))
    tried(lambda: vlm.run_with_hooks(inputs, fwd_hooks=[(names, lambda x, hook: x)]))
    tried(lambda: vlm.run_with_hooks(inputs, fwd_hooks=[("hook_embed", option)]))
    for keyword in keywords(vlm.run_with_hooks):
        tried(lambda keyword=keyword: vlm.run_with_hooks(inputs, **{keyword: option}))
    try:
        tried(lambda: vlm.add_hook(names, option))
        tried(lambda: vlm.add_hook("hook_embed", option))
        tried(lambda: vlm(inputs))
    finally:
        vlm.reset_hooks()
    assert not any(point.watched for point in vlm.hook_dict.values())


@bounded(25)
@given(anything, anything)
def test_layouts(inputs, image, tile):
    (layout,) = inputs.layouts
    for name in ("vision", "grid"):
        tried(lambda name=name: getattr(layout, name)(image, tile))
    for name in ("mask", "positions", "seen", "tiles"):
        tried(lambda name=name: getattr(layout, name)(image))


@bounded(25)
@given(anything, anything, anything)
def test_caches(vlm, inputs, key, other, third):
    saved = vlm.run(inputs, save=["hook_embed", "blocks.*.hook_resid_post"]).saved
    tried(lambda: saved[key])
    tried(lambda: saved[key, other])
    tried(lambda: saved[key, other, third])
    tried(lambda: saved["hook_embed"])
    tried(lambda: saved.stack(key))
    tried(lambda: saved.stack_activation("resid_post", key, other))
    tried(lambda: saved.stack_activation(key))
    tried(lambda: saved.to(key))
    tried(lambda: saved.apply_slice_to_batch_dim(key))
    tried(lambda: saved.accumulated_resid(layer=key, pos_slice=other))
    tried(lambda: saved.get_neuron_results(key))


@bounded(25)
@given(anything)
def test_texts_tokens_and_parts(vlm, given):
    for door in (vlm.to_tokens, vlm.to_string, vlm.to_str_tokens, vlm.to_single_token):
        tried(lambda door=door: door(given))
    tried(lambda: vlm.to_single_str_token(given))
    tried(lambda: vlm.get_token_position(given, given))
    tried(lambda: vlm.to_tokens("red", prepend_bos=given))
    tried(lambda: vlm.to_tokens("red", padding_side=given))
    tried(lambda: vlm.blocks[given])
    tried(lambda: vlm.tokens_to_residual_directions(given))


GENERATE = ("interventions", "save", "max_new_tokens", "temperature", "seed", "stop", "answered")


@bounded(30)
@given(some_of([*GENERATE, "min_new_tokens", "attention", "banana"]))
def test_generate(vlm, inputs, options):
    if isinstance(options.get("max_new_tokens"), int) and options["max_new_tokens"] > 3:
        return  # as many as that take their time
    tried(lambda: vlm.generate(inputs, **{"max_new_tokens": 1, **options}))
    tried(lambda: vlm.generate(options.get("answered"), max_new_tokens=1))


@bounded(25)
@given(anything, anything)
def test_resume(vlm, inputs, kept, cells, wanted):
    tried(lambda: vlm.resume(kept, cells))
    tried(lambda: vlm.resume(kept, [[]], wanted))
    tried(lambda: vlm.resume(kept, [[]], unseen=wanted))
    tried(lambda: vlm.resume(wanted, [[]]))
    tried(lambda: vlm.prefill(inputs, save=wanted))
    tried(lambda: vlm.prefill(inputs, after=wanted))
    tried(lambda: vlm.prefill(cells))


@bounded(40)
@given(anything, anything)
def test_inputs(vlm, samples, prompts):
    tried(lambda: vlm.inputs(samples))
    tried(lambda: vlm.inputs(samples, prompts))
    tried(lambda: vlm.inputs([picture(0)], prompts))
    tried(lambda: vlm.inputs([samples], ["Is it red?"]))
    tried(lambda: vlm.inputs([[samples]], ["Is it red?"]))
    tried(lambda: vlm.inputs(vl.Sample("?"), answers=samples))
    tried(lambda: vlm.inputs(vl.Sample("?"), system=samples))
    tried(lambda: vlm.inputs(vl.Sample("?"), padding=samples))


SAMPLE = [item.name for item in dataclasses.fields(vl.Sample)]


@bounded(40)
@given(some_of([*SAMPLE, "image"]))
def test_samples(vlm, fields):
    sample = tried(lambda: vl.Sample(**{"question": "Is it red?", **fields}))
    if sample is not None:
        assert repr(sample)
        hash(sample)
        tried(lambda: sample.key)
        tried(lambda: vlm.inputs(sample))


TENSORS = ("pixel_values", "image_sizes", "image_grid_thw", "attention_mask", "roles", "sizes")


@bounded(40)
@given(anything, some_of([*TENSORS, "pixel_values_videos", "banana", "inputs_embeds"]))
def test_inputs_from(vlm, inputs, ids, options):
    whole = {k: x for k, x in inputs.tensors.items() if k in ("input_ids", "pixel_values")}
    made = tried(lambda: vlm.inputs_from(ids, **options))
    if made is not None:
        tried(lambda: vlm.run(made, logits="last"))
    made = tried(lambda: vlm.inputs_from(**{**whole, **options}))
    if made is not None:
        tried(lambda: vlm.run(made, logits="last"))
    tried(lambda: vlm.inputs_from(torch.ones(1, 3, dtype=torch.long), **options))


@bounded(15)
@given(anything)
def test_an_edit_that_returns_something_else(vlm, inputs, made):
    tried(lambda: vlm.run(inputs, Edit("hook_embed", by=lambda x: made), logits="last"))
    tried(lambda: vlm.run_with_hooks(inputs, fwd_hooks=[("hook_embed", lambda x, hook: made)]))


@bounded(15)
@given(anything)
def test_opening(name):
    tried(lambda: vl.HookedVLM(name))
    tried(lambda: vl.HookedVLM.from_pretrained("shapes-base", device=name))
    tried(lambda: vl.HookedVLM.from_pretrained("shapes-base", dtype=name))
    tried(lambda: vl.HookedVLM.from_pretrained("shapes-base", attn_implementation=name))
