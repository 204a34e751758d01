"""Small models with pipelines, and files to send them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import onnx_models

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def save_colours(folder: Path, more: str = "") -> Path:
    """Says whether a picture is red, green or blue."""
    onnx_models.save(onnx_models.brightest_channel(), folder / "1" / "model.onnx")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    (folder / "model.toml").write_text(
        'description = "Which colour?"\n[pipeline]\nkind = "image-classification"\n'
        f'labels = "labels.txt"\nmean = 0\nstd = 1\n{more}'
    )
    return folder


def save_letters(folder: Path, more: str = "") -> Path:
    """Says which letter a text has most of."""
    onnx_models.save(onnx_models.letter_counter(), folder / "1" / "model.onnx")
    (folder / "model.toml").write_text(
        '[labels]\ncounts = ["x", "y", "z"]\n[pipeline]\nkind = "text-classification"\n'
        f'input = "characters"\nmax_length = 100\n{more}'
    )
    return folder


def picture(colour: str = "red", size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """A file that holds one colour."""
    return encoded(Image.new("RGB", size, COLOURS[colour]), kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photo(width: int = 300, height: int = 200) -> Image.Image:
    """Something with structure at all scales."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9) * np.cos(y / 7), np.sin((x + y) / 23), np.cos(x * y / 4000)]
    pixels = np.stack(waves, axis=2) * 100 + 128
    return Image.fromarray(pixels.astype(np.uint8))
