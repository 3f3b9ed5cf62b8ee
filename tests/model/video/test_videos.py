"""Videos: ids, positions and logits are transformers' own; a token holds its place in its frame."""

import json
from dataclasses import replace
from importlib.util import find_spec

import av
import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import build, by_turns, picture
from films import (
    ALL_PATCHES,
    ALWAYS,
    AS_PICTURES,
    BY_PICTURES_TOKEN,
    CHOOSES_BY,
    FAMILIES,
    IN_PAIRS,
    ONE,
    SEEN,
    SIZE,
    UNMIXED,
    asked,
    films,
    grey,
    noise,
    opened,
    painted,
    rope_index,
    silenced,
)
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

import vlmlens as vl
from vlmlens import families, identity
from vlmlens.errors import ImageError, InputError, VLMLensError
from vlmlens.zoo.opening.frames import PROCESSORS
from vlmlens.zoo.tiny import TINY, made
from vlmlens.zoo.tiny.parts import SIGLIP, square

#: How many frames a processor of each family merges into one.
MERGED = {name: 2 if name in IN_PAIRS else 1 for name in FAMILIES}


@pytest.fixture(scope="module", params=by_turns(FAMILIES, ALWAYS))
def seer(request):
    return opened(request.param)


def plain(vlm, videos, pictures=(), parts=None, images_kwargs=None, **told):
    """What transformers' own processor makes of the same frames, with nothing of ours."""
    content = [{"type": "image"}] * len(pictures) + [{"type": "video"}] * len(videos)
    said = [
        {"role": "user", "content": parts or [*content, {"type": "text", "text": "What moves?"}]}
    ]
    text = vlm.processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    started = text.startswith(vlm.processor.tokenizer.bos_token)  # as when it tokenizes, too
    frames = [np.stack([np.asarray(frame) for frame in video.opened()]) for video in videos]
    known = [
        VideoMetadata(
            total_num_frames=len(x),
            fps=video.fps,
            duration=video.fps and len(x) / video.fps,
            frames_indices=list(range(len(x))),
        )
        for x, video in zip(frames, videos, strict=True)
    ]
    made = vlm.processor(
        text=[text],
        images=[list(pictures)] if pictures else None,
        videos=[frames],
        videos_kwargs={"video_metadata": known, "return_metadata": True, **told},
        **({"images_kwargs": images_kwargs} if images_kwargs else {}),
        add_special_tokens=not started,
        return_tensors="pt",
        **{f"return_{n}": True for n in vlm.family.per_token if n.startswith("mm_")},
    )
    return {name: x for name, x in made.items() if isinstance(x, torch.Tensor)}


def same_as_plain(vlm, given, made):
    for name, x in made.items():
        if name in given.tensors:
            assert torch.equal(given.tensors[name], x), name
    assert {"input_ids", "attention_mask"} <= made.keys()
    with torch.no_grad():
        logits = vlm.hf_model(**made).logits
    assert torch.equal(vlm.run(given).logits, logits)


def test_ids_positions_and_logits_are_transformers_own(seer):
    video = noise(6)
    given, made = seer.inputs(asked(video)), plain(seer, [video])
    same_as_plain(seer, given, made)
    if seer.rope.axes == ("time", "height", "width"):
        ids, _ = rope_index(seer, {n: x for n, x in made.items() if n != "pixel_values_videos"})
        assert torch.equal(given.tensors["position_ids"], ids)


@pytest.mark.parametrize(("told", "frames"), [({"fps": 2}, 6), ({"num_frames": 4}, 4)])
def test_who_says_how_many_frames_gets_as_many(seer, told, frames, monkeypatch):
    video = noise(24, size=(32, 32), fps=8)
    if not {*told} & {*CHOOSES_BY.get(str(seer.name), told)}:
        with pytest.raises(InputError, match=f"'{next(iter(told))}'.* would not look at it"):
            seer.inputs(asked(video), videos_kwargs=told)
        return
    given = seer.inputs(asked(video), videos_kwargs=told)
    assert given.layouts[0].frames() * MERGED[str(seer.name)] == frames
    theirs = {"fps": None, "num_frames": None, "do_sample_frames": True} | told
    if seer.name == "smolvlm":  # whose own rule wants both
        theirs = {"fps": 8, "num_frames": 24, "do_sample_frames": True} | told
    if seer.name == "gemma4":  # whose own num_frames goes before the fps that it is told
        monkeypatch.setattr(seer.processor.video_processor, "num_frames", None)
    same_as_plain(seer, given, plain(seer, [video], **theirs))
    if "num_frames" in told:
        with pytest.raises(InputError, match=r"'num_frames': 4.* would change nothing"):
            seer.inputs(asked(video), videos_kwargs=told | {"do_sample_frames": False})
    everyone = seer.inputs(asked(video), videos_kwargs={"do_sample_frames": False})
    assert everyone.layouts[0].frames() * MERGED[str(seer.name)] == 24


