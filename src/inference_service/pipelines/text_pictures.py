"""Pictures of text to what three models see of them (extra ``image``). Pure.

A picture of some kB may have hundreds of MiB of pixels: those stay where it is decoded. So
`for_detector` and `lines` may be given to `decoded`, and each decodes the file itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference_service.core.errors import InvalidInput
from inference_service.pipelines.images import open_image

GRID = 32  # the detector's sides are multiples of it
HEIGHT = 48  # of a line, for the other two models
_THIN = 8  # a picture this many times as wide as it is high gets room above and below
_UPRIGHT_FROM = 1.5  # a line this many times as high as it is wide is turned
_NARROWEST, _STEP, _WIDEST = 320, 160, 3200  # of a line for the recogniser

Pixels = NDArray[np.uint8]
"""[height, width, 3]: red, green, blue."""


class Limits(NamedTuple):
    """Of the file, and of the sides of what the detector sees, in pixels."""

    max_pixels: int
    shortest: int
    longest: int


def for_detector(data: bytes, limits: Limits) -> tuple[Pixels, tuple[int, int], tuple[int, int]]:
    """What the detector sees, the size of the whole picture (width, height), and of that with room.

    Raises InvalidInput.
    """
    image = open_image(data, limits.max_pixels)
    size = image.size
    image = _in_room(image, room(size, limits.max_pixels))
    wanted = detector_size(image.size, limits.shortest, limits.longest)
    seen = np.asarray(image.resize(wanted, Image.Resampling.BILINEAR))
    return seen, size, image.size


def lines(
    data: bytes, max_pixels: int, corners: Sequence[NDArray[np.float64]], narrow: int
) -> tuple[list[Pixels], list[Pixels]]:
    """The lines within these corners (see `Box`) of the picture with room, level and `HEIGHT`
    pixels high: as wide as they are, and at most ``narrow`` pixels wide (0: none of these)."""
    image = open_image(data, max_pixels)
    image = _in_room(image, room(image.size, max_pixels))
    found: tuple[list[Pixels], list[Pixels]] = [], []
    for one in corners:
        line = cut_out(image, one)
        found[0].append(_made(line, _WIDEST))
        if narrow:
            found[1].append(_made(line, narrow))
    return found


def room(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """The size of a picture with room: a thin one has as much again above and below.

    Raises InvalidInput for one so thin that it would have more than ``max_pixels``.
    """
    width, height = size
    if width <= _THIN * height and height > GRID:
        return size
    wanted = max(width // _THIN, GRID) * 2
    if width * wanted > max_pixels:
        raise InvalidInput(
            f"the image of {width} x {height} pixels is too wide for its height: with room above "
            f"and below, {width} x {wanted}, it has more pixels than the limit of {max_pixels}"
        )
    return width, wanted


def above(size: tuple[int, int], with_room: tuple[int, int]) -> int:
    """How much of the room is above the picture."""
    return (with_room[1] - size[1]) // 2


def _in_room(image: Image.Image, wanted: tuple[int, int]) -> Image.Image:
    if image.size == wanted:
        return image
    found = Image.new("RGB", wanted)
    found.paste(image, (0, above(image.size, wanted)))
    return found


def detector_size(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Width and height of what the detector sees: sides within the limits, on the grid."""
    scale = max(1.0, shortest / min(size))
    scale = min(scale, longest / max(size))
    width, height = (max(round(side * scale / GRID), 1) * GRID for side in size)
    return width, height


def cut_out(image: Image.Image, corners: NDArray[np.float64]) -> Image.Image:
    """The line, level."""
    corners = corners.clip(0, (image.width - 1, image.height - 1))
    sides = np.hypot(*(corners - np.roll(corners, -1, axis=0)).T)  # top, right, bottom, left
    size = max(1, int(max(sides[0], sides[2]))), max(1, int(max(sides[1], sides[3])))
    quad = corners[[0, 3, 2, 1]].ravel().tolist()
    found = image.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    if size[1] >= _UPRIGHT_FROM * size[0]:
        return found.transpose(Image.Transpose.ROTATE_90)
    return found


def _made(line: Image.Image, widest: int) -> Pixels:
    own = min(int(np.ceil(HEIGHT * line.width / line.height)), widest)
    return np.asarray(line.resize((own, HEIGHT), Image.Resampling.BILINEAR))


def line_width(own: int) -> int:
    """How wide the row of a line is that is itself so wide: as wide as those of others."""
    steps = -(-max(own - _NARROWEST, 0) // _STEP)
    return min(_NARROWEST + steps * _STEP, _WIDEST)
