"""What data that can't be read seems to be."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from inference_service.core.file_kinds import seems


def encoded(kind: str) -> bytes:
    written = BytesIO()
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(written, kind)
    return written.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a pointer of Git LFS: `git"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (encoded("JPEG"), "a JPEG image"),
        (encoded("PNG"), "a PNG image"),
        (encoded("PNG").replace(b"\r", b"").replace(b"\n", b""), "a PNG image without its line"),
        (encoded("WEBP"), "a WebP image"),
        (encoded("TIFF"), "a TIFF image"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a WAV recording"),
        (b"ID3\x04", "an MP3 recording"),
        (b"\0\0\0\x1cftypM4A ", "an MP4 file"),
        (b"\0\0\0\x1cftypheic", "an AVIF or HEIF image"),
        (b"\x1f\x8b\x08", "gzip: say"),
        (b"\x80\x04\x95", "a pickle of Python"),
        (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        (b"https://example.com/cat.jpg", "a URL: files are sent, not fetched"),
        (json.dumps({"image": 1}).encode(), "JSON"),
        ("katzenbild für später.jpg\n".encode(), "a text 'katzenbild für später.jpg'"),
        (b"x" * 999, "a text 'xxxx"),
        ("ü".encode() * 999, "a text 'üüü"),  # cut within a letter
        (b"", ""),
        (b"\0\0\0\0", ""),
        (bytes(range(128, 250)), ""),
    ],
)
def test_it_is_told_by_the_first_bytes(data: bytes, what: str) -> None:
    assert seems(data).startswith(what)
    assert bool(seems(data)) == bool(what)
