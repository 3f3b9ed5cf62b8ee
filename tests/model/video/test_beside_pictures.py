"""Pictures and videos in one sample: whose tokens an edit hits, and in which order they stand."""

import pytest
import torch
from conftest import build, by_turns, picture
from films import FAMILIES, UNMIXED, asked, noise, opened

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, VLMLensError
from vlmlens.interventions import PermuteVision, ZeroAblate, mean_activation
from vlmlens.positions import Frame, Role, Row
from vlmlens.zoo.tiny import TINY

MIXED = tuple(name for name in FAMILIES if name not in UNMIXED)
#: One tower call for both, which is InternVL's, and one for each.
TRIED = ("internvl", "qwen2_5_vl")
ORDERS = (
    ("image", "video"),
    ("video", "image"),
    ("video", "image", "video", "image"),
)
EMBED, PROJECTOR = "hook_embed", "projector.hook_out"


@pytest.fixture(scope="module", params=by_turns(MIXED, TRIED))
def mixer(request):
    """A model whose template leaves parts in their places."""
    model, processor = build(request.param)
    known = TINY[request.param]
    image, video = known.image if isinstance(known.image, str) else "<image>", known.video
    processor.chat_template = (
        "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}"
        f"{image}{{% else %}}{video or '<video>'}{{% endif %}}{{% endfor %}}{{% endfor %}}"
    )
    with vl.HookedVLM(model, processor, name=request.param) as vlm:
        yield vlm


def mixed(vlm, order, frames=None):
    """Pictures and videos in this order, each as small as one tile.

    InternVL's rows are frames, so that one of each is as many as there are images.
    """
    frames = frames or (1 if vlm.name == "internvl" else 2)
    said = [{"type": kind} for kind in order] + [{"type": "text", "text": "What?"}]
    count = order.count("video")
    return vlm.inputs(
        vl.Sample(
            messages=[{"role": "user", "content": said}],
            images=[picture(seed, (40, 40)) for seed in range(len(order) - count)],
            videos=[noise(frames, (40, 40), seed=seed) for seed in range(count)],
        ),
        images_kwargs={"crop_to_patches": False} if vlm.name == "internvl" else None,
        videos_kwargs={"do_sample_frames": False},
    )


def embedded(vlm, inputs, edit=()):
    return vlm.run(inputs, edit, save=EMBED).saved[EMBED][0]


@pytest.mark.parametrize("order", ORDERS)
def test_what_stands_first_has_the_first_rows(mixer, order):
    """An edit at the projector is the same edit where image and text meet, or is refused."""
    inputs = mixed(mixer, order)
    layout = inputs.layouts[0]
    assert sorted(layout.standing()) == list(range(layout.images))
    assert (layout.standing()[0] == layout.shown_as(0)) == (order[0] == "video")
    done = []
    for where in (Frame(0), Frame(0) & Row(0), Row(-1)):
        edits = (ZeroAblate(point, vl.Where(positions=where)) for point in (PROJECTOR, EMBED))
        done.append(agree(mixer, inputs, *edits))
    for options in ({"seed": 3}, {"design": "mirror"}, {"design": "within frames", "seed": 1}):
        edits = (PermuteVision(point=point, **options) for point in (PROJECTOR, EMBED))
        done.append(agree(mixer, inputs, *edits))
    assert all(done) == any(done) == (mixer.name == "internvl")


def agree(vlm, inputs, early, late):
    """Whether both were run, and then that they did the same; else that the first is refused."""
    try:
        found = embedded(vlm, inputs, early)
    except VLMLensError:
        return False
    wanted = embedded(vlm, inputs, late)
    assert not torch.equal(wanted, embedded(vlm, inputs))
    assert torch.equal(found, wanted), (early, inputs.layouts[0].standing())
    return True


@pytest.mark.parametrize("order", ORDERS)
def test_a_mean_of_a_frames_rows_is_of_the_frames(mixer, order):
    if mixer.name != "internvl":
        with pytest.raises(InputError, match="passed by pictures and then by videos"):
            mixer.run(mixed(mixer, order), save=PROJECTOR)
        return
    saved = mixer.run(mixed(mixer, order), save=[PROJECTOR, EMBED]).saved
    early, late = (mean_activation(saved, point, Frame(0)) for point in (PROJECTOR, EMBED))
    assert torch.allclose(early, late, atol=1e-6)
    assert not torch.allclose(early, mean_activation(saved, PROJECTOR), atol=1e-2)


def test_an_edit_of_all_that_passes_a_point_is_of_pictures_and_of_videos(mixer):
    """The tower runs once for each: an edit without positions acts in both passes."""
    inputs = mixed(mixer, ("image", "video"), 2)
    layout, clean = inputs.layouts[0], embedded(mixer, inputs)
    assert layout.images == 2
    silent = embedded(mixer, inputs, ZeroAblate(PROJECTOR))
    rows = (layout.image >= 0) & (layout.row >= 0)
    assert not silent[torch.from_numpy(rows)].any()
    assert torch.equal(silent[layout.image < 0], clean[layout.image < 0])
    cut = ZeroAblate("vision.blocks.0.attn.hook_z")
    if mixer.family.tower_of_videos:
        with pytest.raises(InputError, match="only pictures pass it"):
            mixer.run(inputs, cut)
        return
    moved = (embedded(mixer, inputs, cut) != clean).any(-1).numpy()
    assert all(len(layout.vision(image)) for image in range(2))
    assert all(moved[layout.vision(image)].all() for image in range(2))
    assert not moved[layout.image < 0].any()


def test_a_part_of_what_passes_a_point_twice_is_refused(mixer):
    """And at InternVL's, which both pass together, where a frame is a row of its own."""
    inputs = mixed(mixer, ("video", "image"), 2)
    for where in (vl.Where(positions=Role("vision")), vl.Where(positions=Frame(0))):
        with pytest.raises(EmptySelectionError):
            mixer.run(inputs, ZeroAblate(PROJECTOR, where))
    with pytest.raises(InputError, match=r"edit at hook_embed|in passes of their own"):
        mixer.run(inputs, PermuteVision(point=PROJECTOR))


PLACED = ("<video><image>What?", "<image><video>What?")


@pytest.mark.parametrize("name", by_turns(MIXED, TRIED))
def test_who_is_put_first_by_the_template_must_be_first_in_the_prompt(name):
    """All tiny templates write pictures before videos, as many published ones do."""
    vlm = opened(name)
    beside = {"images": picture(0, (40, 40)), "videos": noise(2)}
    told = {"videos_kwargs": {"do_sample_frames": False}}
    question, other = (vl.Sample(text, **beside) for text in PLACED)
    parts = [{"type": "video"}, {"type": "image"}, {"type": "text", "text": "What?"}]
    chat = vl.Sample(messages=[{"role": "user", "content": parts}], **beside)
    said = r"in the order video, picture, and the chat template writes picture, video: leave"
    for swapped in (question, chat):
        with pytest.raises(InputError, match=said):
            vlm.inputs(swapped, **told)
    assert vlm.inputs(other, **told).layouts[0].standing() == [0, 1]
    assert vlm.inputs(asked(**beside), **told).layouts[0].standing() == [0, 1]


def test_a_template_that_keeps_places_keeps_the_order(mixer):
    beside = {"images": picture(0, (40, 40)), "videos": noise(2)}
    told = {"videos_kwargs": {"do_sample_frames": False}}
    orders = [
        mixer.inputs(vl.Sample(text, **beside), **told).layouts[0].standing() for text in PLACED
    ]
    assert orders == [[1, 0], [0, 1]]
