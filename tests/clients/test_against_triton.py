"""The same requests, good and bad, to a real Triton and to this service, compared field by field.

What differs is listed here, with the reason; anything else that differs fails. docs/protocols.md
has the list in words.
"""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests import onnx_models
from tests.conftest import serving
from tests.ports import free_port
from tests.support import LONGEST_WAIT, until
from tests.tools import TOOLS, need_file

pytestmark = pytest.mark.triton
PYTHON = TOOLS / "triton" / "bin" / "python"


class Triton(NamedTuple):
    """A real one: its URL, and that of its metrics."""

    url: str
    metrics: str


@pytest.fixture(scope="module")
def triton() -> Iterator[Triton]:
    """A real Triton with the two models."""
    need_file(PYTHON.parent.parent / "installed")
    ports = [str(free_port()) for _ in range(3)]
    script = Path(__file__).with_name("triton_server.py")
    library = Path(sys.base_prefix) / "lib"  # its stub needs this interpreter's own library
    process = subprocess.Popen(
        [PYTHON, script, *ports],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LD_LIBRARY_PATH": str(library)},
    )
    url = f"http://127.0.0.1:{ports[0]}"

    def ready() -> bool:
        assert process.poll() is None, "Triton has ended"
        try:
            return all(
                requests.get(f"{url}/v2/models/{model}/ready", timeout=LONGEST_WAIT).ok
                for model in ("doubler", "kinds")
            )
        except requests.ConnectionError:
            return False

    try:
        asyncio.run(until(ready))
        yield Triton(url, f"http://127.0.0.1:{ports[2]}/metrics")
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """This service with the same two models."""
    folder = tmp_path_factory.mktemp("models")
    onnx_models.save(onnx_models.doubler(), folder / "doubler.onnx")
    onnx_models.save(onnx_models.every_kind(column=True), folder / "kinds.onnx")
    with serving(
        folder,
        INFERENCE_SERVICE_BATCHING__MAX_BATCH_SIZE="16",
        INFERENCE_SERVICE_TELEMETRY__TRITON_METRICS="true",
    ) as running:
        yield running.url


@dataclass
class Case:
    """A request, and why the answers differ, if they do: `status`, `order` (of outputs) or fields."""

    name: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    differ: dict[str, str] = field(default_factory=dict)

    def send(self, url: str) -> requests.Response:
        if self.body is None:
            return requests.get(url + self.path, headers=self.headers, timeout=20)
        data = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return requests.post(url + self.path, data=data, headers=self.headers, timeout=20)


