"""Whatever is sent to whatever path: no fault of the service, short words, nothing of its inside."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, RunningServer, serving
from tests.hostile.__main__ import SERVED, models

LONGEST = 2000
"""Characters of an error."""
FAULTS = {500, 502}
INSIDE = re.compile(r"Traceback|site-packages|/onnxruntime/|\.py\b|0x[0-9a-f]{8}")
STREAMS = {"/stats"}  # they don't end
MODELS = ("digits", "any-length", "repeating", "colours", "texts", "speech")
KEYS = ("instances", "inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "b64",
        "input", "texts", "query", "image", "id", "classification", "examples", "context")  # fmt: skip
TYPES = ("application/json", "application/octet-stream", "image/png", "audio/wav", "text/plain",
         "multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "")  # fmt: skip
PATHS = tuple(
    (method.upper(), path)
    for path, methods in json.loads((ROOT / "docs/openapi.json").read_text())["paths"].items()
    if path not in STREAMS
    for method in methods
)

words = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.sampled_from(MODELS)
    | st.sampled_from(("FP32", "BYTES", "INT64", 2**63, -1, 0))
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(KEYS) | words, inner, max_size=4)
    ),
    max_leaves=12,
)
images = st.lists(st.floats(width=32), min_size=64, max_size=64)
near = st.builds(
    lambda shape, data, kind, more: {
        "inputs": [{"name": "image", "shape": shape, "datatype": kind, "data": data}],
        **more,
    },
    st.lists(st.sampled_from((1, 64, 0, 2, 2**62)), max_size=3),
    images | values,
    st.sampled_from(("FP32", "FP64", "BYTES", "INT64", "BF16")),
    st.dictionaries(st.sampled_from(("outputs", "parameters", "id")), values, max_size=1),
)
documents = (
    values | near | st.fixed_dictionaries({"instances": st.lists(images, max_size=2)})
).map(lambda value: json.dumps(value).encode())
bodies = (
    st.binary(max_size=200) | documents
    | st.builds(lambda body, at, byte: body[:at] + byte + body[at + 1 :], documents,
                st.integers(0, 100), st.binary(min_size=1, max_size=3))
)  # fmt: skip
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
headers = st.fixed_dictionaries(
    {"X-Request-Timeout": st.just("2")},
    optional={
        "Content-Type": st.sampled_from(TYPES) | printable,
        "Content-Encoding": st.sampled_from(("gzip", "deflate", "br", "x")),
        "Inference-Header-Content-Length": st.integers(-5, 500).map(str) | printable,
        "X-Priority": printable,
        "X-Non-Finite": st.sampled_from(("bare", "null", "error")) | printable,
        "Authorization": printable,
        "X-Request-Id": printable,
        "traceparent": printable,
    },
)
parameters = st.sampled_from(MODELS) | st.sampled_from(("1", "2", "-1", "embed", "detect")) | words


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    folder = models(tmp_path_factory.mktemp("garbage"))
    with serving(folder, **SERVED) as running:
        yield running, folder


@settings(
    max_examples=400, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.data())
def test_garbage_is_the_clients_fault_in_few_words(
    served: tuple[RunningServer, Path], data: st.DataObject
) -> None:
    running, folder = served
    method, template = data.draw(st.sampled_from(PATHS))
    path = re.sub(r"\{\w+\}", lambda _: quote(data.draw(parameters), safe=""), template)
    if data.draw(st.booleans()):
        path += "?" + quote(data.draw(words), safe="=&")
    answer = requests.request(
        method, running.url + path, data=data.draw(bodies), headers=data.draw(headers), timeout=30
    )
    assert answer.status_code not in FAULTS, answer.text
    if answer.status_code >= 400:
        assert len(answer.text) <= LONGEST
        assert INSIDE.search(answer.text) is None, answer.text
        assert str(folder) not in answer.text
        assert str(ROOT) not in answer.text


def test_nothing_of_it_was_unexpected(served: tuple[RunningServer, Path]) -> None:
    """The log of the requests before tells of no traceback."""
    running, _ = served
    assert requests.get(f"{running.url}/v2/health/live", timeout=10).status_code == 200
    printed: list[Any] = []
    while not running.lines.empty():
        printed.append(running.lines.get_nowait())
    assert "Traceback" not in "".join(printed)
