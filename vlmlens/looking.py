"""Where vision tokens look: the grids of an image, the frames of a video, and their pixels."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from vlmlens.checks import number, plain, shown, whole
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.view import covered


def edges(box: Any) -> tuple[int | float, int | float, int | float, int | float]:
    """Left, top, right and bottom of a box, in this order; edges may be infinite.

    Raises:
        InputError: not four numbers, or a right edge left of the left one, or a bottom above the
            top: COCO's boxes are x, y, width and height.

    Examples:
        >>> from vlmlens.looking import edges
        >>> edges(np.array([0, 0, 28.0, 56.0]))
        (0.0, 0.0, 28.0, 56.0)
    """
    given = plain(box)
    if not isinstance(given, list | tuple) or len(given) != 4:
        raise InputError(f"box={shown(box)}: four numbers are wanted: left, top, right, bottom")
    left, top, right, bottom = (number(edge, "an edge of a box", finite=False) for edge in given)
    if right < left or bottom < top:
        raise InputError(
            f"box={shown(box)}: its right edge lies left of the left one, or its bottom above its "
            "top. A box is left, top, right, bottom; COCO writes x, y, width, height, which is "
            "(x, y, x + width, y + height)"
        )
    return left, top, right, bottom


class Looking:
    """What ``TokenLayout`` says of its images; see there."""

    if TYPE_CHECKING:
        image: Int[np.ndarray, " pos"]
        video: Int[np.ndarray, " pos"]
        frame: Int[np.ndarray, " pos"]
        tile: Int[np.ndarray, " pos"]
        row: Int[np.ndarray, " pos"]
        column: Int[np.ndarray, " pos"]
        box: Float[np.ndarray, "pos 4"]
        sizes: tuple[tuple[int, int] | None, ...]

        def mask(self, *roles: str) -> Bool[np.ndarray, " pos"]: ...

    @property
    def images(self) -> int:
        """How many images the sample was shown, each of its videos counted as one."""
        return int(self.image.max(initial=-1)) + 1

    @property
    def videos(self) -> int:
        """How many videos the sample was shown."""
        return int(self.video.max(initial=-1)) + 1

    def shown_as(self, video: int) -> int:
        """The number of a video among the images: they come after the pictures.

        Raises:
            EmptySelectionError: the sample holds no such video.

        Examples:
            >>> from vlmlens.zoo import tiny
            >>> qwen = vl.HookedVLM(*tiny.build("qwen2_vl"))
            >>> seen = vl.Sample("What moves?", videos=np.zeros((4, 16, 24, 3), np.uint8))
            >>> layout = qwen.inputs(seen).layouts[0]
            >>> layout.shown_as(0), layout.frames(0), layout.grid(0)
            (0, 2, (2, 3))
        """
        here = self.image[self.video == whole(video, "video")]
        if not len(here) or video < 0:
            raise EmptySelectionError(f"no video {video}: this sample holds {self.videos}")
        return int(here[0])

    def frames(self, video: int = 0) -> int:
        """How many frames a video's tokens are of: of those that a tower merges, one.

        A frame that was dropped counts: the others keep their numbers.

        Raises:
            EmptySelectionError: the sample holds no such video.

        Examples:
            >>> from vlmlens.zoo import tiny
            >>> qwen = vl.HookedVLM(*tiny.build("qwen2_vl"))
            >>> video = vl.Video(np.zeros((6, 16, 16, 3), np.uint8), fps=1)
            >>> layout = qwen.inputs(videos=video, prompts="What moves?").layouts[0]
            >>> layout.frames(), layout.seconds[layout.frame == 1][0]  # of two frames it makes one
            (3, np.float64(2.5))
        """
        self.shown_as(video)  # says what is there, if this is not
        return int(self.frame[self.video == video].max()) + 1

    def vision(self, image: int, tile: int | None = None) -> Int[np.ndarray, " patch"]:
        """The positions of one image's patches, tile by tile and row by row.

        Newlines and registers are none. Dropped ones are padding now. A video's frames are its
        tiles.

        Examples:
            >>> layout = model.inputs(sample).layouts[0]
            >>> layout.vision(0)[:3], layout.row[layout.vision(0)[-1]]
            (array([4, 5, 6]), np.int64(7))
        """
        found = np.flatnonzero(self._patches(image, tile) & ~self.mask("pad"))
        return found[np.lexsort((self.column[found], self.row[found], self.tile[found]))]

    def made(self, image: int) -> Int[np.ndarray, " patch"]:
        """The positions of the patches that a projector made of one image, in sequence order.

        Those that an edit took out are among them.

        Examples:
            >>> layout = model.inputs(sample).layouts[0]
            >>> len(layout.made(0)) == len(layout.vision(0))  # nothing was taken out
            True
        """
        return np.flatnonzero(self._patches(image))

    def _patches(self, image: int, tile: int | None = None) -> Bool[np.ndarray, " pos"]:
        """One image's patches as they were shown: those that an edit took out as well."""
        here = (self.image == whole(image, "image")) & (self.row >= 0)
        return here if tile is None else here & (self.tile == whole(tile, "tile"))

    def tiles(self, image: int = 0) -> int:
        """How many grids an image's patches lie on: its tiles, and its thumbnail.

        A tile of a picture so thin that none of its patches is shown does not count; one that an
        edit dropped does.

        Examples:
            >>> model.inputs(sample).layouts[0].tiles()  # LLaVA-1.5 shows every picture whole
            1
        """
        return int(self.tile[self._patches(image)].max(initial=-1)) + 1

    def grid(self, image: int = 0, tile: int = 0) -> tuple[int, int]:
        """Rows and columns of one image's tokens, on one of its tiles, as they were shown.

        The frames of a video have one grid, of which a processor may leave some tokens out.
        Tokens that were dropped count: the others keep their rows and columns.

        Raises:
            EmptySelectionError: the sample holds no such image, or the image no such tile.

        Examples:
            >>> model.inputs(sample).layouts[0].grid()
            (8, 8)
        """
        here = self._patches(image, tile)
        if not here.any():
            raise EmptySelectionError(
                f"no tile {tile} of image {image}: this sample holds {self.images} image(s), with "
                f"{', '.join(str(self.tiles(i)) for i in range(self.images)) or 'no'} tile(s)"
            )
        here = self._patches(image) if (self.video[here] >= 0).all() else here
        return int(self.row[here].max()) + 1, int(self.column[here].max()) + 1

    def shown(self, image: int = 0) -> tuple[float, float, float, float]:
        """The rectangle around all that an original image's patches look at: what a crop leaves.

        Returns:
            Left, top, right and bottom, in pixels of the original.

        Raises:
            EmptySelectionError: the sample holds no such image.
            InputError: the original's size is unknown.

        Examples:
            >>> from PIL import Image
            >>> wide = Image.new("RGB", (96, 64), "red")  # of which a square crop leaves the middle
            >>> model.inputs(wide, "What is this?").layouts[0].shown()
            (16.0, 0.0, 80.0, 64.0)
        """
        boxes, size = self._boxes(image)
        low, high = boxes[:, :2].min(0).clip(min=0), boxes[:, 2:].max(0).clip(max=size)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def seen(self, image: int = 0) -> float:
        """Share of an original image's pixels that at least one of its patches looks at.

        1 is all of them. Less is what a crop to a square, or patches that leave a strip over,
        hide from the model: of a picture three times as wide as high, a centre crop leaves 1/3. 0
        is an image all of which was dropped.

        Raises:
            EmptySelectionError: the sample holds no such image.
            InputError: the original's size is unknown.

        Examples:
            >>> model.inputs(sample).layouts[0].seen()  # a square picture: nothing is cropped
            1.0
        """
        if self._patches(image).any() and not len(self.vision(image)):
            return 0.0
        boxes, size = self._boxes(image)
        return min(covered(boxes) / (size[0] * size[1]), 1.0)

    def _boxes(self, image: int) -> tuple[Float[np.ndarray, "patch 4"], tuple[int, int]]:
        """What an image's patches look at, and the original's size."""
        boxes, image = self.box[self.vision(image)], whole(image, "image")
        if not len(boxes):
            left = "no patch is left of" if 0 <= image < self.images else "no"
            raise EmptySelectionError(f"{left} image {image}: this sample holds {self.images}")
        size = self.sizes[image] if 0 <= image < len(self.sizes) else None
        if size is None or np.isnan(boxes).any():
            raise InputError("the original image's size is unknown: pass images, not pixel_values")
        return boxes, size

    def within(self, box: Iterable[int | float], image: int = 0) -> Int[np.ndarray, " chosen"]:
        """The vision tokens whose pixels overlap a box of the original image.

        Args:
            box: left, top, right, bottom, in pixels of the original image.
            image: which of the sample's images.

        Raises:
            InputError: no box, as ``edges`` says; or the original's size is unknown.

        Examples:
            >>> layout = model.inputs(sample).layouts[0]  # 224 x 224 pixels, 28 a token
            >>> layout.within((0, 0, 28, 56)) - layout.vision(0)[0]
            array([0, 8])
        """
        left, top, right, bottom = edges(box)
        here = self.vision(image)
        b = self.box[here]
        if np.isnan(b).any():
            raise InputError("the original image's size is unknown: pass images, not pixel_values")
        over = (b[:, 0] < right) & (b[:, 2] > left) & (b[:, 1] < bottom) & (b[:, 3] > top)
        return here[over]
