"""What browsers and phones record: WebM, MP4, and files of unknown length."""

import struct
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from inference_service.core.errors import InvalidInput
from inference_service.pipelines import audio, containers
from tests.pipelines.test_speech import file, tone


def is_the_tone(found: NDArray[np.float32]) -> bool:
    """440 Hz, as loud as it was, and nothing else of note; codecs ring at the ends."""
    middle = found[2000:6000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    hertz = np.fft.rfftfreq(len(middle), 1 / 16_000)
    near = np.abs(hertz - 440) < 20
    level = float(np.sqrt(np.mean(middle.astype(np.float64) ** 2)))
    return (
        abs(level - 0.5 / 2**0.5) < 0.02
        and (spectrum[near] ** 2).sum() / (spectrum**2).sum() > 0.97
    )


def recorded(
    container: str,
    codec: str,
    rate: int = 48_000,
    layout: str = "mono",
    seconds: float = 0.5,
    title: str = "",
) -> bytes:
    """A tone as FFmpeg writes it."""
    out = BytesIO()
    with av.open(out, "w", format=container) as target:
        target.metadata["title"] = title
        stream: Any = target.add_stream(codec, rate=rate)
        stream.layout = layout
        samples = tone(seconds, rate)[None].repeat(2 if layout == "stereo" else 1, axis=0)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            target.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "layout"),
    [
        ("webm", "libopus", "mono"),
        ("webm", "libopus", "stereo"),
        ("matroska", "aac", "mono"),
        ("mp4", "aac", "mono"),
        ("ipod", "aac", "stereo"),  # .m4a
        ("mov", "aac", "mono"),
        ("3gp", "aac", "mono"),
        ("adts", "aac", "mono"),
    ],
)
def test_what_browsers_and_phones_record_is_read(container: str, codec: str, layout: str) -> None:
    found = audio.read_audio(recorded(container, codec, layout=layout), 16_000, 10)
    assert abs(len(found) - 8000) < 1600, "the codec's own delay at most"
    assert is_the_tone(found), "channels are averaged, not added"


def test_a_title_that_is_not_utf8_does_not_matter() -> None:
    titled = recorded("mp4", "aac", title="Grusse!")
    assert titled.count(b"Grusse!") == 1
    latin = titled.replace(b"Grusse!", "Gr\u00fc\u00dfe!!".encode("latin-1"))
    assert is_the_tone(audio.read_audio(latin, 16_000, 10))


def wav(samples: NDArray[np.float32], whole: int | None, length: int) -> bytes:
    found = bytearray(file(samples))
    place = bytes(found).index(b"data") + 4
    if whole is not None:
        struct.pack_into("<I", found, 4, whole)
    struct.pack_into("<I", found, place, length)
    return bytes(found)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_was_written_to_a_pipe_has_the_samples_that_are_there(length: int) -> None:
    found = audio.read_audio(wav(tone(), length, length), 16_000, 10)
    assert len(found) == 8000
    assert is_the_tone(found)


def test_a_wav_that_says_rightly_that_it_has_no_samples_is_empty() -> None:
    empty = file(np.zeros(0, np.float32)) + b"LIST\x04\x00\x00\x00INFO"
    with pytest.raises(InvalidInput, match="it has no samples"):
        audio.read_audio(empty[:4] + struct.pack("<I", len(empty) - 8) + empty[8:], 16_000, 10)


def test_a_flac_of_unknown_length_is_read() -> None:
    flac = bytearray(file(tone(), format="FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    assert is_the_tone(audio.read_audio(bytes(flac), 16_000, 10))


def test_no_more_is_decoded_than_the_limit() -> None:
    with pytest.raises(InvalidInput, match="longer than the limit of 2 s"):
        audio.read_audio(recorded("webm", "libopus", seconds=3), 16_000, 2)


def test_packets_without_sound_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_FEWEST_PACKETS", 5)
    sound = containers.read_container(recorded("webm", "libopus"), "matroska", 0.001)
    with pytest.raises(InvalidInput, match="has more than 6 packets"):
        list(sound.blocks)


@pytest.mark.parametrize("kept", [5, 12, 40, 200])
@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("mp4", "aac")])
def test_what_is_cut_short_is_refused_in_words(container: str, codec: str, kept: int) -> None:
    with pytest.raises(InvalidInput, match=r"no audio that can be read|has no samples"):
        audio.read_audio(recorded(container, codec)[:kept], 16_000, 10)


def test_a_list_of_files_is_never_opened() -> None:
    """FFmpeg would take these for playlists and open what they name."""
    for text in (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile x\n",
    ):
        with pytest.raises(InvalidInput, match="no audio that can be read"):
            audio.read_audio(text, 16_000, 10)


def test_a_film_without_sound_is_told() -> None:
    out = BytesIO()
    with av.open(out, "w", format="matroska") as target:
        stream: Any = target.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame.reformat(format="yuv420p")), *stream.encode(None)]:
            target.mux(packet)
    with pytest.raises(InvalidInput, match="the file has no stream of sound"):
        audio.read_audio(out.getvalue(), 16_000, 10)


def test_chunks_before_the_samples_are_passed_over() -> None:
    plain = file(tone())
    place = plain.index(b"data")
    odd = plain[:place] + b"LIST\x03\x00\x00\x00abc\x00" + plain[place:]
    streamed = bytearray(odd)
    struct.pack_into("<I", streamed, bytes(streamed).index(b"data") + 4, 0)
    assert len(audio.read_audio(bytes(streamed), 16_000, 10)) == 8000
