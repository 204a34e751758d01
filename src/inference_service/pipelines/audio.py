"""Files of sound to samples (extra ``audio``). Pure."""

from io import BytesIO
from typing import Annotated, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from inference_service.core.errors import InvalidInput

MEDIA = (
    "audio/wav", "audio/x-wav", "audio/wave", "audio/flac", "audio/x-flac", "audio/ogg",
    "audio/mpeg", "audio/mp3",
)  # fmt: skip
"""Content types of what is read: WAV, FLAC, OGG (Vorbis, Opus) and MP3."""

_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG"})
_BLOCK = 2**16  # frames
_LOWEST, _HIGHEST = 1_000, 384_000  # Hz
_MOST_CHANNELS = 64
_WIDEST = 32_768  # of 16 bits


class SoundFormat(BaseModel):
    """What a stream of samples is, mono."""

    rate: Annotated[int, Field(ge=_LOWEST, le=_HIGHEST)] = Field(
        16_000, description="samples per second"
    )
    encoding: Literal["s16le", "f32le"] = Field(
        "s16le", description="16-bit integers or 32-bit floats from -1 to 1, little-endian"
    )


class SampleStream:
    """Bytes of a `SoundFormat` as they come to samples at ``rate``."""

    def __init__(self, given: SoundFormat, rate: int, most_seconds: float) -> None:
        self._dtype = np.dtype("<i2" if given.encoding == "s16le" else "<f4")
        self._most = round(most_seconds * given.rate)
        self._limit = most_seconds
        self._count = 0
        self._rest = b""
        self._resample = None
        if given.rate != rate:
            self._resample = soxr.ResampleStream(given.rate, rate, 1, "float32", "HQ")

    def push(self, data: bytes) -> NDArray[np.float32]:
        """The samples that are complete now. A sample may lie across two messages.

        Raises InvalidInput for NaN, and for more than the limit.
        """
        data = self._rest + data
        whole = len(data) // self._dtype.itemsize * self._dtype.itemsize
        self._rest = data[whole:]
        given = np.frombuffer(data[:whole], self._dtype)
        self._count += len(given)
        if self._count > self._most:
            raise InvalidInput(f"the audio is longer than the limit of {self._limit:g} s")
        samples = given.astype(np.float32)
        if self._dtype.kind == "i":
            samples /= _WIDEST
        elif not np.isfinite(samples).all():
            raise InvalidInput("the audio holds NaN or infinite samples")
        return self._resampled(samples, last=False)

    def finish(self) -> NDArray[np.float32]:
        """What the resampler still holds. Raises InvalidInput for half a sample."""
        if self._rest:
            size = self._dtype.itemsize
            raise InvalidInput(
                f"the audio ends within a sample: {len(self._rest)} of {size} bytes are there"
            )
        return self._resampled(np.zeros(0, np.float32), last=True)

    def _resampled(self, samples: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        if self._resample is None:
            return samples
        found: NDArray[np.float32] = self._resample.resample_chunk(samples, last)
        return found


def read_audio(data: bytes, rate: int, most_seconds: float) -> NDArray[np.float32]:
    """The mean of all channels at ``rate`` samples per second, from -1 to 1.

    Raises InvalidInput for what is no sound, is empty, or is longer than ``most_seconds``: at most
    that much is decoded, whatever the file says of itself.
    """
    if not data:
        raise InvalidInput("the audio is empty: 0 bytes")
    try:
        with soundfile.SoundFile(BytesIO(data)) as file:
            return _read(file, rate, most_seconds)
    except soundfile.LibsndfileError as error:
        raise InvalidInput(
            f"no audio that can be read: expected WAV, FLAC, OGG or MP3 ({_words(error)})"
        ) from error


def _words(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().rstrip(".")


def _read(file: soundfile.SoundFile, rate: int, most_seconds: float) -> NDArray[np.float32]:
    given, channels = file.samplerate, file.channels
    if file.format not in _FORMATS:
        raise InvalidInput(
            f"no audio that can be read: expected WAV, FLAC, OGG or MP3, got {file.format}"
        )
    if not _LOWEST <= given <= _HIGHEST:
        raise InvalidInput(f"expected {_LOWEST} to {_HIGHEST} samples per second, got {given}")
    if channels > _MOST_CHANNELS:
        raise InvalidInput(f"the audio has {channels} channels, the limit is {_MOST_CHANNELS}")
    most = int(most_seconds * given)
    pieces, count = [], 0
    while True:
        block = file.read(_BLOCK, dtype="float32", always_2d=True)
        if not len(block):
            break
        count += len(block)
        if count > most:
            raise InvalidInput(f"the audio is longer than the limit of {most_seconds:g} s")
        pieces.append(block.mean(axis=1, dtype=np.float32) if channels > 1 else block[:, 0])
    if not count:
        raise InvalidInput("the audio is empty: it has no samples")
    samples = np.concatenate(pieces)
    if not np.isfinite(samples).all():
        raise InvalidInput("the audio holds NaN or infinite samples")
    if given == rate:
        return samples
    found: NDArray[np.float32] = soxr.resample(samples, given, rate, "HQ")
    return found