def test_times_of_a_rate_that_nobody_told_are_unknown(seer):
    for told in (None, {"do_sample_frames": False}, {"num_frames": 4}):
        refused = {"smolvlm": told == {"num_frames": 4}}
        refused |= dict.fromkeys(CHOOSES_BY, told != {"do_sample_frames": False})
        if refused.get(str(seer.name)):
            said = "cannot choose frames of a video of 6 frames|would not look at it"
            with pytest.raises(InputError, match=said):
                seer.inputs(asked(noise(6, fps=None)), videos_kwargs=told)
            continue
        layout = seer.inputs(asked(noise(6, fps=None)), videos_kwargs=told).layouts[0]
        assert layout.frames() > 1
        assert np.isnan(layout.seconds).all()


def test_no_family_is_shown_videos_that_is_not_tried_here():
    every = families.FAMILIES.items()
    assert {name for name, family in every if family.videos} == set(FAMILIES)


def test_two_videos(seer):
    videos = [noise(4), noise(4, seed=1)]
    if seer.name in ONE:
        with pytest.raises(InputError, match="refuses this sample: At most one video"):
            seer.inputs(asked(videos))
        return
    given = seer.inputs(asked(videos))
    same_as_plain(seer, given, plain(seer, videos))
    layout = given.layouts[0]
    assert (layout.images, layout.videos, layout.sizes) == (2, 2, (SIZE, SIZE))
    assert len(layout.vision(0)) == len(layout.vision(1)) > 0


def test_two_videos_and_a_picture(seer):
    videos, still = [noise(4), noise(4, seed=1)], picture(0, (40, 40))
    if seer.name in UNMIXED:
        with pytest.raises(InputError, match="pictures or videos, and not both"):
            seer.inputs(asked(videos, images=still))
        return
    given = seer.inputs(asked(videos, images=still))
    same_as_plain(seer, given, plain(seer, videos, [still]))
    layout = given.layouts[0]
    assert (layout.images, layout.videos) == (3, 2)
    assert [layout.shown_as(n) for n in range(2)] == [1, 2]
    assert layout.sizes == ((40, 40), SIZE, SIZE)
    assert set(layout.video[layout.image == 0]) == {-1}
    ends = np.array(layout.kind)[layout.video >= 0] == "newline"
    assert (layout.frame >= 0).sum() == (layout.video >= 0).sum() - ends.sum() > 0
    assert layout.seconds[layout.video < 0].tolist() == pytest.approx(
        [np.nan] * int((layout.video < 0).sum()), nan_ok=True
    )


def test_pictures_and_videos_in_one_batch_are_each_samples_own(seer):
    several = [asked(noise(4)), vl.Sample("Which color is it?", picture(0, (40, 40)))]
    if seer.name in BY_PICTURES_TOKEN:
        with pytest.raises(InputError, match=f"go into no one batch of {seer.name}"):
            seer.inputs(several)
        return
    together = seer.run(seer.inputs(several)).logits[:, -1]
    for row, sample in enumerate(several):
        alone = seer.run(seer.inputs(sample)).logits[0, -1]
        assert torch.allclose(together[row], alone, atol=2e-5)


def test_a_frames_time_is_the_mean_of_those_it_merges(seer):
    every = {"do_sample_frames": False}
    layout = seer.inputs(asked(noise(5, fps=2)), videos_kwargs=every).layouts[0]
    merged = MERGED[str(seer.name)]
    times = [*np.arange(5) / 2, *[2.0] * (-5 % merged)]
    wanted = np.array(times).reshape(-1, merged).mean(1)
    for frame in range(layout.frames()):
        assert layout.seconds[layout.frame == frame] == pytest.approx(wanted[frame])
    assert layout.frames() == len(wanted)


