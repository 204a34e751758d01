"""The shipped recogniser on recordings of people, by file, in streams and through OpenAI's API."""

import io
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from socket import SHUT_RDWR
from threading import Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import requests
import soundfile
from openai import OpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.conftest import MODELS, RunningServer, serving, start_server
from tests.support import LONGEST_WAIT

EXAMPLES = MODELS / "transcription" / "examples"
TRANSCRIPTS: dict[str, str] = json.loads((EXAMPLES / "transcripts.json").read_text())
SHORT = EXAMPLES / "cards-001.flac"


def words(text: str) -> list[str]:
    """As the transcripts are written: without punctuation."""
    return re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister")).split()


def wrong(found: list[str], wanted: list[str]) -> int:
    """How many words must be changed, added or left out."""
    row = list(range(len(wanted) + 1))
    for place, word in enumerate(found, 1):
        before, row[0] = row[0], place
        for index, other in enumerate(wanted, 1):
            best = min(row[index] + 1, row[index - 1] + 1, before + (word != other))
            before, row[index] = row[index], best
    return row[-1]


def transcribed(server: RunningServer, name: str) -> Any:
    data = (EXAMPLES / name).read_bytes()
    response = requests.post(f"{server.url}/models/transcription/transcribe", data=data, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()["results"][0]


def test_what_people_say_is_written_down(server: RunningServer) -> None:
    """Two voices that the model was not made with. At most one word in ten is wrong."""
    errors = sum(
        wrong(words(transcribed(server, name)["text"]), words(wanted))
        for name, wanted in TRANSCRIPTS.items()
    )
    total = sum(len(words(wanted)) for wanted in TRANSCRIPTS.values())
    assert total > 80
    assert errors <= total / 10


def test_clients_share_runs_and_get_the_answers_that_they_would_get_alone(
    server: RunningServer, serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """Told to wait, since whether sharing pays depends on the machine that measures it."""
    waiting = tmp_path / "transcription"
    waiting.mkdir()
    (tmp_path / "speech").symlink_to(MODELS / "speech")
    for part in ("1", "tokenizer.json"):
        (waiting / part).symlink_to(MODELS / "transcription" / part)
    described = (MODELS / "transcription" / "model.toml").read_text()
    (waiting / "model.toml").write_text(
        described.replace("[batching]", "[batching]\nmax_batch_size = 12\nmax_queue_delay = 2.0")
    )
    sharing = serve(tmp_path, INFERENCE_SERVICE_REPOSITORY__FOLLOW_LINKS="true")
    names = ["cards-001.flac", "cards-003.flac", "cards-005.flac", "austen-0930.flac"]
    before = rows_and_runs(sharing)
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda name: (name, transcribed(sharing, name)), names * 6))
    rows, runs = (b - a for a, b in zip(before, rows_and_runs(sharing), strict=True))
    alone = {name: transcribed(server, name) for name in names}
    assert all(result == alone[name] for name, result in together)
    assert rows == len(together)
    assert runs <= rows / 2


def rows_and_runs(server: RunningServer, model: str = "transcription") -> tuple[float, float]:
    text = requests.get(server.url + "/metrics", timeout=20).text

    def value(part: str) -> float:
        found = re.search(
            rf'^inference_batch_rows_{part}{{model="{model}".*}} (\S+)', text, re.MULTILINE
        )
        return float(found[1]) if found else 0.0

    return value("sum"), value("count")


def pcm(name: str) -> tuple[bytes, int]:
    samples, rate = soundfile.read(EXAMPLES / name, dtype="int16")
    return samples.astype("<i2").tobytes(), rate


def stream(server: RunningServer, path: str, query: str = "") -> Any:
    return connect(f"{server.url.replace('http', 'ws')}/models/{path}/stream{query}")


def events_of(socket: Any) -> list[Any]:
    """All that come until it is closed, for whatever reason."""
    events = []
    with suppress(ConnectionClosed):
        while True:
            events.append(json.loads(socket.recv(timeout=20)))
    return events


def played(server: RunningServer, path: str, data: bytes, query: str, size: int) -> list[Any]:
    """All events of a stream that comes in messages of ``size`` bytes."""
    with stream(server, path, query) as socket:
        for start in range(0, len(data), size):
            socket.send(data[start : start + size])
        socket.send('{"event": "end"}')
        events = [json.loads(message) for message in socket]
        assert socket.close_code == 1000
        return events


