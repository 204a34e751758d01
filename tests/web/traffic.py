"""Requests at random: valid, odd and broken ones, split anywhere, in pipelines."""

import json
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

JSON = b"application/json"
_NUMBERS = (
    "1", "0", "-1", "0.5", "-0.25", "1e3", "1E-3", "1.0", "12345678901234567890", "1e400", "-0.0",
    "3.4028235e38", "3.5e38", "null", "true", "false", '"1"', "[]", "{}", "[1]", "9007199254740993",
    "NaN", "Infinity", "0x1", "01", ".5", "1.", "-", "1e", "16777217",
)  # fmt: skip
_PLAIN = _NUMBERS[:8]
_SEGMENT = 1448
"""Bytes of a body that a packet of Ethernet has room for."""


@dataclass(frozen=True)
class Model:
    """A model with one input of numbers, and its rows' length."""

    name: str
    width: int
    versions: tuple[int, ...] = (1,)


class Traffic:
    """An endless series of exchanges: the same ones for the same seed."""

    def __init__(self, seed: int, models: Sequence[Model], others: Sequence[str] = ()) -> None:
        self._random = random.Random(seed)
        self._models = models
        self._others = others

    def exchange(self) -> tuple[list[bytes], bool]:
        """What a client sends over one connection, in pieces, and whether it shuts its side with
        the last one (of a lone piece: else what has been answered by then depends on the turn)."""
        pick = self._random
        count = pick.choice((1, 1, 1, 1, 2, 3, 8))
        data = b"".join(self.request() for _ in range(count))
        if pick.random() < 0.04:
            data = self._damaged(data)
        if pick.random() < 0.03:
            data = data[: pick.randrange(len(data) + 1)]
        pieces = self._split(data)
        return pieces, len(pieces) == 1 and pick.random() < 0.15

    def request(self) -> bytes:
        """One request."""
        pick = self._random
        kind = pick.choices(
            (self._rows, self._columns, self._predict, self._tensor, self._binary, self._raw,
             self._other, self._text),
            (30, 10, 10, 15, 8, 8, 9, 6),
        )[0]  # fmt: skip
        return self._with_head(*kind())

    # Bodies

    def _model(self) -> Model:
        """The first is asked for most."""
        return self._random.choice(self._models[: self._random.choice((1, 1, 1, 2, None))])

    def _number(self) -> str:
        pick = self._random
        if pick.random() < 0.5:
            return repr(round(pick.uniform(-9, 9), pick.randrange(7)))
        return pick.choice(_PLAIN if pick.random() < 0.997 else _NUMBERS)

    def _row(self, width: int) -> str:
        if self._random.random() < 0.008:
            width += self._random.choice((-1, 1, 5))
        return "[" + self._space(",").join(self._number() for _ in range(max(width, 0))) + "]"

    def _matrix(self, width: int) -> str:
        rows = self._random.choice((0, *(1,) * 24, *(2, 3) * 4, 17, 40))
        if (
            self._random.random() < 0.01
        ):  # of several segments, some of them too large for the front
            rows = self._random.randrange(200, 4000)
        return "[" + self._space(",").join(self._row(width) for _ in range(rows)) + "]"

    def _space(self, text: str) -> str:
        return text + self._random.choice(("", "", " ", "\n", "\t "))

    def _path(self, model: Model, form: str) -> str:
        pick = self._random
        version = pick.choice((*model.versions, 7, "x")) if pick.random() < 0.1 else None
        if form == "oip":
            middle = "" if version is None else f"/versions/{version}"
            return f"/v2/models/{model.name}{middle}/infer"
        middle = "" if version is None else f"/versions/{version}"
        return f"/v1/models/{model.name}{middle}:predict"

    def _rows(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        model = self._model()
        body = f'{{"instances":{self._space("")}{self._matrix(model.width)}}}'
        roll = self._random.random()
        if roll < 0.05:
            body = f'{{"instances":{self._matrix(model.width)},"signature_name":"serving_default"}}'
        elif roll < 0.08:
            body = f'{{"instances":[1],"instances":{self._matrix(model.width)}}}'
        elif roll < 0.11:
            body = f'{{"instances":[{{"x":{self._row(model.width)}}}]}}'
        return self._path(model, "tfs"), body.encode(), []

    def _columns(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        model = self._model()
        inner = self._matrix(model.width)
        if self._random.random() < 0.3:
            inner = f'{{"x":{inner}}}'
        return self._path(model, "tfs"), f'{self._space("")}{{"inputs":{inner}}}'.encode(), []

    def _predict(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        model = self._models[0]
        body = self._random.choice(
            (self._row(model.width), self._matrix(model.width),
             f'{{"x":{self._row(model.width)}}}', f'{{"x": {self._matrix(model.width)}}}',
             f'{{"instances":{self._matrix(model.width)}}}')
        )  # fmt: skip
        return "/predict", body.encode(), []

    def _tensor(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        model, pick = self._model(), self._random
        rows = pick.choice((0, 1, 1, 1, 2, 5))
        count = rows * model.width + (1 if pick.random() < 0.03 else 0)
        if pick.random() < 0.3:
            data = "[" + ",".join(self._row(model.width) for _ in range(rows)) + "]"
        else:
            data = "[" + ",".join(self._number() for _ in range(count)) + "]"
        kind = pick.choice(("FP32",) * 12 + ("FP64", "INT64", "fp32", "BYTES"))
        entry = f'{{"name":"x","shape":[{rows},{model.width}],"datatype":"{kind}","data":{data}}}'
        more = pick.choice(
            ("",) * 6 + (
                ',"id":"a1"', ',"id":7', ',"id":"\\u00e9\\""', ',"outputs":[{"name":"y"}]',
                ',"parameters":{"binary_data_output":true}', ',"parameters":{"timeout":500000}',
                ',"parameters":{"priority":2}', ',"outputs":[{"name":"nothing"}]',
                ',"outputs":[{"name":"y","parameters":{"binary_data":true}}]',
                ',"outputs":[{"name":"y","parameters":{"classification":1}}]', ',"unknown":[1]',
            )
        )  # fmt: skip
        return self._path(model, "oip"), f'{{"inputs":[{entry}]{more}}}'.encode(), []

    def _floats(self, count: int) -> bytes:
        return struct.pack(f"<{count}f", *(self._random.uniform(-9, 9) for _ in range(count)))

    def _binary(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        model, pick = self._model(), self._random
        rows = pick.choice((1, 1, 2, 5))
        data = self._floats(rows * model.width)
        size = len(data) + pick.choice((0,) * 20 + (1, -1, 4))
        head: dict[str, object] = {
            "inputs": [
                {"name": "x", "shape": [rows, model.width], "datatype": "FP32",
                 "parameters": {"binary_data_size": size}}
            ],
        }  # fmt: skip
        if pick.random() < 0.6:
            head["outputs"] = [{"name": "y", "parameters": {"binary_data": pick.random() < 0.8}}]
        if pick.random() < 0.2:
            head["id"] = pick.choice(("a", "b", ""))
        if pick.random() < 0.2:
            head["parameters"] = pick.choice(({"binary_data_output": True}, {"timeout": 500000}))
        text = json.dumps(head).encode()
        length = len(text) + pick.choice((0,) * 20 + (1, -1))
        headers = [(b"Inference-Header-Content-Length", b"%d" % length)]
        return self._path(model, "oip"), text + data, headers

    def _raw(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        model = self._model()
        data = self._floats(model.width) + self._random.choice((b"",) * 9 + (b"1", b"1234"))
        return self._path(model, "oip"), data, [(b"Inference-Header-Content-Length", b"0")]

    def _other(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        pick = self._random
        path = pick.choice(
            ("/predict", "/v1/models/nothing:predict", "/v2/health/live", "/v1/models", "/nothing",
             f"/v1/models/{self._models[0].name}:Predict", "/%70redict", "/predict?a=1",
             f"/v1/models/{self._models[0].name}:classify", *self._others)
        )  # fmt: skip
        body = pick.choice((b"", b"{}", b"[", b"\xef\xbb\xbf[1,2,3]", b'{"instances": [[1,2,3]]}'))
        return path, body, []

    def _text(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        pick = self._random
        texts = pick.choice(('"one text"', '["a", "b c"]', "[1, 2]", "7", '""', "[]"))
        more = pick.choice(("", ',"encoding_format":"base64"', ',"model":"nothing"'))
        return "/v1/embeddings", f'{{"input":{texts}{more}}}'.encode(), []

    # Heads

    def _with_head(self, path: str, body: bytes, more: list[tuple[bytes, bytes]]) -> bytes:
        pick = self._random
        method = pick.choices(
            (b"POST", b"GET", b"HEAD", b"PUT", b"post", b"OPTIONS"), (95, 2, 1, 1, 0.5, 0.5)
        )[0]
        version = pick.choices((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"), (96, 3, 1))[0]
        headers = [
            (b"Host", pick.choice((b"a", b"127.0.0.1:8000", b"[::1]:80") * 20 + (b"e.com",)))
        ]
        headers += more
        if pick.random() < 0.8:
            headers.append((b"Content-Type", self._content_type(more)))
        headers += [pick.choice(_USUAL) for _ in range(pick.randrange(4))]
        if pick.random() < 0.12:
            headers.append(pick.choice(_ODD))
        chunked = pick.random() < 0.03
        if chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        else:
            length = len(body) + pick.choice((0,) * 150 + (1, -1))
            headers.append((b"Content-Length", b"%d" % max(length, 0)))
        pick.shuffle(headers)
        lines = [b"%b %b %b" % (method, path.encode(), version)]
        for name, value in headers:
            spelt = pick.choice((name, name, name.lower(), name.upper()))
            lines.append(spelt + pick.choice((b": ", b": ", b":", b":  ", b":\t")) + value)
        end = b"\r\n" if pick.random() < 0.995 else b"\n"
        return end.join([*lines, b"", b""]) + body

    def _content_type(self, more: list[tuple[bytes, bytes]]) -> bytes:
        pick = self._random
        if more and pick.random() < 0.7:
            return b"application/octet-stream"
        return pick.choice(
            (JSON,) * 30 + (
                b"application/json; charset=utf-8", b"application/json;charset=latin-1",
                b"text/plain", b"application/x-www-form-urlencoded", b"application/xml",
                b"application/json; charset=nothing", b"APPLICATION/JSON", b"",
            )
        )  # fmt: skip

    # The wire

    def _damaged(self, data: bytes) -> bytes:
        pick, damaged = self._random, bytearray(data)
        for _ in range(pick.randrange(1, 4)):
            place, byte = pick.randrange(len(damaged)), pick.randrange(256)
            damaged[place : place + pick.choice((0, 1))] = pick.choice((b"", bytes([byte])))
        return bytes(damaged)

    def _split(self, data: bytes) -> list[bytes]:
        pick = self._random
        if pick.random() < 0.6 or len(data) < 2:
            return [data] if data else []
        if len(data) > _SEGMENT and pick.random() < 0.5:
            return [data[at : at + _SEGMENT] for at in range(0, len(data), _SEGMENT)]
        places = sorted(
            pick.sample(range(1, len(data)), min(pick.choice((1, 1, 2, 5)), len(data) - 1))
        )
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


_USUAL = (
    (b"User-Agent", b"python-httpx/0.28.1"), (b"Accept", b"*/*"), (b"Connection", b"keep-alive"),
    (b"X-Request-Id", b"5f1e"), (b"x-request-id", b"no good id"), (b"Accept-Encoding", b"gzip, deflate"), (b"X-Forwarded-For", b"1.2.3.4"),
    (b"Accept-Encoding", b"identity"), (b"Cookie", b"a=b; c=d"), (b"traceparent", b"00-1-2-01"),
)  # fmt: skip
_ODD = (
    (b"Connection", b"close"), (b"Connection", b"Keep-Alive"), (b"Expect", b"100-continue"),
    (b"X-Priority", b"high"), (b"X-Priority", b"none"), (b"X-Request-Timeout", b"30"),
    (b"X-Request-Timeout", b"0"), (b"X-Request-Timeout", b"nan"), (b"X-Non-Finite", b"bare"),
    (b"X-Non-Finite", b"error"), (b"X-Non-Finite", b"no"), (b"Content-Encoding", b"gzip"),
    (b"Content-Encoding", b"identity"), (b"Content-Encoding", b"br"), (b"Host", b"b"),
    (b"Upgrade", b"h2c"), (b"Content-Length", b"1"), (b"Inference-Header-Content-Length", b"1"),
    (b"X-Client", b"one"), (b"X-Odd", b"caf\xc3\xa9"), (b"X-Empty", b""), (b"X Y", b"1"),
    (b"X-Long", b"y" * 5000), (b"Proxy-Connection", b"close"), (b"Content-Type", b"text/csv"),
    (b"Origin", b"http://127.0.0.1:8000"), (b"Origin", b"http://evil.example.com"),
    (b"Origin", b"null"), (b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Site", b"same-origin"),
    (b"Sec-Fetch-Site", b"none"),
    (b"X-Trailing", b"blank "), (b"Content-Length", b"+5"),
)  # fmt: skip
