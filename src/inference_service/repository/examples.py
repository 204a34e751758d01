"""Files to try a model with: the folder ``examples`` beside a model."""

from pathlib import Path

_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".wav", ".flac", ".mp3", ".ogg", ".txt"}
)
_LARGEST = 64 * 1024  # bytes; it is written into the OpenAPI document


def example_file(version: Path) -> bytes:
    """The smallest example beside a version's folder or in it; b"" where there is none."""
    for folder in (version / "examples", version.parent / "examples"):
        try:
            files = [one for one in folder.iterdir() if one.suffix.lower() in _SUFFIXES]
            sizes = [(one.stat().st_size, one) for one in files if one.is_file()]
            found = [(size, one) for size, one in sizes if 0 < size <= _LARGEST]
            if found:
                return min(found)[1].read_bytes()
        except OSError:  # there is none, or none that can be read
            continue
    return b""
