"""Files of images to arrays of pixels (extra ``image``). Pure.

What is read is decided by what the file holds, not by what the client calls it.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from inference_service.core.errors import InvalidInput
from inference_service.core.file_kinds import got, seems

try:
    import pi_heif
except ModuleNotFoundError:  # pragma: no cover
    _HEIF: tuple[str, ...] = ()
else:
    pi_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    _HEIF = ("HEIF",)

FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", *(("AVIF",) if features.check("avif") else ()), *_HEIF,
)  # fmt: skip
"""What is read here, in Pillow's names. HEIF is what iPhones take pictures in (HEIC)."""
_ALWAYS_READ = ("a JPEG image", "a PNG image", "a GIF image", "a WebP image")

_TYPES = {"HEIF": ("image/heic", "image/heif")}
MEDIA = tuple(one for kind in FORMATS for one in _TYPES.get(kind, (f"image/{kind.lower()}",)))
"""Their content types."""

Resize = Literal["crop", "pad", "stretch"]
Decoding = Literal["quick", "exact"]
"""Exact: as `Image.open(...).convert("RGB")` has it, which is what transformers does. Quick: a JPEG
at the smaller scale that suffices, and what is transparent on white."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

# A larger picture is refused below, by a limit that the model's owner sets, with a message.
Image.MAX_IMAGE_PIXELS = None
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_WHITE = (255, 255, 255, 255)
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
_BAND = 2**20  # pixels that are converted at a time
_SHARPER = 2  # a JPEG is decoded at a smaller scale if that still has this many times the pixels


def open_image(
    data: bytes,
    max_pixels: int,
    wanted: tuple[int, int] | None = None,
    decoding: Decoding = "quick",
) -> Image.Image:
    """The picture, upright, as RGB: the first frame of an animation.

    ``wanted`` (width, height) is what it will be made smaller to, if it will. Raises InvalidInput
    for what is no image, is cut short or has more than ``max_pixels``: before it is decoded.
    MemoryError goes through.
    """
    if not data:
        raise InvalidInput("the image is empty: 0 bytes")
    _check_size(webp_size(data), max_pixels)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # the decoders raise all sorts of things at what is no image
        raise InvalidInput(_no_image(data)) from error
    _check_size(image.size, max_pixels)
    if wanted is not None and image.format == "JPEG" and decoding == "quick":
        image.draft(None, (wanted[0] * _SHARPER, wanted[1] * _SHARPER))
    try:
        image.seek(0)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, on_white=decoding == "quick")
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidInput(f"the {image.format} image is damaged: {_words(error)}") from error


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP; 0 for other files. Pillow makes room for all of one twice when
    it opens it, before it tells the size. Source: RFC 9649, 2.5 to 2.7, and RFC 6386, 9.1."""
    kind = data[12:16] if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        both = int.from_bytes(data[21:25], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        both = int.from_bytes(data[26:30], "little")
        return both & 0x3FFF, both >> 16 & 0x3FFF
    return 0, 0


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InvalidInput(
            f"the image has {width} x {height} = {width * height} pixels, the limit is {max_pixels}"
        )


def _no_image(data: bytes) -> str:
    what = seems(data)
    if what.startswith(_ALWAYS_READ):
        return f"no image that can be read: it begins as {what} and is damaged"
    return f"no image that can be read: expected {', '.join(FORMATS)}{got(data)}"


def _words(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.partition("\n")[0]


def _rgb(image: Image.Image, *, on_white: bool) -> Image.Image:
    """A large picture takes hundreds of MiB: no copy is made of all of it but the result."""
    if image.mode in _DEEP:
        return _in_bands(image, _of_16_bits)
    transparent = image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info
    if transparent and on_white:
        return _in_bands(image, _over_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What ``convert`` makes of the picture, in RGB, some rows after the other."""
    width, height = image.size
    rows = max(1, _BAND // width)
    found = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        box = (0, top, width, min(top + rows, height))
        found.paste(convert(image.crop(box)), box)
    return found


def _of_16_bits(image: Image.Image) -> Image.Image:
    """The upper 8 bits of each channel, which Pillow would clip at 255."""
    deep = np.asarray(image).astype(np.int64)
    return Image.fromarray((deep.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")


def resized(
    image: Image.Image, size: tuple[int, int], how: Resize, interpolation: Interpolation,
    crop: float = 1.0,
) -> Image.Image:  # fmt: skip
    """The picture at ``size`` (width, height).

    ``crop`` takes the middle of it, in the shape of ``size`` and so large a share of what fits;
    ``pad`` shows all of it with black beside it; ``stretch`` shows all of it, out of shape.
    """
    chosen = _FILTERS[interpolation]
    if how == "stretch":
        return image.resize(size, chosen)
    width, height = image.size
    if how == "pad":
        scale = min(size[0] / width, size[1] / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        found = Image.new("RGB", size)
        place = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        found.paste(image.resize(inner, chosen), place)
        return found
    scale = min(width / size[0], height / size[1]) * crop
    box_width, box_height = size[0] * scale, size[1] * scale
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return image.resize(size, chosen, (left, top, left + box_width, top + box_height))


def middle(
    image: Image.Image, size: tuple[int, int], first: int | tuple[int, int],
    interpolation: Interpolation, max_pixels: int,
) -> Image.Image:  # fmt: skip
    """The middle of the picture made ``first``, in pixels: its shorter side, or width and height.

    What there is not enough of is filled up with black. Raises InvalidInput for a picture so much
    longer than wide that it would have more than ``max_pixels`` then. Source: transformers,
    image_transforms.py, ``get_resize_output_image_size`` and ``center_crop``.
    """
    width, height = made_first(image.size, first)
    if width * height > max_pixels:
        raise InvalidInput(
            f"the image of {image.width} x {image.height} pixels is too long for its width: made "
            f"{width} x {height} it has more pixels than the limit of {max_pixels}"
        )
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    made = image.resize((width, height), _FILTERS[interpolation])
    return made.crop((left, top, left + size[0], top + size[1]))


def made_first(size: tuple[int, int], first: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture of that size when it is made ``first``."""
    if not isinstance(first, int):
        return first
    width, height = size
    short, long = min(size), max(size)
    longer = int(first * long / short)
    return (first, longer) if width <= height else (longer, first)


class Sizing(NamedTuple):
    """What a picture is made to: see `resized`, or where ``first`` is given, `middle`.

    ``grey``: one channel instead of three.
    """

    max_pixels: int
    size: tuple[int, int]
    how: Resize
    interpolation: Interpolation
    crop: float
    grey: bool = False
    first: int | tuple[int, int] | None = None
    decoding: Decoding = "quick"


def whole(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The picture as `open_image` has it: [height, width, 3]. It may be given to `decoded`."""
    return np.asarray(open_image(data, max_pixels))


def sized(data: bytes, wanted: Sizing) -> NDArray[np.uint8]:
    """The picture as its model wants it: [height, width, channels]. For `decoded`."""
    size = wanted.size
    seen = smallest(size, wanted.crop) if wanted.how == "crop" else size
    if wanted.first is not None:
        seen = (wanted.first,) * 2 if isinstance(wanted.first, int) else wanted.first
    image = open_image(data, wanted.max_pixels, seen, wanted.decoding)
    if wanted.first is not None:
        image = middle(image, size, wanted.first, wanted.interpolation, wanted.max_pixels)
    else:
        image = resized(image, size, wanted.how, wanted.interpolation, wanted.crop)
    return np.asarray(image.convert("L") if wanted.grey else image).reshape(size[1], size[0], -1)


def smallest(size: tuple[int, int], crop: float) -> tuple[int, int]:
    """What a picture may be decoded down to, if the share ``crop`` of it becomes ``size``."""
    return round(size[0] / crop), round(size[1] / crop)


def normalised(
    pixels: NDArray[np.uint8], mean: Any, deviation: Any, *, channels_first: bool
) -> NDArray[np.float32]:
    """``(value / 255 - mean) / deviation`` of [height, width, channels], in float32."""
    channels = pixels.shape[2]
    scale = np.broadcast_to(1 / (255 * np.asarray(deviation, np.float64)), channels)
    offset = np.broadcast_to(-np.asarray(mean, np.float64) / deviation, channels)
    if channels_first:
        planes = np.empty((channels, *pixels.shape[:2]), np.float32)
        for channel, plane in enumerate(planes):
            np.multiply(pixels[:, :, channel], np.float32(scale[channel]), out=plane)
            np.add(plane, np.float32(offset[channel]), out=plane)
        return planes
    found = np.multiply(pixels, scale.astype(np.float32))
    found += offset.astype(np.float32)
    return found