def test_a_stream_tells_words_while_it_goes_on(server: RunningServer) -> None:
    data, rate = pcm("austen-0930.flac")
    silence = bytes(2 * rate)
    with stream(server, "transcription/transcribe", f"?rate={rate}&partial=1") as socket:
        for start in range(0, len(data), 3200):
            socket.send(data[start : start + 3200])
        socket.send(silence)
        events: list[Any] = []
        while not events or events[-1]["event"] != "segment":  # long before the stream's end
            events.append(json.loads(socket.recv(timeout=20)))
        socket.send('{"event": "end"}')
        events += [json.loads(message) for message in socket]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "speech_started"
    assert "partial" in kinds
    assert kinds[-1] == "end"
    assert wrong(words(events[-1]["text"]), words(TRANSCRIPTS["austen-0930.flac"])) <= 1


@pytest.mark.parametrize("size", [500, 6400, 200_000])
def test_segments_are_those_of_the_file_however_it_is_cut(server: RunningServer, size: int) -> None:
    data, rate = pcm("austen-0870.flac")
    answer = requests.post(
        f"{server.url}/models/speech/detect",
        data=(EXAMPLES / "austen-0870.flac").read_bytes(),
        timeout=60,
    ).json()
    events = played(server, "speech/detect", data, f"?rate={rate}", size)
    found = [one for one in events if one["event"] == "segment"]
    assert len(found) == len(answer["results"][0]["segments"])
    for one, other in zip(found, answer["results"][0]["segments"], strict=True):
        assert one["start"] == pytest.approx(other["start"], abs=0.04)
        assert one["end"] == pytest.approx(other["end"], abs=0.04)


@pytest.mark.parametrize(
    ("path", "query", "status", "message"),
    [
        ("transcription/transcribe", "?rate=7", 400, "rate: expected a number of at least"),
        ("transcription/transcribe", "?speed=2", 400, "speed: no such parameter; there are "),
        ("transcription/transcribe", "?language=de", 400, "language: the model's language is 'en'"),
        ("digits/classify", "", 404, "model 'digits' can't classify a stream"),
        ("speech/transcribe", "", 404, "what it can stream: 'detect'"),
        ("nobody/detect", "", 404, "unknown model: 'nobody'"),
    ],
)
def test_what_is_wrong_with_a_stream_is_told_before_it_begins(
    server: RunningServer, path: str, query: str, status: int, message: str
) -> None:
    with pytest.raises(InvalidStatus) as refused, stream(server, path, query):
        pass
    assert refused.value.response.status_code == status
    assert message in json.loads(refused.value.response.body)["error"]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        (["hello"], 'expected binary messages, or {"event": "end"}'),
        ([b"\0", '{"event": "end"}'], "ends within a sample: 1 of 2 bytes are there"),
        ([bytes(2**19)] * 40, "the audio is longer than the limit of 600 s"),
    ],
)
def test_a_stream_that_can_not_go_on_says_why(
    server: RunningServer, messages: list[Any], error: str
) -> None:
    with stream(server, "speech/detect", "?rate=8000") as socket:
        with suppress(ConnectionClosed):  # it may say so before all is sent
            for message in messages:
                socket.send(message)
        last = events_of(socket)[-1]
        assert last["event"] == "error"
        assert error in last["error"]
        assert socket.close_code == 1008


@pytest.fixture(scope="module")
def strict_server() -> Iterator[RunningServer]:
    with serving(
        MODELS / "speech", INFERENCE_SERVICE_LIMITS__MAX_STREAMS="1",
        INFERENCE_SERVICE_LIMITS__STREAM_IDLE_TIMEOUT="3",
        INFERENCE_SERVICE_LIMITS__MAX_MESSAGE_BYTES="1000",
    ) as running:  # fmt: skip
        yield running


def test_streams_are_limited_in_number_size_and_patience(strict_server: RunningServer) -> None:
    with stream(strict_server, "speech/detect") as socket:
        with pytest.raises(InvalidStatus) as refused, stream(strict_server, "speech/detect"):
            pass
        assert refused.value.response.status_code == 503
        assert "1 streams are open, the limit is 1" in refused.value.response.body.decode()
        metrics = requests.get(strict_server.url + "/metrics", timeout=20).text
        assert "inference_streams 1.0" in metrics
        (last,) = events_of(socket)
        assert last == {"event": "error", "error": "nothing came for 3 s"}
        assert socket.close_code == 1001
    with stream(strict_server, "speech/detect") as socket:
        socket.send(bytes(1001))
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1009


