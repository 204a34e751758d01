"""Containers that browsers and phones record into: WebM, MP4 and their kin (the library ``av``).

The demultiplexer is chosen here, by the first bytes of the file, and never by FFmpeg: some of its
formats (playlists, lists of files) make it open other files and addresses. Pure.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference_service.core.errors import InvalidInput

MEDIA = (
    "audio/webm", "video/webm", "audio/mp4", "video/mp4", "audio/m4a", "audio/x-m4a", "audio/aac",
    "audio/x-matroska", "audio/3gpp", "video/quicktime",
)  # fmt: skip
"""Content types of what is read."""

_MATROSKA = b"\x1a\x45\xdf\xa3"  # EBML: RFC 8794, 11.2.1
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"})
_PACKETS_A_SECOND = 1_000  # Opus has at most 400, of 2.5 ms
_FEWEST_PACKETS = 10_000


class Sound(NamedTuple):
    """A stream of blocks [samples] of all channels' mean, -1 to 1, at ``rate``."""

    rate: int
    channels: int
    blocks: Iterator[NDArray[np.float32]]


def container_of(data: bytes) -> str:
    """FFmpeg's name of the demultiplexer for a file that begins so; "" where there is none."""
    if data.startswith(_MATROSKA):
        return "matroska"
    if data[4:8] in _BOXES:  # ISO/IEC 14496-12: length, type
        return "mov"
    # ADTS (ISO/IEC 13818-7): 12 bits of sync, then layer 0, which tells it from MP3.
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return "aac"
    if data.startswith(b"fLaC"):  # libsndfile reads it, but not of unknown length
        return "flac"
    return ""


def read_container(data: bytes, kind: str, most_seconds: float) -> Sound:
    """The first stream of sound in the file, decoded bit by bit.

    What a file says of its own length is not believed: the caller counts, and there is a bound on
    the packets that bring nothing. Raises InvalidInput, also while the blocks are read, and
    ModuleNotFoundError without the library.
    """
    import av

    try:
        container: Any = av.open(BytesIO(data), format=kind, **_lenient(av))
    except (av.FFmpegError, ValueError) as error:
        raise _damaged(error) from error
    streams = container.streams.audio
    if not streams:
        container.close()
        raise InvalidInput("no audio that can be read: the file has no stream of sound")
    context = streams[0].codec_context
    if context is None:
        container.close()
        raise InvalidInput("no audio that can be read: the codec of its sound is not known")
    context.thread_count = 1  # the threads are the pool's
    most = _FEWEST_PACKETS + round(most_seconds * _PACKETS_A_SECOND)
    return Sound(context.sample_rate, context.channels, _blocks(container, streams[0], most))


def _blocks(container: Any, stream: Any, most: int) -> Iterator[NDArray[np.float32]]:
    import av

    rate = stream.codec_context.sample_rate
    resampler = av.AudioResampler(format="fltp")
    try:
        for count, packet in enumerate(container.demux(stream)):
            if count > most:
                raise InvalidInput(f"the audio has more than {most} packets")
            for frame in packet.decode():
                if frame.sample_rate != rate:
                    raise InvalidInput("the audio changes its sample rate")
                for plain in resampler.resample(frame):
                    yield plain.to_ndarray().mean(axis=0, dtype=np.float32)
    except (av.FFmpegError, ValueError) as error:
        raise _damaged(error) from error
    finally:
        container.close()


def _lenient(av: Any) -> Any:
    """Titles that are not UTF-8 are no reason to refuse. PyAV 19 reads them without the option."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def _damaged(error: Exception) -> InvalidInput:
    words = getattr(error, "strerror", "") or str(error) or type(error).__name__
    return InvalidInput(f"no audio that can be read: it is damaged ({words})")