@pytest.mark.slow
def test_a_conversation_with_a_video_is_written_by_the_processors_own_template():
    """SmolVLM's has one for videos; without, texts alone would be rendered by another one."""
    vlm = opened("smolvlm")
    said = [
        {"role": "user", "content": [{"type": "text", "text": "See this."}, {"type": "video"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
        {"role": "user", "content": [{"type": "text", "text": "Is it?"}]},
    ]
    ours = vlm.inputs(vl.Sample(messages=said, videos=noise(4))).layouts[0]
    text = vlm.processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    before, after = text.split("<video>")
    assert "".join(ours.spelled).startswith(f"{before}You are provided the following series")
    assert "".join(ours.spelled).endswith(after)
    assert ours.turns == 2


def test_words_between_frames_are_of_none_of_them(seer):
    layout = seer.inputs(asked(noise(4, fps=1))).layouts[0]
    words = [at for at, kind in enumerate(layout.kind) if kind == "separator"]
    assert (layout.frame[words] == -1).all()
    assert {layout.roles[at] for at in words} <= {"template"}
    said = "".join(layout.spelled[at] for at in words)
    for name, second in {"smolvlm": "Frame from 00:0{}:", "qwen3_vl": "<{}.5 seconds>"}.items():
        if seer.name == name:
            times = layout.seconds[[layout.vision(0, n)[0] for n in range(layout.frames())]]
            assert all(second.format(int(time)) in said for time in times)


def embedded(vlm, frames):
    told = {"do_sample_frames": False} | ALL_PATCHES.get(str(vlm.name), {})
    given = vlm.inputs(asked(vl.Video(frames, 2)), videos_kwargs=told)
    with silenced(vlm) as edits:
        return given.layouts[0], vlm.run(given, edits, save="hook_embed").saved["hook_embed"][0]


def test_a_token_sees_its_own_place_in_its_own_frame(seer):
    count, merged = 4, MERGED[str(seer.name)]
    layout, before = embedded(seer, grey(count))
    rows, columns = layout.grid()
    assert rows > 1
    assert columns > 1
    assert layout.frames() * merged == count
    rng = np.random.default_rng(0)
    for at in range(count):
        own = layout.vision(0, at // merged)
        assert (layout.frame[own] == at // merged).all()
        for token in rng.choice(own, 2, replace=False):
            _, after = embedded(seer, painted(count, at, layout.box[token]))
            change = (after - before).norm(dim=-1).numpy()
            assert change.argmax() == token
            others = (layout.frame != at // merged) | (layout.row < 0)
            assert change[others].max() == 0


def test_an_odd_square_is_halved_to_the_next_whole():
    """LLaVA-OneVision's 27 by 27 patches become 14 by 14 tokens: here 5 by 5 become 3 by 3."""
    entry, side = TINY["llava_onevision"], square(40)
    model, processor = made(
        replace(
            entry,
            config=entry.config | {"vision_config": SIGLIP | {"image_size": 40}},
            pixels=(entry.pixels[0], entry.pixels[1] | side),
            processor=entry.processor | {"num_image_tokens": 25},
            frames=side,
        ),
        "llava_onevision",
    )
    with vl.HookedVLM(model, processor) as vlm:
        same_as_plain(vlm, vlm.inputs(asked(noise(3))), plain(vlm, [noise(3)]))
        layout, before = embedded(vlm, grey(3))
        assert (layout.frames(), layout.grid()) == (3, (3, 3))
        assert (layout.mask("vision").sum(), layout.kind.count("newline")) == (28, 1)
        for token in layout.vision(0, 1):
            _, after = embedded(vlm, painted(3, 1, layout.box[token]))
            change = (after - before).norm(dim=-1).numpy()
            assert change.argmax() == token
            assert change[layout.frame != 1].max() == 0


def test_boxes_cover_the_frames(seer):
    layout = seer.inputs(asked(noise(4))).layouts[0]
    seen = SEEN.get(str(seer.name), (0, 0, *SIZE))
    for frame in range(layout.frames()):
        box = layout.box[layout.vision(0, frame)]
        assert (*box[:, :2].min(0), *box[:, 2:].max(0)) == seen
    share = (seen[2] - seen[0]) * (seen[3] - seen[1]) / (SIZE[0] * SIZE[1])
    assert layout.seen(0) == pytest.approx(share)


def test_batches_agree_with_one_by_one(seer):
    several = [asked(noise(4)), asked(noise(4, seed=1), "And what is red here?")]
    together = seer.run(seer.inputs(several)).logits[:, -1]
    for row, sample in enumerate(several):
        alone = seer.run(seer.inputs(sample)).logits[0, -1]
        assert torch.allclose(together[row], alone, atol=2e-5)


def test_generation_is_transformers_own(seer):
    video = noise(6, fps=1)
    made = plain(seer, [video])
    answer = seer.hf_model.generate(**made, max_new_tokens=6, do_sample=False)
    ours = seer.generate(seer.inputs(asked(video)), max_new_tokens=6)
    assert ours.tokens[0].tolist() == answer[0, made["input_ids"].shape[1] :].tolist()


def test_after_a_long_video_positions_go_on_from_the_largest(seer):
    if len(seer.rope.axes) < 3:
        pytest.skip("positions are counted one by one")
    video = noise(60, size=(24, 24), fps=1)
    all_of_them = {"do_sample_frames": False}
    given = seer.inputs(asked(video, "Hm?"), videos_kwargs=all_of_them)
    names = ("input_ids", "mm_token_type_ids", "video_grid_thw", "second_per_grid_ts")
    names += ("video_second_per_grid", "attention_mask")
    made = {name: given.tensors[name] for name in names if name in given.tensors}
    ids, delta = rope_index(seer, made)
    longer = given.appended(torch.tensor([[5, 6]])).tensors["position_ids"]
    assert torch.equal(longer[..., :-2], ids)
    assert (
        longer[:, 0, -2:].tolist()
        == [[ids.shape[-1] + int(delta), ids.shape[-1] + int(delta) + 1]] * 3
    )
    if not str(seer.name).startswith("qwen3"):  # which begins anew with every frame
        ahead = int(ids.max()) - int(ids[..., -1].max())
        # Others begin anew after every frame, and Omni's text goes on from the largest.
        behind = ("qwen2_vl", "qwen2_5_vl", "ernie4_5_vl_moe")
        assert (ahead > 0) == (seer.name in behind)
        answer = seer.hf_model.generate(**given.tensors, max_new_tokens=6, do_sample=False)
        ours = seer.generate(given, max_new_tokens=6)
        assert ours.tokens[0].tolist() == answer[0, ids.shape[-1] :].tolist()


def test_tensors_make_the_same_inputs(seer):
    if seer.name in AS_PICTURES:
        pytest.skip("tensors do not say what is of a video")
    beside = () if seer.name in UNMIXED else picture(0, (40, 40))
    given = seer.inputs(asked(films(seer), images=beside))
    ours = ("input_ids", "attention_mask", "position_ids", "mm_token_type_ids")
    shown = {name: x for name, x in given.tensors.items() if name not in ours}
    if seer.name in BY_PICTURES_TOKEN:
        with pytest.raises(InputError, match="videos are not laid out for tensors of"):
            seer.inputs_from(given.tensors["input_ids"], **shown)
        return
    again = seer.inputs_from(given.tensors["input_ids"], sizes=[(40, 40), SIZE, SIZE], **shown)
    assert all(torch.equal(x, again.tensors[name]) for name, x in given.tensors.items())
    one, other = given.layouts[0], again.layouts[0]
    for name in ("image", "video", "frame", "tile", "row", "column", "box"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name


def test_a_file_is_its_frames(tmp_path):
    vlm, path = opened(ALWAYS[0]), tmp_path / "a.mp4"
    container = av.open(str(path), "w")
    stream = container.add_stream("mpeg4", rate=4)
    stream.width, stream.height = SIZE
    for at in range(8):
        shade = np.full((SIZE[1], SIZE[0], 3), 30 * at, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
    container.mux(stream.encode())
    container.close()
    with av.open(str(path)) as read:
        frames = [frame.to_image() for frame in read.decode(video=0)]
    assert len(frames) == 8
    for told in (None, {"do_sample_frames": True, "num_frames": 4}):
        both = [
            vlm.inputs(videos=video, prompts="What moves?", videos_kwargs=told)
            for video in (path, vl.Video(frames, 4))
        ]
        assert both[0].layouts[0].frames() == (4 if told is None else 2)
        for name, x in both[0].tensors.items():
            assert torch.equal(x, both[1].tensors[name]), name
        assert np.array_equal(*(each.layouts[0].seconds for each in both), equal_nan=True)
    path.write_bytes(b"no video")
    with pytest.raises(ImageError, match=r"cannot read the video .*a\.mp4"):
        vlm.inputs(videos=path, prompts="What moves?")
    path.unlink()
    with pytest.raises(ImageError, match="no such file"):
        vlm.inputs(videos=str(path), prompts="What moves?")


@pytest.mark.slow
def test_a_saved_model_keeps_its_video_processor(tmp_path):
    model, processor = build("qwen2_vl")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with (
        vl.HookedVLM(model, processor) as one,
        vl.HookedVLM.from_pretrained(str(tmp_path)) as other,
    ):
        both = [each.inputs(asked(noise(4))).tensors for each in (one, other)]
    assert all(torch.equal(x, both[1][name]) for name, x in both[0].items())


def test_a_model_saved_without_one_is_shown_pictures_and_one_that_is_not_reached_is_said(
    tmp_path, monkeypatch
):
    model, processor = build("qwen2_vl")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    settings = json.loads(file.read_text())
    kept = {key: value for key, value in settings.items() if key != "video_processor"}
    assert kept != settings
    file.write_text(json.dumps(kept))
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
    with vl.HookedVLM.from_pretrained(str(tmp_path)) as vlm:
        assert len(vlm.inputs(picture(), "What color is it?")) == 1
        with pytest.raises(VLMLensError, match=r"no video processor.*where it has one"):
            vlm.inputs(asked(noise(4)))

    def unreached(*_, **__):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(BaseVideoProcessor, "get_video_processor_dict", unreached)
    with pytest.raises((OSError, VLMLensError), match="couldn't connect"):
        vl.HookedVLM.from_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vlm: vlm.inputs(asked(noise(4))), "llava is shown no videos.*qwen2_vl"),
        (lambda vlm: vlm.inputs(asked(noise(4)), videos_kwargs={"fps": 1}), "shown no videos"),
        (lambda _: opened("qwen2_vl").inputs(videos=noise(4)), "come with prompts"),
        (
            lambda _: opened("qwen2_vl").inputs(asked(noise(4)), videos_kwargs={"rate": 1}),
            "rate",
        ),
        (
            lambda _: opened("qwen2_vl").inputs(
                asked(noise(4)), videos_kwargs={"return_metadata": True}
            ),
            "seconds are the frames' times",
        ),
        (
            lambda _: opened("qwen2_vl").inputs(
                asked(noise(4)), videos_kwargs={"do_sample_frames": True, "num_frames": 9}
            ),
            "cannot choose frames of a video of 4 frames",
        ),
        (
            lambda _: opened("llava_onevision").inputs(
                asked(noise(4)), videos_kwargs={"size": {"height": 48, "width": 40}}
            ),
            "frames of 40 x 48 pixels, and this model's tower takes 32 x 32",
        ),
        (
            lambda _: opened("llava_next_video").inputs(
                asked(noise(4)), videos_kwargs={"do_center_crop": False}
            ),
            "frames of 48 x 32 pixels, and this model's tower takes 32 x 32",
        ),
        (
            lambda _: opened("llava_onevision").inputs(asked([noise(4), noise(6)])),
            r"(?s)refuses this sample.*videos have 4 and 6 frames.*\{'num_frames': 4\}",
        ),
        (
            lambda _: opened("llava_onevision").inputs([asked(noise(4)), asked(noise(6))]),
            "videos of 4 and 6 frames go into no one batch",
        ),
        (lambda _: opened("qwen2_vl").inputs(asked(noise(4), "<video> or <video>?")), "2 video"),
        (lambda _: vl.Video([]), "without a frame"),
        (lambda _: vl.Video("a.mp4", fps=2), "says so itself"),
        (lambda _: vl.Video(np.zeros((2, 4, 4, 3), np.uint8), fps=0), "above 0"),
        (lambda _: vl.Video(3), "is no video"),
        (lambda _: vl.Video([picture(0, (8, 8)), picture(0, (8, 9))]).opened(), "8 x 9 pixels"),
    ],
)
def test_videos_that_make_no_sense(call, message):
    with as_users(), pytest.raises(vl.VLMLensError, match=message):
        call(opened("llava"))


def test_ways_to_give_videos_and_what_identifies_them():
    frames = noise(4, fps=None).opened()
    array = np.stack([np.asarray(frame) for frame in frames])
    chat = [
        {
            "role": "user",
            "content": [
                {"type": "video", "video": frames},
                {"type": "text", "text": "What moves?"},
            ],
        }
    ]
    given = [asked(frames), asked(array), asked([array]), asked([frames]), vl.Sample(messages=chat)]
    given.append(asked(vl.Video(torch.from_numpy(array).permute(0, 3, 1, 2))))
    vlm = opened("qwen2_vl")
    first = vlm.inputs(given[0]).tensors
    for sample in given:
        assert len(sample.videos) == 1
        made = vlm.inputs(sample).tensors
        assert all(torch.equal(x, made[name]) for name, x in first.items())
        assert identity.scene(sample) == identity.scene(given[0])
    others = (
        asked(array[::-1]),
        asked(vl.Video(array, 2)),
        asked(array[:3]),
        given[0].without_images(),
    )
    assert len({sample.key for sample in (given[0], *others)}) == 5
    assert len({identity.scene(sample) for sample in (given[0], *others)}) == 5
    assert np.isnan(vlm.inputs(given[0]).layouts[0].seconds).all()


#: Parts as they stand, in place of pictures first.
IN_ORDER = (
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}"
    "<IMG_CONTEXT>{% else %}<video>{% endif %}{% endfor %}{% endfor %}"
)


@pytest.mark.slow
@pytest.mark.parametrize("told", [{}, {"crop_to_patches": False}])
@pytest.mark.parametrize("order", [("image", "video"), ("video", "image")])
def test_tiles_of_pictures_lie_among_frames(order, told):
    """InternVL's tower sees tiles and frames in one row, in the order they stand in."""
    model, processor = build("internvl")
    processor.chat_template = IN_ORDER
    video, still = noise(4), picture(0, (96, 48))
    said = [{"type": kind} for kind in order] + [{"type": "text", "text": "What?"}]
    with vl.HookedVLM(model, processor) as vlm:
        chat = vl.Sample(messages=[{"role": "user", "content": said}], images=still, videos=video)
        given = vlm.inputs(chat, images_kwargs=told or None)
        same_as_plain(vlm, given, plain(vlm, [video], [still], parts=said, images_kwargs=told))
        layout, alone = given.layouts[0], vlm.inputs(still, "What?", images_kwargs=told or None)
    assert (layout.tiles(0), layout.tiles(1), layout.frames()) == (1 if told else 3, 4, 4)
    assert (layout.vision(0)[0] < layout.vision(1)[0]) == (order[0] == "image")
    mine, others = layout.vision(0), alone.layouts[0].vision(0)
    assert np.array_equal(layout.box[mine], alone.layouts[0].box[others])


def test_what_a_tower_makes_of_videos_is_reused(seer):
    beside = () if seer.name in UNMIXED else picture(0, (40, 40))
    samples = [asked(noise(4)), asked(noise(4, seed=1), images=beside)]
    for sample in samples:
        fresh = seer.run(seer.inputs(sample)).logits
        with seer.reuse() as shared:
            runs = [seer.run(seer.inputs(sample)).logits for _ in range(2)]
        assert (shared.encoded, shared.reused) == (1, 1)
        assert all(torch.equal(fresh, each) for each in runs)


def test_what_pictures_and_videos_both_pass_is_not_kept_as_one():
    vlm = opened("qwen2_vl")
    both = vlm.inputs(asked(noise(4), images=picture(0, (40, 40))))
    with pytest.raises(InputError, match="passed by pictures and then by videos"):
        vlm.run(both, save="projector.hook_out")


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_pixels_are_torchvisions_but_for_one_step_in_255(seer):
    import transformers

    ours = seer.processor.video_processor
    _, name = PROCESSORS[str(seer.name)]
    theirs = getattr(transformers, name)(
        **{
            key: getattr(ours, key)
            for key in ours.valid_kwargs.__annotations__
            if hasattr(ours, key)
        }
    )
    frames = np.stack([np.asarray(frame) for frame in noise(4).opened()])
    made = [each([frames], return_tensors="pt", do_sample_frames=False) for each in (ours, theirs)]
    assert made[0].keys() == made[1].keys()
    step = 1.01 / 255 / min(ours.image_std)
    tensors = [key for key, x in made[0].items() if isinstance(x, torch.Tensor)]
    assert tensors
    for key in tensors:
        assert (made[0][key].float() - made[1][key].float()).abs().max() <= step