def test_who_sends_faster_than_he_is_heard_is_held_back(server: RunningServer) -> None:
    """Nine minutes at once: when the last of it is sent, much of it has been answered already."""
    data, rate = pcm(SHORT.name)
    piece = data + bytes(2 * rate)
    count = 540 * 2 * rate // len(piece)
    heard: list[float] = []
    when_sent: list[float] = []

    with stream(server, "speech/detect", f"?rate={rate}") as socket:

        def send() -> None:
            for _ in range(count):
                socket.send(piece)
            when_sent.append(heard[-1] if heard else 0.0)
            socket.send('{"event": "end"}')

        sender = Thread(target=send)
        sender.start()
        for message in socket:
            event = json.loads(message)
            heard.append(event.get("end") or event.get("time") or event["seconds"])
        sender.join(60)
    assert heard[-1] == pytest.approx(540, abs=5)
    assert when_sent[0] > 60  # seconds of sound; the rest is in the kernel's buffers


def test_a_model_without_its_detector_says_what_it_needs() -> None:
    running = start_server(MODELS / "transcription")
    try:
        response = requests.post(
            f"{running.url}/models/transcription/transcribe", data=SHORT.read_bytes(), timeout=60
        )
        assert response.status_code == 503
        assert "needs the model 'speech', which isn't loaded" in response.json()["error"]
    finally:
        running.kill()


def test_openai_s_client_gets_text_times_and_subtitles(server: RunningServer) -> None:
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    wanted = transcribed(server, SHORT.name)["text"]

    def create(**fields: Any) -> Any:
        with SHORT.open("rb") as sound:
            return client.audio.transcriptions.create(file=sound, model="transcription", **fields)

    assert create().text == wanted
    assert create(response_format="text").strip() == wanted
    told = create(response_format="verbose_json", timestamp_granularities=["segment"])
    assert told.language == "en"
    segment = told.segments[0]
    assert segment.text == wanted
    assert (segment.seek, segment.tokens, segment.temperature) == (
        round(100 * segment.start),
        [],
        0,
    )
    assert (segment.avg_logprob, segment.no_speech_prob) == (0, 0)
    assert 0 < segment.compression_ratio < 1
    assert told.usage.seconds == told.duration
    assert create(prompt="cards").usage.type == "duration"
    assert create(temperature=0.2, language="en-GB", chunking_strategy="auto").text == wanted
    assert create(language="EN", keywords=["cards", "clubs"]).text == wanted
    assert create(extra_body={"timestamp_granularities": "segment"}).text == wanted
    for with_response in (
        client.audio.transcriptions.with_streaming_response,
        client.audio.transcriptions.with_raw_response,
    ):
        made: Any = with_response.create(file=SHORT.read_bytes(), model="transcription")
        with made if hasattr(made, "__enter__") else nullcontext(made) as response:
            assert response.parse().text == wanted
    with client.audio.transcriptions.with_streaming_response.create(
        file=SHORT.read_bytes(), model="transcription", stream=True
    ) as response:
        assert [one.type for one in response.parse()][-1] == "transcript.text.done"
    events = list(create(stream=True))
    assert [one.type for one in events] == ["transcript.text.delta", "transcript.text.done"]
    assert "".join(one.delta for one in events[:-1]) == events[-1].text == wanted
    lines = create(response_format="srt").splitlines()
    assert lines[0] == "1"
    assert re.fullmatch(r"00:00:00,\d{3} --> 00:00:01,\d{3}", lines[1])
    assert create(response_format="vtt").startswith("WEBVTT\n\n00:00:00.")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "digits"}, "model 'digits' can't transcribe"),
        ({"temperature": "1.5"}, "temperature: "),
        ({"stream": "perhaps"}, "stream: "),
        ({"user": "me"}, "user: not supported; fields besides 'file' are 'model'"),
        ({"language": "fr"}, "the model's language is 'en'"),
        ({"language": "english"}, "language: the model's language is 'en', got 'english'"),
        ({"response_format": "xml"}, "response_format: "),
        ({"response_format": "diarized_json"}, "response_format: expected 'json', 'text', 'srt'"),
        ({"include[]": "logprobs"}, "include: the models tell no probabilities of tokens"),
        ({"include": "logprobs"}, "include: the models tell no probabilities of tokens"),
        ({"timestamp_granularities[]": ["segment", "word"]},
         "timestamp_granularities[]: expected 'segment', got 'word': there are no times of words"),
        ({"timestamp_granularities": "word"},
         "timestamp_granularities[]: expected 'segment', got 'word': there are no times of words"),
        ({"languages[]": ["en", "de"]}, "languages: a model has one language"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_names: the models don't tell speakers"),
        ({"known_speaker_references[]": "data:"}, "known_speaker_references: the models don't"),
        ({"chunking_strategy[type]": "server_vad"}, "chunking_strategy[type]: sound is cut at its"),
        ({"chunking_strategy": "none"}, "chunking_strategy: expected 'auto', got 'none'"),
        ({"stream": "true", "response_format": "srt"},
         "response_format: expected 'json' or 'text' with stream, got 'srt'"),
    ],
)  # fmt: skip
def test_what_a_model_can_not_do_is_refused_in_openai_s_shape(
    server: RunningServer, fields: dict[str, Any], message: str
) -> None:
    response = requests.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": ("cards.flac", SHORT.read_bytes())},
        data={"model": "transcription", **fields},
        timeout=60,
    )
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "invalid_request_error"


