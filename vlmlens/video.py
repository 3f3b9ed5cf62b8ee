"""Videos: frames in memory and how many of them a second holds, or a file of them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from vlmlens.annotations import Checked
from vlmlens.checks import number, shown
from vlmlens.errors import ImageError, InputError
from vlmlens.picture import Picture, at_home, fixed, open_picture, printable


@dataclass(frozen=True)
class Video(Checked):
    """A video: its frames in order, or a file.

    Which frames a model is shown is for its processor to say, and for a call: ``model.inputs(...,
    videos_kwargs={"fps": ...})`` so many a second, ``{"num_frames": ...}`` so many in all,
    ``{"do_sample_frames": False}`` every one.

    Attributes:
        frames: pictures of one size, each given as ``Sample.images`` takes one; or an array
            (frame, height, width, channel), or a tensor (frame, channel, height, width); or the
            path of a file, which PyAV decodes: ``pip install "vlmlens[video]"``.
        fps: frames a second; None where nobody knows, and of a file, which says so itself.

    Raises:
        ImageError: no frame, frames of several sizes, or what no picture can be given as.
        InputError: ``fps`` that is no number above 0, or is given of a file.

    Examples:
        >>> video = vl.Video(np.zeros((4, 32, 48, 3), np.uint8), fps=2)
        >>> len(video.frames), video.opened()[0].size
        (4, (48, 32))
    """

    ADVICE: ClassVar = {"file": "write frames=", "path": "write frames=", "rate": "write fps="}

    frames: Any
    fps: int | float | None = None

    def __post_init__(self):
        if self.fps is not None:
            object.__setattr__(self, "fps", number(self.fps, "fps", above=0))
        if isinstance(self.frames, str | Path):
            object.__setattr__(self, "frames", at_home(self.frames))
            if self.fps is not None:
                raise InputError(
                    f"fps={self.fps:g} of the file {self.named()}, which says so itself: leave it "
                    "out, or give frames"
                )
            return
        given: Any = self.frames
        if not isinstance(given, list | tuple) and getattr(given, "ndim", 0) != 4:
            raise ImageError(
                f"{shown(given)} is no video: give a list of frames, an array (frame, height, "
                "width, channel), or a file's path"
            )
        if not len(given):
            raise ImageError("a video without a frame")
        *front, last = getattr(given, "shape", (0,))
        if front[:2] == [3, 4] and last not in (1, 3, 4):
            raise ImageError(
                f"{shown(given)} could be 3 frames of 4 channels or 4 frames of 3: give an array "
                "(frame, height, width, channel), as x.transpose(1, 2, 3, 0) makes of the latter"
            )
        try:
            object.__setattr__(self, "frames", tuple(fixed(frame) for frame in given))
        except ImageError as error:
            raise ImageError(f"a video's frame: {error}") from error

    def __hash__(self) -> int:  # pictures in memory have no hash
        return hash((self.fps, self.file, len(self.frames) if self.file is None else 0))

    def __repr__(self) -> str:
        return f"Video({self.named()})"

    @property
    def file(self) -> Path | None:
        """Its file, where it is one."""
        return self.frames if isinstance(self.frames, Path) else None

    def opened(self) -> list[Image.Image]:
        """Its frames in memory, upright and in RGB; see ``picture.open_picture``.

        Raises:
            ImageError: a frame that cannot be read, or of another size than the first; a file,
                whose frames ``model.inputs`` decodes.

        Examples:
            >>> [frame.mode for frame in vl.Video(np.zeros((2, 4, 4, 3), np.uint8)).opened()]
            ['RGB', 'RGB']
        """
        if self.file is not None:
            raise ImageError(f"the frames of {self.named()} are decoded by model.inputs(...)")
        opened = [open_picture(frame) for frame in self.frames]
        for place, frame in enumerate(opened):
            if frame.size != opened[0].size:
                raise ImageError(
                    f"frame {place} of a video is {frame.width} x {frame.height} pixels, and frame "
                    f"0 is {opened[0].width} x {opened[0].height}: give frames of one size"
                )
        return opened

    def trace(self) -> str:
        """Text that changes with what is seen of it, and with nothing else.

        Raises:
            ImageError: a frame or a file that cannot be read.

        Examples:
            >>> black = np.zeros((2, 4, 4, 3), np.uint8)
            >>> vl.Video(black).trace() == vl.Video(list(black)).trace()
            True
        """
        if self.file is not None:
            try:
                return f"file {hashlib.sha256(self.file.read_bytes()).hexdigest()}"
            except OSError as error:
                raise ImageError(f"cannot read the video {self.named()}: {error}") from error
        return f"{self.fps} {' '.join(map(trace, self.opened()))}"

    def named(self) -> str:
        """What messages call it.

        Examples:
            >>> vl.Video(np.zeros((2, 4, 4, 3), np.uint8), fps=2).named(), vl.Video("a.mp4").named()
            ('2 frames, 2 a second', 'a.mp4')
        """
        if self.file is not None:
            return printable(self.file)
        rate = "" if self.fps is None else f", {self.fps:g} a second"
        return f"{len(self.frames)} frames{rate}"


def trace(picture: Picture) -> str:
    """Text that changes with what is seen of a picture, and with nothing else.

    Draws are seeded by it where a sample has no id, so that they are the same wherever it lies.
    """
    seen = open_picture(picture)
    return f"{seen.size} {hashlib.sha256(seen.tobytes()).hexdigest()}"


def as_videos(given: Any) -> tuple[Video, ...]:
    """What a user wrote for videos: one or several, each as ``Video`` takes its frames.

    A list of pictures is one video; a list of paths, or of lists, is several.

    Raises:
        ImageError: what is no video.
    """
    if isinstance(given, Video | str | Path) or getattr(given, "ndim", 0) == 4:
        given = [given]
    if not isinstance(given, list | tuple):
        raise ImageError(f"{shown(given)} is no video, and no list of videos")
    several = all(
        isinstance(one, Video | str | Path | list | tuple) or getattr(one, "ndim", 0) == 4
        for one in given
    )
    videos = given if several else [given]
    return tuple(one if isinstance(one, Video) else Video(one) for one in videos)
