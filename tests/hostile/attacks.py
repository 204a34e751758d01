"""Requests that cost the service more than their client: each of them by size.

Every attack is one of a kind; shapes, keys, texts and files are what the kinds were found with.
"""

import base64
import gzip
import importlib
import json
import socket
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

TIMEOUT = 60.0
JSON = {"Content-Type": "application/json"}


class Target(NamedTuple):
    """A server: where its HTTP and its gRPC listen."""

    url: str
    grpc: str


Send = Callable[[Target, int], str]


@dataclass(frozen=True)
class Attack:
    """``send(target, size)`` sends it and returns what came back, in a word: a status, or "closed".

    ``small`` and ``large`` are sizes, in the unit of the attack, for tests and for the script.
    """

    name: str
    unit: str
    send: Send
    small: tuple[int, ...]
    large: tuple[int, ...]
    bytes_each: int = 1


def posted(to: Target, path: str, body: bytes, **headers: str) -> str:
    try:
        given = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = requests.post(to.url + path, data=body, headers=given, timeout=TIMEOUT)
    except requests.ConnectionError:
        return "closed"
    return str(answer.status_code)


def raw(to: Target, data: bytes, *, wait: float = TIMEOUT) -> str:
    place = urlsplit(to.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=wait) as pipe:
        try:
            pipe.sendall(data)
            head = pipe.recv(4096)
        except TimeoutError:
            return "no answer"
        except OSError:
            return "closed"
    return head[9:12].decode("latin-1") if head else "closed"


DIGITS, PREDICT = "/v2/models/digits/infer", "/v1/models/digits:predict"


def long_shape(to: Target, size: int) -> str:
    one = {"name": "image", "shape": [281474976710655] * size, "datatype": "FP32", "data": [1]}
    return posted(to, DIGITS, json.dumps({"inputs": [one]}).encode())


def many_keys(to: Target, size: int) -> str:
    body = json.dumps({"inputs": {f"k{one}": 1 for one in range(size)}}).encode()
    return posted(to, PREDICT, body)


def many_top_keys(to: Target, size: int) -> str:
    body = json.dumps({**{f"k{one}": 1 for one in range(size)}, "inputs": []}).encode()
    return posted(to, DIGITS, body)


def text_among_numbers(to: Target, size: int) -> str:
    return posted(to, PREDICT, json.dumps({"instances": ["x" * size] + [""] * size}).encode())


def empty_lists(to: Target, size: int) -> str:
    return posted(to, PREDICT, b'{"instances":[' + b",".join([b"[]"] * size) + b"]}")


def empty_objects(to: Target, size: int) -> str:
    return posted(to, PREDICT, b'{"instances":[' + b",".join([b"{}"] * size) + b"]}")


def small_numbers(to: Target, size: int) -> str:
    return posted(to, PREDICT, b'{"instances":[[' + b",".join([b"1"] * size) + b"]]}")


def long_number(to: Target, size: int) -> str:
    return posted(to, PREDICT, b'{"instances":[[' + b"1" * size + b"]]}")


def deep_json(to: Target, size: int) -> str:
    return posted(to, PREDICT, b'{"instances":' + b"[" * size + b"]" * size + b"}")


def repeated_outputs(to: Target, size: int) -> str:
    row = {"name": "image", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}
    body = {"inputs": [row], "outputs": [{"name": "probabilities"}] * size}
    return posted(to, DIGITS, json.dumps(body).encode())


