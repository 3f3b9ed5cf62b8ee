"""A video's file is its frames, whatever a processor chooses of them: also one frame twice."""

import av
import numpy as np
import pytest
import torch
from conftest import by_turns
from films import FAMILIES, GLM, SIZE, asked, opened

import vlmlens as vl
from vlmlens.errors import ImageError, VLMLensError
from vlmlens.model.sequence.videos import decoded

RATE = 10
COUNTS = (7, 8, 13)
TOLD = (
    {},
    {"do_sample_frames": False},
    {"fps": 1},
    {"fps": 3},
    {"num_frames": 4},
    {"num_frames": 6},
)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Files of several lengths, and what is decoded of them."""
    folder, made = tmp_path_factory.mktemp("films"), {}
    for count in COUNTS:
        path, rng = folder / f"{count}.mp4", np.random.default_rng(count)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=RATE)
            stream.width, stream.height = SIZE
            for _ in range(count):
                blocks = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(blocks.repeat(8, 0).repeat(8, 1), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with av.open(str(path)) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)]
        assert len(frames) == count
        made[count] = (vl.Video(str(path)), vl.Video(frames, RATE))
    return made


def tried(vlm, video, told):
    try:
        return vlm.inputs(asked(video), videos_kwargs=told)
    except VLMLensError as error:
        return type(error)


@pytest.mark.parametrize("name", by_turns(FAMILIES, ("qwen2_5_vl", "glm4v", "smolvlm")))
def test_a_file_and_its_frames_are_one_video(name, films):
    vlm, twice, shown = opened(name), 0, 0
    for both in films.values():
        for told in TOLD:
            file, memory = (tried(vlm, video, told) for video in both)
            if isinstance(memory, type):
                assert file is memory, told
                continue
            shown += 1
            assert file.tensors.keys() == memory.tensors.keys()
            assert all(torch.equal(x, memory.tensors[n]) for n, x in file.tensors.items()), told
            one, other = file.layouts[0], memory.layouts[0]
            assert np.array_equal(one.seconds, other.seconds, equal_nan=True)
            assert one.frames() == other.frames()
            chosen = decoded(both[0], vlm.processor.video_processor, told).chosen
            assert chosen == decoded(both[1], vlm.processor.video_processor, told).chosen
            twice += len({*chosen}) < len(chosen)
    assert shown >= len(COUNTS)
    assert twice or name not in GLM  # which make an odd number of frames even


def choosing(vlm, monkeypatch, *chosen):
    """What a call is told so that these frames are chosen."""
    kind = type(vlm.processor.video_processor)
    monkeypatch.setattr(kind, "sample_frames", lambda *_, **__: list(chosen))
    return {"do_sample_frames": True}


def test_a_file_with_fewer_frames_than_it_says_is_refused(films, monkeypatch):
    vlm = opened("qwen2_5_vl")
    told = choosing(vlm, monkeypatch, 0, 5, 5, 90)
    with pytest.raises(ImageError, match="13 frames; of 3 chosen ones 2 could be decoded"):
        vlm.inputs(asked(films[13][0]), videos_kwargs=told)


def test_frames_may_be_chosen_in_any_order(films, monkeypatch):
    vlm = opened("qwen2_5_vl")
    told = choosing(vlm, monkeypatch, 9, 2, 2, 4)
    file, memory = (vlm.inputs(asked(video), videos_kwargs=told) for video in films[13])
    assert all(torch.equal(x, memory.tensors[n]) for n, x in file.tensors.items())
