"""What data that can't be read seems to be, by its first bytes: words for error messages. Pure."""

import re

HEAD = 512
"""Bytes from the start that tell it."""

_CUT = " (files are changed by curl's -d: send them with --data-binary)"
_SIGNS = (
    (rb"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` fetches the file itself"),
    (rb"\s*<(!doctype html|html)", "a web page"),
    (rb"\s*<(\?xml|svg)", "XML"),
    (rb"%PDF-", "a PDF document"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"\x89PNG\r\n", "a PNG image"),
    (rb"\x89PNG", "a PNG image without its line breaks" + _CUT),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"(II\*\0|MM\0\*)", "a TIFF image"),
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"RIFF....WAVE", "a WAV recording"),
    (rb"RIFF....AVI ", "an AVI film"),
    (rb"fLaC", "a FLAC recording"),
    (rb"OggS", "an OGG recording"),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "an MP3 recording"),
    (rb"\x1aE\xdf\xa3", "a WebM or Matroska file"),
    (rb"....ftyp(avif|avis|heic|heix|mif1|msf1)", "an AVIF or HEIF image"),
    (rb"....ftyp", "an MP4 file"),
    (rb"\x1f\x8b", "gzip: say `Content-Encoding: gzip`, or unpack it"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x89HDF\r\n", "an HDF5 file (Keras)"),
    (rb"\x80[\x02-\x05]", "a pickle of Python"),
    (rb"....TFL3", "a TensorFlow Lite model"),
    (rb"data:", "a data: URL: it may stand in JSON"),
    (rb"(https?|file|s3|gs)://", "a URL: files are sent, not fetched"),
    (rb"\s*[{\[]", "JSON"),
)
_KNOWN = [(re.compile(sign, re.DOTALL | re.IGNORECASE), what) for sign, what in _SIGNS]
_UBJ = b"{L\0\0\0\0\0\0\0\x07learner"
"""How XGBoost's binary files begin."""
_SHOWN = 40  # characters of a text


def seems(data: bytes) -> str:
    """``a PDF document``, ``a text 'cat.jpg'``; "" for what is not known."""
    head = data[:HEAD]
    for sign, what in _KNOWN:
        if sign.match(head):
            return what
    text = head.decode("utf-8", "ignore").strip()
    if not text or not text.isprintable() or len(text.encode()) < len(head.strip()) - 3:
        return ""
    return f"a text '{text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}'"


def got(data: bytes) -> str:
    """The end of an error message: ``, got a PDF document``, or "" for what is not known."""
    what = seems(data)
    return f", got {what}" if what else ""


def boosted_trees(data: bytes) -> str:
    """``lightgbm`` or ``xgboost``, whose files may have any name; "" for others."""
    head = data[:HEAD]
    if head.startswith((b"tree\nversion=", b"tree\r\nversion=")):
        return "lightgbm"
    as_json = head.lstrip().startswith(b"{") and b'"learner"' in head
    return "xgboost" if as_json or head.startswith(_UBJ) else ""