def texts_of_a_tensor(to: Target, size: int) -> str:
    """Each of them in four bytes: its length, 0."""
    row = {"name": "image", "shape": [size], "datatype": "BYTES",
           "parameters": {"binary_data_size": 4 * size}}  # fmt: skip
    head = json.dumps({"inputs": [row]}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    return posted(to, DIGITS, head + b"\0" * (4 * size), **length)


def rows_without_numbers(to: Target, size: int) -> str:
    row = {"name": "x", "shape": [size, 0], "datatype": "FP32", "data": []}
    body = json.dumps({"inputs": [row]}).encode()
    return posted(to, "/v2/models/any-length/infer", body, X_Request_Timeout="2")


def dear_value(to: Target, size: int) -> str:
    """Cheap for 1, without end for 10^12: the length of a loop."""
    body = json.dumps({"instances": [[size]]}).encode()
    return posted(to, "/v1/models/repeating:predict", body, X_Request_Timeout="2")


def refused_bodies(to: Target, size: int) -> str:
    """A megabyte each, one after the other: nothing of one may be left when the next comes."""
    body = b'{"instances":"' + b"x" * 10**6 + b'"}'
    return [posted(to, PREDICT, body) for _ in range(size)][-1]


def long_header(to: Target, size: int) -> str:
    return raw(to, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * size)


def many_headers(to: Target, size: int) -> str:
    head = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * size
    return raw(to, head + b"\r\n")


def long_url(to: Target, size: int) -> str:
    return raw(to, b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")


def many_encodings(to: Target, size: int) -> str:
    head = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: " + b"a," * size
    return raw(to, head + b"\r\n\r\n")


def pipelined(to: Target, size: int) -> str:
    return raw(to, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * size, wait=5)


def zeros_in_gzip(to: Target, size: int) -> str:
    return posted(to, PREDICT, gzip.compress(b"0" * size), Content_Encoding="gzip")


def spaces_in_gzip(to: Target, size: int) -> str:
    body = b'{"instances":' + b" " * size + b"[[1]]}"
    return posted(to, PREDICT, gzip.compress(body), Content_Encoding="gzip")


def many_parts(to: Target, size: int) -> str:
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    form = "multipart/form-data; boundary=b"
    body = part * size + b"--b--\r\n"
    return posted(to, "/models/colours/classify", body, Content_Type=form)


def _png(width: int, height: int, rows: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = zlib.compress(b"\0" * ((width * 4 + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def picture_of_many_pixels(to: Target, size: int) -> str:
    body = _png(size, size, size)
    return posted(to, "/models/colours/classify", body, Content_Type="image/png")


def picture_that_ends_early(to: Target, size: int) -> str:
    body = _png(1, size, min(size, 100))
    return posted(to, "/models/colours/classify", body, Content_Type="image/png")


def pictures_of_one_form(to: Target, size: int) -> str:
    """Each of 72 bytes, and 12 MB as the model sees it."""
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = (part + _png(1, 1, 1) + b"\r\n") * size + b"--b--\r\n"
    headers = {"Content_Type": "multipart/form-data; boundary=b", "X_Request_Timeout": "45"}
    return posted(to, "/models/posters/classify", body, **headers)


def pictures_among_rows(to: Target, size: int) -> str:
    one = {"b64": base64.b64encode(_png(1, 1, 1)).decode()}
    body = json.dumps({"instances": [one] * size}).encode()
    return posted(to, "/v1/models/posters:predict", body, X_Request_Timeout="10")


def progressive_scans(to: Target, size: int) -> str:
    """A JPEG whose last scan comes again and again."""
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (1024, 1024)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")
    body = data[:start] + data[start:-2] * size + data[-2:]
    headers = {"Content_Type": "image/jpeg", "X_Request_Timeout": "2"}
    return posted(to, "/models/colours/classify", body, **headers)


def bare_numbers(to: Target, size: int) -> str:
    body = b'{"instances":[[NaN' + b",1" * size + b"]]}"
    return posted(to, PREDICT, body, X_Non_Finite="bare")


def numbers_with_large_answers(to: Target, size: int) -> str:
    body = b'{"inputs":[' + b",".join([b"[1]"] * size) + b"]}"
    return posted(to, "/v1/models/any-length:predict", body)


def large_answer(to: Target, size: int) -> str:
    """A thousand numbers for each one that is sent."""
    body = b'{"inputs":[' + b",".join([b"1.5"] * size) + b"]}"
    return posted(to, "/v1/models/widening:predict", body)


def large_answers_of_one_run(to: Target, size: int) -> str:
    with ThreadPoolExecutor(8) as pool:
        return max(pool.map(lambda _: large_answer(to, size), range(8)))


def one_long_text(to: Target, size: int) -> str:
    return posted(to, "/v1/embeddings", json.dumps({"input": "cat " * (size // 4)}).encode())


def many_texts(to: Target, size: int) -> str:
    texts = ["cat dog " * 400] * 1024
    body = json.dumps({"input": texts[: max(1, size // 3200)], "truncate": True}).encode()
    return posted(to, "/v1/embeddings", body, X_Request_Timeout="5")


def many_tokens(to: Target, size: int) -> str:
    return posted(to, "/v1/embeddings", b'{"input":[[' + b",".join([b"1"] * size) + b"]]}")


def tokens_that_are_told(to: Target, size: int) -> str:
    """Each of two characters, and 80 of them in the answer."""
    return posted(to, "/tokenize", json.dumps({"inputs": ["a " * 500] * (size // 500)}).encode())


def chunks_of_one_byte(to: Target, size: int) -> str:
    head = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    return raw(to, head + b"1\r\n \r\n" * size + b"0\r\n\r\n")


def header_of_a_part(to: Target, size: int) -> str:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="' + b"x" * size + b'"\r\n\r\n\r\n--b--\r\n'
    )
    form = "multipart/form-data; boundary=b"
    return posted(to, "/models/colours/classify", body, Content_Type=form)


def form_fields(to: Target, size: int) -> str:
    form = "application/x-www-form-urlencoded"
    return posted(to, "/models/colours/classify", b"a=b&" * size, Content_Type=form)


def escapes_of_a_form(to: Target, size: int) -> str:
    form = "application/x-www-form-urlencoded"
    return posted(to, "/models/colours/classify", b"image=" + b"%41" * size, Content_Type=form)


def zeros_in_brotli(to: Target, size: int) -> str:
    brotli: Any = importlib.import_module("brotli")
    body = brotli.compress(b"0" * min(size, 10**7), quality=1)
    return posted(to, PREDICT, body, Content_Encoding="br")


def long_sound(to: Target, size: int) -> str:
    """Silence, which takes next to nothing in FLAC."""
    import numpy as np
    import soundfile

    file = BytesIO()
    soundfile.write(file, np.zeros((size * 48_000, 1), np.int16), 48_000, format="FLAC")
    headers = {"Content_Type": "audio/flac", "X_Request_Timeout": "5"}
    return posted(to, "/models/speech/detect", file.getvalue(), **headers)


def sound_that_lies(to: Target, size: int) -> str:
    """A WAV file whose header tells of ``size`` bytes that don't come."""
    head = b"RIFF" + struct.pack("<I", min(size, 2**32 - 1)) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    body = head + b"data" + struct.pack("<I", min(size, 2**32 - 1)) + b"\0" * 64
    return posted(to, "/models/speech/detect", body, Content_Type="audio/wav")


def answers_that_nobody_reads(to: Target, size: int) -> str:
    """Requests one after the other in one connection, whose answers are as large as they are."""
    body = b'{"inputs":[' + b",".join([b"[1]"] * 20_000) + b"]}"
    head = b"POST /v1/models/any-length:predict HTTP/1.1\r\nHost: localhost\r\n"
    one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    place = urlsplit(to.url)
    with socket.socket() as pipe:
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        pipe.settimeout(2)
        pipe.connect((place.hostname or "", place.port or 0))
        try:
            pipe.sendall(one * max(1, size // len(one)))
        except TimeoutError:
            return "no answer"
        except OSError:
            return "closed"
    return "closed"


def half_heads(to: Target, size: int) -> str:
    """Connections that never say what they want."""
    place = urlsplit(to.url)
    pipes = []
    try:
        for _ in range(size):
            address = place.hostname or "", place.port or 0
            pipes.append(socket.create_connection(address, timeout=5))
            pipes[-1].sendall(b"GET / HTTP/1.1\r\nX: ")
    except OSError:
        return "closed"
    finally:
        for pipe in pipes:
            pipe.close()
    return "closed"


def _socket(to: Target, path: str, messages: Callable[[Any], None]) -> str:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    try:
        url = to.url.replace("http:", "ws:") + path
        with connect(url, max_queue=1, close_timeout=0.2, open_timeout=10) as stream:
            messages(stream)
    except InvalidStatus as error:
        return str(error.response.status_code)
    except (ConnectionClosed, TimeoutError):
        return "closed"
    return "closed"


SOUND = "/models/speech/detect/stream"


def sound_faster_than_it_is_heard(to: Target, size: int) -> str:
    """Messages of 64 KiB, and nothing is read."""

    def messages(stream: Any) -> None:
        for _ in range(max(1, size // 65_536)):
            stream.send(b"\0" * 65_536)

    return _socket(to, SOUND, messages)


def tiny_messages(to: Target, size: int) -> str:
    def messages(stream: Any) -> None:
        for _ in range(size):
            stream.send(b"\0\0")

    return _socket(to, SOUND, messages)


def pings(to: Target, size: int) -> str:
    def messages(stream: Any) -> None:
        for number in range(size):
            stream.ping(str(number))

    return _socket(to, SOUND, messages)


_OPENING = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_CLOSE_FRAME = b"\x88\x80\0\0\0\0"


def _frames(to: Target, frames: bytes) -> str:
    """As they are, as fast as they go."""
    place = urlsplit(to.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=TIMEOUT) as pipe:
        pipe.sendall(_OPENING.format(SOUND).encode())
        pipe.recv(4096)
        try:
            pipe.sendall(frames + _CLOSE_FRAME)
            while pipe.recv(65_536):
                pass
        except TimeoutError:
            return "no answer"
        except OSError:
            return "closed"
    return "closed"


def empty_frames(to: Target, size: int) -> str:
    return _frames(to, b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * size)


def empty_pongs(to: Target, size: int) -> str:
    return _frames(to, b"\x8a\x80\0\0\0\0" * size)


def empty_messages(to: Target, size: int) -> str:
    return _frames(to, b"\x82\x80\0\0\0\0" * size)


def called(to: Target, data: bytes, method: str = "ModelInfer") -> str:
    """A call of gRPC with these bytes as its message: the status in words."""
    import grpc

    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(to.grpc, options) as channel:
        call: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        try:
            call(data, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _delimited(field: int, data: bytes) -> bytes:
    """A field of a protobuf message that has a length."""
    size, length = b"", len(data)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([field << 3 | 2]) + size + bytes([length]) + data


def _of_digits(*parts: bytes) -> bytes:
    return _delimited(1, b"digits") + b"".join(parts)


def typed_contents(to: Target, size: int) -> str:
    contents = _delimited(3, b"\1" * size)
    given = _delimited(1, b"image") + _delimited(2, b"INT64") + _delimited(5, contents)
    return called(to, _of_digits(_delimited(5, given)))


def typed_texts(to: Target, size: int) -> str:
    contents = _delimited(8, b"") * size
    given = _delimited(1, b"image") + _delimited(2, b"BYTES") + _delimited(5, contents)
    return called(to, _of_digits(_delimited(5, given)))


def empty_inputs(to: Target, size: int) -> str:
    return called(to, _of_digits(_delimited(5, b"") * size))


def empty_raw_contents(to: Target, size: int) -> str:
    return called(to, _of_digits(_delimited(7, b"") * size))


def parameters(to: Target, size: int) -> str:
    return called(to, _of_digits(*(_delimited(4, _delimited(1, b"%d" % n)) for n in range(size))))


def refused_messages(to: Target, size: int) -> str:
    message = _of_digits(_delimited(7, b"x" * 10**6))
    return [called(to, message) for _ in range(size)][-1]


def unknown_fields(to: Target, size: int) -> str:
    return called(to, _delimited(15, b"") * size, "ModelMetadata")


ATTACKS = (
    Attack("axes of a shape", "axes", long_shape, (2_000, 4_000), (20_000, 40_000, 80_000), 17),
    Attack("keys of inputs", "keys", many_keys, (5_000, 10_000), (20_000, 40_000, 160_000), 9),
    Attack("keys of a body", "keys", many_top_keys, (5_000, 10_000), (20_000, 40_000, 160_000), 9),
    Attack("text among numbers", "characters", text_among_numbers, (5_000, 10_000),
           (20_000, 40_000, 80_000), 4),
    Attack("empty lists", "lists", empty_lists, (20_000, 40_000), (80_000, 1_000_000), 3),
    Attack("empty objects", "objects", empty_objects, (20_000, 40_000), (80_000, 1_000_000), 3),
    Attack("small numbers", "numbers", small_numbers, (50_000, 100_000), (1_000_000, 10_000_000), 2),
    Attack("digits of a number", "digits", long_number, (50_000, 100_000), (1_000_000, 10_000_000)),
    Attack("depth of JSON", "levels", deep_json, (1_000, 10_000), (100_000, 1_000_000), 2),
    Attack("the same output again", "outputs", repeated_outputs, (500, 1_000), (6_000, 60_000), 25),
    Attack("texts of a tensor", "texts", texts_of_a_tensor, (10**5, 4 * 10**5), (10**6, 8 * 10**6), 4),
    Attack("rows without numbers", "rows", rows_without_numbers, (10**6, 10**7), (10**9, 2**40), 0),
    Attack("a value that loops", "runs", dear_value, (10**3, 10**5), (10**8, 10**12), 0),
    Attack("refused bodies", "bodies", refused_bodies, (20, 150), (200, 1_000), 0),
    Attack("a header without end", "bytes", long_header, (10**5, 10**6), (10**7, 10**8)),
    Attack("headers", "headers", many_headers, (10**4, 10**5), (10**6, 10**7), 6),
    Attack("a URL", "bytes", long_url, (10**5, 10**6), (10**7, 10**8)),
    Attack("encodings that are accepted", "names", many_encodings, (10**4, 10**5), (10**6,), 2),
    Attack("requests in a pipeline", "requests", pipelined, (1_000, 2_000), (20_000, 200_000), 49),
    Attack("zeros in gzip", "bytes", zeros_in_gzip, (10**6, 10**7), (10**8, 10**9), 0),
    Attack("spaces in gzip", "bytes", spaces_in_gzip, (10**6, 10**7), (3 * 10**7, 10**9), 0),
    Attack("parts of a form", "parts", many_parts, (100, 1_000), (10_000, 100_000), 52),
    Attack("pixels", "pixels a side", picture_of_many_pixels, (500, 1_000), (3_500, 7_000), 0),
    Attack("a picture that ends early", "pixels", picture_that_ends_early, (10**5, 10**6),
           (10**7, 49 * 10**6), 0),
    Attack("pictures of one form", "pictures", pictures_of_one_form, (4, 32), (64, 256), 0),
    Attack("pictures among rows", "pictures", pictures_among_rows, (10, 100), (1_000, 100_000), 0),
    Attack("scans of a JPEG", "scans", progressive_scans, (10, 50), (500, 2_000), 31),
    Attack("numbers and NaN", "numbers", bare_numbers, (50_000, 100_000), (1_000_000, 10_000_000), 2),
    Attack("rows of one number, each with an answer", "rows", numbers_with_large_answers,
           (10_000, 20_000), (1_000_000, 4_000_000), 4),
    Attack("a large answer", "rows", large_answer, (100, 1_000), (10_000, 30_000), 4_000),
    Attack("large answers of one run", "rows each", large_answers_of_one_run, (100, 500),
           (1_000, 4_000), 32_000),
    Attack("one text", "characters", one_long_text, (10**5, 10**6), (10**6, 3 * 10**7)),
    Attack("texts that are too long", "characters", many_texts, (10**5, 3 * 10**5), (10**6, 3 * 10**6)),
    Attack("tokens", "tokens", many_tokens, (50_000, 100_000), (1_000_000, 10_000_000), 2),
    Attack("tokens that are told", "tokens", tokens_that_are_told, (10**4, 10**5), (10**5, 5 * 10**5), 2),
    Attack("chunks of one byte", "chunks", chunks_of_one_byte, (1_000, 10_000), (10**5, 10**6), 6),
    Attack("the header of a part", "bytes", header_of_a_part, (10**4, 10**5), (10**6, 10**7)),
    Attack("fields of a form", "fields", form_fields, (10**4, 10**5), (10**6, 8 * 10**6), 4),
    Attack("escapes of a form", "escapes", escapes_of_a_form, (10**5, 10**6), (10**6, 10**7), 3),
    Attack("zeros in brotli", "bytes", zeros_in_brotli, (10**5, 10**6), (10**7,), 0),
    Attack("silence in FLAC", "seconds", long_sound, (5, 20), (60, 590), 0),
    Attack("a WAV file that lies", "bytes", sound_that_lies, (10**6, 10**8), (10**9, 2**32), 0),
    Attack("answers that nobody reads", "bytes", answers_that_nobody_reads, (10**6, 2 * 10**6),
           (10**7, 5 * 10**7)),
    Attack("connections without a request", "connections", half_heads, (50, 200), (500, 900), 0),
    Attack("sound faster than it is heard", "bytes", sound_faster_than_it_is_heard, (10**5, 10**6),
           (10**7, 3 * 10**7)),
    Attack("tiny messages of a WebSocket", "messages", tiny_messages, (100, 1_000), (10**4, 10**5), 8),
    Attack("pings of a WebSocket", "pings", pings, (100, 1_000), (10**4, 10**5), 8),
    Attack("empty frames of a WebSocket", "frames", empty_frames, (10**4, 4 * 10**4),
           (10**5, 4 * 10**5), 6),
    Attack("empty pongs of a WebSocket", "frames", empty_pongs, (10**4, 4 * 10**4),
           (10**5, 4 * 10**5), 6),
    Attack("empty messages of a WebSocket", "messages", empty_messages, (10**3, 10**4),
           (2 * 10**4, 10**5), 6),
    Attack("gRPC: typed contents", "numbers", typed_contents, (10**5, 10**6), (10**7, 3 * 10**7)),
    Attack("gRPC: texts", "texts", typed_texts, (10**5, 3 * 10**5), (10**6, 10**7), 2),
    Attack("gRPC: empty inputs", "inputs", empty_inputs, (10**5, 3 * 10**5), (10**6, 10**7), 2),
    Attack("gRPC: empty raw contents", "contents", empty_raw_contents, (10**5, 3 * 10**5),
           (10**6, 10**7), 2),
    Attack("gRPC: parameters", "parameters", parameters, (10**4, 10**5), (10**6, 2 * 10**6), 6),
    Attack("gRPC: refused messages", "messages", refused_messages, (20, 150), (200, 1_000), 0),
    Attack("gRPC: unknown fields", "fields", unknown_fields, (10**4, 10**5), (10**6, 10**7), 2),
)  # fmt: skip
