"""Files of images to pixels: every kind that people send, and what is no image."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference_service.core.errors import InvalidInput
from inference_service.pipelines import images
from tests.task_models import encoded, photo, picture

LIMIT = 1_000_000
WRITTEN = [kind for kind in images.FORMATS if kind != "HEIF"]  # Pillow itself writes these


def pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = images.open_image(data, LIMIT)
    assert image.mode == "RGB"
    found = image.getpixel(at)
    assert isinstance(found, tuple)
    return tuple(int(value) for value in found)


def near(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 3


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_format_is_read(kind: str) -> None:
    assert near(pixel(picture("green", kind=kind)), (0, 255, 0))


HEIC = (  # 64 x 48 of (10, 200, 30), as an iPhone writes it: HEVC in HEIF
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAB0AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34"
    "+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5"
    "uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAA"
    "AAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAA"
    "AAAAAAEAAQWBAgMFhAAAACVtZGF0AAAAGSgBrxOA+BDhp//LKP/7a/V/70Ar86KQz4A="
)


def test_pictures_of_phones_are_read() -> None:
    assert near(pixel(base64.b64decode(HEIC)), (10, 200, 30))
    assert {"image/avif", "image/heic"} <= set(images.MEDIA)
    with pytest.raises(InvalidInput, match="64 x 48 = 3072 pixels, the limit is 3000"):
        images.open_image(base64.b64decode(HEIC), 3000)
    with pytest.raises(InvalidInput, match=r"damaged|no image"):
        images.open_image(base64.b64decode(HEIC)[:-40], 5000)


def test_the_file_decides_what_it_is_not_its_name() -> None:
    assert images.open_image(picture(kind="WEBP"), LIMIT).size == (40, 30)


def test_grey_16_bits_and_palettes_become_colours() -> None:
    assert pixel(encoded(Image.new("L", (4, 4), 77))) == (77, 77, 77)
    deep = Image.fromarray(np.full((4, 4), 300 * 128, np.uint16))
    assert pixel(encoded(deep)) == (150, 150, 150), "not clipped at 255"
    palette = Image.new("RGB", (4, 4), (1, 2, 250)).quantize(4)
    assert near(pixel(encoded(palette)), (1, 2, 250))
    assert pixel(encoded(Image.new("1", (4, 4), 1))) == (255, 255, 255)


def test_what_is_transparent_is_white() -> None:
    assert pixel(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)))) == (255, 255, 255)
    assert near(pixel(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))), (127, 127, 127))
    assert pixel(encoded(Image.new("LA", (4, 4), (9, 0)))) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30])
    assert pixel(encoded(palette, transparency=0)) == (255, 255, 255)


def test_cmyk_becomes_rgb() -> None:
    found = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert near(found, (255, 0, 0))


def test_a_photograph_is_turned_upright() -> None:
    image = Image.new("RGB", (20, 10), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the right
    turned = images.open_image(encoded(image, "JPEG", exif=exif), LIMIT)
    assert turned.size == (10, 20)


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert near(pixel(data), (255, 0, 0))


def huge_png(width: int, height: int) -> bytes:
    """A few bytes that claim to be so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the image is empty: 0 bytes"),
        (b"hello", "no image that can be read: expected JPEG, PNG, WEBP, GIF, BMP"),
        (b"%PDF-1.7 " * 100, "no image that can be read"),
        (picture(kind="PNG")[:60], "the PNG image is damaged: "),
        (encoded(photo(), "JPEG")[:2000], "the JPEG image is damaged: image file is truncated"),
        (encoded(photo(), "WEBP")[:500], "no image that can be read|WEBP image is damaged"),
        (encoded(photo(), "TIFF"), "no image that can be read"),
        (huge_png(50_000, 50_000), "50000 x 50000 = 2500000000 pixels, the limit is 1000000"),
        (huge_png(900, 900), "the PNG image is damaged: "),
    ],
)
def test_what_is_no_image_is_told_so(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        images.open_image(data, LIMIT)


def test_every_byte_may_be_damaged() -> None:
    """An image, or InvalidInput: nothing else, whatever is in the file."""
    random = np.random.default_rng(3)
    for kind in WRITTEN:
        good = encoded(photo(40, 30), kind)
        for _ in range(60):
            data = bytearray(good)
            for place in random.integers(0, len(data), 3):
                data[place] = random.integers(256)
            try:
                assert images.open_image(bytes(data), LIMIT).mode == "RGB"
            except InvalidInput as error:
                assert str(error)


def test_crop_takes_the_middle_in_the_shape_that_is_wanted() -> None:
    image = Image.new("RGB", (300, 100), (255, 0, 0))
    image.paste((0, 0, 255), (100, 0, 200, 100))
    square = images.resized(image, (50, 50), "crop", "nearest")
    assert np.asarray(square).reshape(-1, 3).tolist() == [[0, 0, 255]] * 2500


def test_pad_shows_all_of_it_and_stretch_bends_it() -> None:
    image = Image.new("RGB", (300, 100), (255, 0, 0))
    padded = np.asarray(images.resized(image, (60, 60), "pad", "bilinear"))
    assert padded[30, 30].tolist() == [255, 0, 0]
    assert padded[5, 30].tolist() == padded[55, 30].tolist() == [0, 0, 0]
    stretched = np.asarray(images.resized(image, (60, 60), "stretch", "bilinear"))
    assert (stretched == [255, 0, 0]).all()


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_with_nearly_the_same_pixels() -> None:
    data = encoded(photo(2000, 1600), "JPEG", quality=95)
    quick = images.open_image(data, 10**7, (224, 224))
    assert quick.size < (2000, 1600)
    assert min(quick.size) >= 2 * 224
    small, exact = (
        np.asarray(images.resized(one, (224, 224), "crop", "bicubic"), np.float64)
        for one in (quick, images.open_image(data, 10**7))
    )
    assert np.abs(small - exact).mean() < 1


@pytest.mark.parametrize("channels_first", [True, False])
def test_normalising_is_what_it_says(channels_first: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = images.normalised(pixels, mean, deviation, channels_first=channels_first)
    wanted = (pixels / 255 - mean) / deviation
    if channels_first:
        wanted = wanted.transpose(2, 0, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_exact_decoding_is_pillow_s_own() -> None:
    clear = Image.new("RGBA", (4, 4), (9, 8, 7, 0))
    found = images.open_image(encoded(clear), LIMIT, decoding="exact")
    assert found.getpixel((0, 0)) == (9, 8, 7), "what is transparent keeps its colour"
    jpeg = encoded(photo(), "JPEG")
    whole = images.open_image(jpeg, LIMIT, (20, 20), decoding="exact")
    assert whole.size == (300, 200)
    assert images.open_image(jpeg, LIMIT, (20, 20)).size < whole.size


@pytest.mark.parametrize(
    ("size", "first", "made", "wanted"),
    [
        ((300, 200), 64, (96, 64), (56, 56)),
        ((200, 301), 64, (64, 96), (56, 56)),  # 96.32, cut off and not rounded
        ((33, 33), 64, (64, 64), (56, 56)),
        ((300, 200), (50, 70), (50, 70), (31, 45)),
    ],
)
def test_the_middle_is_cut_out_of_the_whole_picture_in_whole_pixels(
    size: tuple[int, int], first: Any, made: tuple[int, int], wanted: tuple[int, int]
) -> None:
    """Source: transformers, image_transforms.py."""
    picture = photo(*size)
    whole = np.asarray(picture.resize(made, Image.Resampling.BILINEAR))
    left, top = (made[0] - wanted[0]) // 2, (made[1] - wanted[1]) // 2
    found = np.asarray(images.middle(picture, wanted, first, "bilinear", LIMIT))
    assert np.array_equal(found, whole[top : top + wanted[1], left : left + wanted[0]])


def test_what_is_missing_of_the_middle_is_black() -> None:
    found = np.asarray(images.middle(Image.new("RGB", (9, 9), (5, 5, 5)), (8, 8), 5, "nearest", 99))
    assert found[:, :, 0].sum() == 5 * 25
    assert found[2:7, 2:7].min() == 5, "two before and one behind"


def test_a_ribbon_is_refused_before_it_is_made_larger() -> None:
    ribbon = Image.new("RGB", (1, 9000))
    with pytest.raises(InvalidInput, match="1 x 9000 pixels is too long for its width: made 64 x"):
        images.middle(ribbon, (56, 56), 64, "bilinear", LIMIT)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
def test_the_size_of_a_webp_is_read_before_room_is_made_for_it(
    *, lossless: bool, alpha: bool
) -> None:
    data = encoded(Image.new("RGBA" if alpha else "RGB", (300, 7), 9), "WEBP", lossless=lossless)
    assert images.webp_size(data) == (300, 7)
    with pytest.raises(InvalidInput, match="300 x 7 = 2100 pixels, the limit is 2099"):
        images.open_image(data, 2099)
    assert images.webp_size(picture(kind="PNG")) == (0, 0)
    assert images.webp_size(data[:20]) in {(0, 0), (1, 1)}


@pytest.mark.parametrize("alpha", [True, False])
def test_what_lacks_memory_is_no_damaged_picture(
    monkeypatch: pytest.MonkeyPatch, *, alpha: bool
) -> None:
    def none_left(*_: Any, **__: Any) -> None:
        raise MemoryError

    data = picture(kind="PNG") if alpha else picture(kind="WEBP")
    monkeypatch.setattr(Image.Image if alpha else Image, "load" if alpha else "open", none_left)
    with pytest.raises(MemoryError):
        images.open_image(data, LIMIT)


def test_bands_are_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    colours = Image.fromarray(rng.integers(0, 256, (50, 31, 4), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (50, 31), np.uint16))
    grey = colours.convert("LA")
    whole = [images.whole(encoded(one), LIMIT) for one in (colours, deep, grey)]
    for pixels in (1, 100, 31 * 49):
        monkeypatch.setattr(images, "_BAND", pixels)
        for one, expected in zip((colours, deep, grey), whole, strict=True):
            np.testing.assert_array_equal(images.whole(encoded(one), LIMIT), expected)
