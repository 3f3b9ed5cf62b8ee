"""Molmo 2: which patches are read together is numbered over a whole batch."""

import pytest
import torch
from conftest import build, picture

import vlmlens as vl
from vlmlens.interventions import Edit


@pytest.fixture(scope="module")
def molmo():
    with vl.HookedVLM(*build("molmo2")) as vlm:
        yield vlm


def test_every_sample_of_a_batch_reads_its_own_patches(molmo):
    """Of two samples the second one's pools count on where the first one's patches end."""
    pictures = [picture(0), picture(1, (160, 60))]
    both = molmo.inputs([[one] for one in pictures], ["What is left?"] * 2)
    each = [molmo.inputs([[one]], ["What is left?"]) for one in pictures]
    pools = [one.tensors["image_token_pooling"] for one in (both, *each)]
    crops, patches, _ = each[0].tensors["pixel_values"].shape
    shifted = torch.where(pools[2] < 0, pools[2], pools[2] + crops * patches)
    assert torch.equal(pools[0], torch.cat([pools[1], shifted]))
    assert (pools[2] < 0).any()
    assert pools[0].max() == both.tensors["pixel_values"].shape[:2].numel() - 1


def test_pictures_without_patches_are_passed_over(molmo):
    """A sample without a picture between two that have one."""
    samples = [vl.Sample("What is left?", (picture(0),)), vl.Sample("What is a left?")]
    samples.append(vl.Sample("What is right?", (picture(2),)))
    together = molmo.run(molmo.inputs(samples)).logits[:, -1]
    for row, sample in enumerate(samples):
        alone = molmo.run(molmo.inputs([sample])).logits[0, -1]
        assert (together[row] - alone).abs().max() < 1e-4 * alone.abs().max()


def test_raw_tensors_number_what_belongs_to_a_picture_as_the_processor_does(molmo):
    """Rows of an image end in tokens of their own, which are of the image."""
    made = molmo.inputs([[picture(0), picture(1)]], ["What is left?"])
    own = ("attention_mask", "position_ids", "input_ids", "mm_token_type_ids")
    images = {name: x for name, x in made.tensors.items() if name not in own}
    sizes = [p.size for p in (picture(0), picture(1))]
    raw = molmo.inputs_from(made.tensors["input_ids"], sizes=sizes, **images)
    name = "mm_token_type_ids"
    assert torch.equal(raw.tensors[name], made.tensors[name])
    vision = made.layouts[0].mask("vision")
    assert made.tensors[name].sum() > vision.sum()
    assert torch.equal(molmo.run(raw).logits, molmo.run(made).logits)


def test_what_is_added_to_a_tokens_embedding_is_the_projectors(molmo):
    """Features are added to the placeholder's embedding, and do not take its place."""
    given = molmo.inputs([[picture(0)]], ["What is left?"])
    names = ["projector.hook_out", "hook_embed"]
    clean = molmo.run(given, save=names).saved
    none = molmo.run(given, Edit(names[0], by=torch.zeros_like), save=names[1]).saved[names[1]][0]
    here = torch.from_numpy(given.layouts[0].mask("vision"))
    added = clean[names[1]][0][here] - none[here]
    torch.testing.assert_close(added, clean[names[0]], rtol=1e-5, atol=1e-5)
    words = molmo.hf_model.get_input_embeddings()(given.tensors["input_ids"])[0]
    assert torch.equal(none, words)