def x(data: Any = ..., shape: Any = (1, 3), datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    given = {"name": "x", "shape": list(shape), "datatype": datatype, **more}
    return given | ({} if data is None else {"data": [1, 2, 3] if data is ... else data})


def infer(*inputs: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


def binary(
    head: dict[str, Any], tail: bytes, length: int | None = None
) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode()
    size = len(text) if length is None else length
    return text + tail, {"Inference-Header-Content-Length": str(size)}


ROW = np.array([[1, 2, 3]], np.float32).tobytes()
SIZED = x(None, parameters={"binary_data_size": 12})
KINDS = [
    {"name": "name", "shape": [1, 1], "datatype": "BYTES", "data": ["grüß"]},
    {"name": "flag", "shape": [1, 1], "datatype": "BOOL", "data": [True]},
    {"name": "counts", "shape": [1, 2], "datatype": "INT64", "data": [5, -(2**60)]},
]
DOUBLER = "/v2/models/doubler/infer"
NOT_READY = {"status": "an unknown model is 404 here, 400 there"}
THEIRS_500 = {"status": "a mistake of the client is 400 here, 500 there"}


def bin_case(
    name: str, head: dict[str, Any], tail: bytes, length: int | None = None, **more: Any
) -> Case:
    body, headers = binary(head, tail, length)
    return Case(name, DOUBLER, body, headers, **more)


CASES = [
    Case("flat", DOUBLER, infer(x())),
    Case("nested", DOUBLER, infer(x([[1, 2, 3]]))),
    Case("two rows", DOUBLER, infer(x([1, 2, 3, 4, 5, 6], (2, 3)))),
    Case("an id", DOUBLER, infer(x(), id="abc")),
    Case("an empty id", DOUBLER, infer(x(), id="")),
    Case("a version", "/v2/models/doubler/versions/1/infer", infer(x())),
    Case("an output by name", DOUBLER, infer(x(), outputs=[{"name": "y"}])),
    Case("own parameters", DOUBLER, infer(x(), parameters={"mine": "x", "n": 1, "b": True})),
    Case("unknown fields", DOUBLER, infer(x(), own=3)),
    Case("integers for floats", DOUBLER, infer(x([1, 2, 3]))),
    Case("every kind", "/v2/models/kinds/infer", infer(*KINDS)),
    Case("kinds in binary", "/v2/models/kinds/infer", infer(*KINDS, parameters={"binary_data_output": True})),
    Case("some outputs", "/v2/models/kinds/infer", infer(*KINDS, outputs=[{"name": "counts_out"}, {"name": "name_out"}]), differ={"order": "here it is that of the request"}),
    bin_case("binary in", infer(SIZED), ROW),
    bin_case("binary both ways", infer(SIZED, outputs=[{"name": "y", "parameters": {"binary_data": True}}]), ROW),
    bin_case("an output overrides the request", infer(SIZED, parameters={"binary_data_output": True}, outputs=[{"name": "y", "parameters": {"binary_data": False}}]), ROW),
    Case("raw", DOUBLER, ROW, {"Inference-Header-Content-Length": "0"}),
    Case("the length of pure JSON", DOUBLER, json.dumps(infer(x())).encode(), {"Inference-Header-Content-Length": str(len(json.dumps(infer(x()))))}),
    Case("gzip", DOUBLER, gzip.compress(json.dumps(infer(x())).encode()), {"Content-Encoding": "gzip"}),
    Case("deflate", DOUBLER, zlib.compress(json.dumps(infer(x())).encode()), {"Content-Encoding": "deflate"}),
    Case("classification", DOUBLER, infer(x([3, 1, 2]), outputs=[{"name": "y", "parameters": {"classification": 2}}])),
    Case("server metadata", "/v2", differ={"name": "", "version": "", "extensions": "what there is"}),
    Case("model metadata", "/v2/models/doubler", differ={"platform": "here it is ONNX Runtime", "parameters": "the verdict on batching"}),
    Case("live", "/v2/health/live", differ={"live": "the specification has a body"}),
    Case("ready", "/v2/health/ready", differ={"ready": "the specification has a body"}),
    Case("model ready", "/v2/models/doubler/ready", differ={"name": "the specification has a body", "ready": ""}),
    # what is wrong
    Case("no JSON", DOUBLER, b"{nonsense", differ=THEIRS_500),
    Case("no body", DOUBLER, b""),
    Case("an array", DOUBLER, [], differ=THEIRS_500),
    Case("no inputs", DOUBLER, {}, differ=THEIRS_500),
    Case("empty inputs", DOUBLER, {"inputs": []}),
    Case("an input too many", DOUBLER, infer(x(), {**x(), "name": "z"})),
    Case("an unknown input", DOUBLER, infer({**x(), "name": "z"})),
    Case("a missing input", "/v2/models/kinds/infer", infer(*KINDS[:2])),
    Case("an unknown output", DOUBLER, infer(x(), outputs=[{"name": "z"}])),
    Case("a wrong type", DOUBLER, infer(x(datatype="FP64"))),
    Case("an unknown type", DOUBLER, infer(x(datatype="FP8"))),
    Case("a wrong shape", DOUBLER, infer(x([1, 2], (1, 2)))),
    Case("a wrong rank", DOUBLER, infer(x([1, 2, 3], (3,)))),
    Case("too few elements", DOUBLER, infer(x([1, 2])), differ=THEIRS_500),
    Case("too many elements", DOUBLER, infer(x([1, 2, 3, 4])), differ=THEIRS_500),
    Case("a string for a number", DOUBLER, infer(x([1, 2, "3"])), differ=THEIRS_500),
    Case("a boolean for a number", DOUBLER, infer(x([1, 2, True])), differ=THEIRS_500),
    Case("null for a number", DOUBLER, infer(x([1, 2, None])), differ=THEIRS_500),
    Case("a negative length", DOUBLER, infer(x([1, 2, 3], (-1, 3))), differ=THEIRS_500),
    Case("no shape", DOUBLER, infer({"name": "x", "datatype": "FP32", "data": [1, 2, 3]}), differ=THEIRS_500),
    Case("no data", DOUBLER, infer(x(None))),
    Case("no rows", DOUBLER, infer(x([], (0, 3)))),
    Case("more rows than a batch", DOUBLER, infer(x([1.0] * 60, (20, 3))), differ={"status": "larger requests are split here"}),
    Case("ragged rows", DOUBLER, infer(x([[1, 2, 3], [4, 5]], (2, 3))), differ=THEIRS_500),
    Case("the same input twice", DOUBLER, infer(x(), x())),
    Case("the wrong verb", DOUBLER),
    Case("an unknown model", "/v2/models/nothing/infer", infer(x())),
    Case("an unknown version", "/v2/models/doubler/versions/9/infer", infer(x())),
    Case("metadata of an unknown model", "/v2/models/nothing"),
    Case("readiness of an unknown model", "/v2/models/nothing/ready", differ=NOT_READY),
    Case("an unknown path", "/v2/nothing"),
    Case("an unknown encoding", DOUBLER, b"x", {"Content-Encoding": "br"}, differ={"status": "RFC 9110 has 415 for this"}),
    Case("damaged gzip", DOUBLER, b"\x1f\x8bnonsense", {"Content-Encoding": "gzip"}),
    Case("a length that is too large", DOUBLER, b"{}", {"Inference-Header-Content-Length": "99"}),
    Case("a length that is no number", DOUBLER, b"{}", {"Inference-Header-Content-Length": "many"}),
    bin_case("too few bytes", infer(SIZED), ROW[:-1]),
    bin_case("too many bytes", infer(SIZED), ROW + b"\0"),
    bin_case("a size that doesn't fit the shape", infer(x(None, parameters={"binary_data_size": 8})), ROW[:8]),
    bin_case("data and a size", infer(x(parameters={"binary_data_size": 12})), ROW),
    Case("a raw body that doesn't fit", DOUBLER, ROW[:-1], {"Inference-Header-Content-Length": "0"}),
]  # fmt: skip


def told(response: requests.Response) -> tuple[Any, bytes]:
    """The JSON of an answer ({} for none) and the bytes behind it."""
    length = response.headers.get("Inference-Header-Content-Length")
    content = response.content
    text = content if length is None else content[: int(length)]
    return json.loads(text) if text else {}, b"" if length is None else content[int(length) :]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_answer_alike(triton: Triton, ours: str, case: Case) -> None:
    theirs, own = case.send(triton.url), case.send(ours)
    if "status" in case.differ:
        assert theirs.status_code != own.status_code, "the listed difference is gone"
    else:
        assert own.status_code == theirs.status_code, f"{theirs.content!r} {own.content!r}"
    if own.status_code != 200:
        assert list(own.json()) == ["error"]
        assert isinstance(own.json()["error"], str)
        return
    if theirs.status_code != 200:
        return
    (their_json, their_tail), (own_json, own_tail) = told(theirs), told(own)
    assert own_tail == their_tail
    if "order" in case.differ:
        for answer in (own_json, their_json):
            answer["outputs"].sort(key=lambda output: output["name"])
    assert _without(own_json, case.differ) == _without(their_json, case.differ)


def _without(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key not in names}
    return sorted(value, key=json.dumps) if isinstance(value, list) else value


def test_the_metrics_have_tritons_names_and_count_alike(triton: Triton, ours: str) -> None:
    """Those of a model, but for what is of Triton's own making."""

    def read(url: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(requests.get(url, timeout=20).text):
            for sample in family.samples:
                labels = sample.labels
                if sample.name.startswith("nv_inference") and labels.get("model") == "doubler":
                    assert {"model", "version"} <= labels.keys()
                    name = sample.name.removesuffix("_total")  # which the parser adds
                    found[name] = found.get(name, 0) + sample.value
        return found

    pages = [triton.metrics, f"{ours}/metrics"]
    before = [read(page) for page in pages]
    request = Case("", DOUBLER, infer(x([1, 2, 3, 4, 5, 6], (2, 3))))
    for _ in range(3):
        for url in (triton.url, ours):
            assert request.send(url).ok

    def grown(of: int) -> dict[str, float]:
        return {name: value - before[of].get(name, 0) for name, value in read(pages[of]).items()}

    counted = ("nv_inference_request_success", "nv_inference_exec_count")
    asyncio.run(until(lambda: all(grown(0)[name] >= 3 for name in counted)))  # after its answers
    theirs, own = grown(0), grown(1)
    assert own.keys() == {name for name in theirs if "cache" not in name}
    for name in (
        "request_success",
        "request_failure",
        "count",
        "exec_count",
        "pending_request_count",
    ):
        assert own[f"nv_inference_{name}"] == theirs[f"nv_inference_{name}"], name
    assert all(own[name] > 0 for name in own if name.endswith("_us"))
