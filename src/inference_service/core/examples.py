"""Files to try a model with."""

from typing import NamedTuple


class ExampleFile(NamedTuple):
    """A picture, a recording, a text, or the body of a request (``request``).

    ``file`` is its name, ``title`` what people are shown, ``size`` is in bytes.
    """

    file: str
    title: str
    path: str
    size: int
    media_type: str
    request: bool = False


MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".txt": "text/plain",
    ".json": "application/json",
}
"""By the suffix of the file's name."""