def spoken_often(times: int) -> bytes:
    """The short example again and again, with pauses, as a WAV file."""
    samples, rate = soundfile.read(SHORT, dtype="int16")
    once = np.concatenate([samples, np.zeros(rate, np.int16)])
    file = io.BytesIO()
    soundfile.write(file, np.tile(once, times), rate, format="WAV")
    return file.getvalue()


def requests_of(server: RunningServer, outcome: str) -> float:
    """How many requests of OpenAI's clients have ended so."""
    text = requests.get(server.url + "/metrics", timeout=20).text
    found = re.findall(
        rf'^inference_requests_total{{.*outcome="{outcome}".*protocol="openai".*}} (\S+)',
        text,
        re.MULTILINE,
    )
    return sum(map(float, found))


def asked_for_events(server: RunningServer, sound: bytes) -> requests.Response:
    return requests.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": ("cards.wav", sound)},
        data={"model": "transcription", "stream": "true"},
        stream=True,
        timeout=60,
    )


def test_events_come_while_the_rest_is_still_in_work(server: RunningServer) -> None:
    before = requests_of(server, "ok")
    with asked_for_events(server, spoken_often(6)) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = (line for line in response.iter_lines() if line)
        first = next(lines)
        assert requests_of(server, "ok") == before
        events = [json.loads(line.removeprefix(b"data: ")) for line in (first, *lines)]
    assert [one["type"] for one in events] == 6 * ["transcript.text.delta"] + [
        "transcript.text.done"
    ]
    assert "".join(one["delta"] for one in events[:-1]) == events[-1]["text"]


def wait_until(condition: Callable[[], bool]) -> None:
    """On machines however busy: what is claimed is counted in rows, which a second has few of."""
    end = monotonic() + LONGEST_WAIT
    while not condition():
        assert monotonic() < end
        sleep(0.02)


def test_nothing_more_is_written_down_for_a_client_that_has_left(server: RunningServer) -> None:
    """The row that was in work, and one that had begun when it was noticed, of twenty."""
    before = requests_of(server, "cancelled")
    with asked_for_events(server, spoken_often(20)) as response:
        next(response.iter_lines(chunk_size=1))
    rows, _ = rows_and_runs(server)
    wait_until(lambda: requests_of(server, "cancelled") == before + 1)
    assert rows_and_runs(server)[0] - rows <= 2


def test_what_is_wrong_before_the_first_event_is_an_ordinary_error(server: RunningServer) -> None:
    with asked_for_events(server, b"no sound") as response:
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


def open_streams(server: RunningServer) -> float:
    text = requests.get(server.url + "/metrics", timeout=20).text
    return float(re.findall(r"^inference_streams (\S+)", text, re.MULTILINE)[0])


@pytest.mark.parametrize("way", ["close", "abort"])
def test_nothing_is_computed_for_streams_whose_clients_have_left(
    server: RunningServer, way: str
) -> None:
    """Far more is sent than is heard by then: 31 rows of the detector for each second."""
    second = bytes(2 * 16_000)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(stream(server, "transcription/transcribe", "?partial=1"))
            for _ in range(3)
        ]
        for socket in sockets:
            assert socket.response.headers.get("Sec-WebSocket-Extensions") is None
            for _ in range(15):
                socket.send(second)
        assert open_streams(server) >= 3
        for socket in sockets:
            if way == "close":
                Thread(target=socket.close).start()
            else:
                socket.socket.shutdown(SHUT_RDWR)
        rows, _ = rows_and_runs(server, "speech")
        wait_until(lambda: not open_streams(server))
        assert rows_and_runs(server, "speech")[0] - rows <= 3 * 31, "the second in work, of each"


def test_streams_of_many_clients_share_the_detector_s_runs(server: RunningServer) -> None:
    data, rate = pcm(SHORT.name)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda _: played(server, "speech/detect", data, f"?rate={rate}", 3200), range(8)
            )
        )
    assert all(events == found[0] for events in found)
    assert np.isclose(found[0][-1]["seconds"], len(data) / 2 / rate, atol=0.01)
