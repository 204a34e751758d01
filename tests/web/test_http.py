"""Every error and every path, over real HTTP against the command as users start it."""

import gzip
import json
import socket
import zlib
from typing import Any

import pytest
import requests
from openapi_spec_validator import validate
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conftest import RunningServer

PREDICT = "/v1/models/doubler/versions/1:predict"


def test_a_websocket_where_there_is_none_is_refused_in_words(zoo_server: RunningServer) -> None:
    url = zoo_server.url.replace("http:", "ws:")
    for path in ("/", "/models/doubler/classify", "/v1/realtime"):
        with pytest.raises(InvalidStatus) as refused, connect(url + path):
            pass
        answer = refused.value.response
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        said = json.loads(answer.body or b"")["error"]
        assert said == f"no such stream: {path}; streams are at /models/MODEL/TASK/stream"


def post(server: RunningServer, path: str, body: Any, **headers: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return requests.post(server.url + path, data=data, headers=headers, timeout=20)


def error(response: requests.Response) -> str:
    """The error text; nothing else is ever in the body's place."""
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert list(content) == ["error"]
    assert isinstance(content["error"], str)
    return str(content["error"])


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (PREDICT, {"instances": [[1, 2, 3], [1, 2]]}, 400, "instances[1]: input 'x': expected shape [3], got [2]"),
        (PREDICT, {"instances": [[1, 2, [3]]]}, 400, "instances[0][2]: input 'x': expected one float32"),
        (PREDICT, {"instances": [[1, 2, "3"]]}, 400, "instances[0][2]: input 'x': expected float32, got a string '3'"),
        (PREDICT, {"instances": [[1, 2, 1e39]]}, 400, "expected a finite float32"),
        (PREDICT, b'{"instances": [[1, 2, NaN]]}', 400, "NaN at byte 22 is not a JSON number"),
        (PREDICT, b'{"instances": [[1, 2, Infinity]]}', 400, "Infinity at byte 22"),
        (PREDICT, {"instances": []}, 400, "instances: the batch is empty"),
        (PREDICT, {"inputs": []}, 400, "the batch is empty"),
        (PREDICT, {"instances": [{"0": 1, "1": 2, "2": 3}]}, 400, "instances[0]: missing input 'x' and an array as an object with the keys '0', '1', …: JavaScript writes typed arrays so, send Array.from(it); this model takes 'x'"),
        ("/v2/models/doubler/infer", {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": {"0": 1, "1": 2, "2": 3}}]}, 400, "inputs[0].data: input 'x': expected an array, got an object with the keys '0', '1', …: JavaScript writes typed arrays so, send Array.from(it)"),
        (PREDICT, {"inputs": {"z": 1}}, 400, "inputs: missing input 'x' and unknown input 'z'"),
        (PREDICT, {}, 400, "expected one of 'instances' and 'inputs', got neither"),
        (PREDICT, [], 400, "expected an object with 'instances' or 'inputs'"),
        (PREDICT, b"", 400, "the body is empty"),
        (PREDICT, b"instances=1", 400, "it seems to be a form: send JSON instead, as requests.post(json=...)"),
        (PREDICT, b"{'instances': [[1, 2, 3]]}", 400, "JSON has double quotes"),
        (PREDICT, json.dumps(json.dumps({"instances": [[1, 2, 3]]})).encode(), 400, "got JSON within a string (encoded twice?), '{"),
        (PREDICT, b"{nonsense", 400, "the body is not valid JSON"),
        ("/v1/models/every-kind:predict", {"instances": [{"name": "a", "flag": True, "counts": [1, 2**63]}]}, 400, "instances[0].counts[1]: expected int64 from"),
        ("/v1/models/every-kind:predict", {"inputs": {"name": ["a"], "flag": [True, False], "counts": [[1, 2]]}}, 400, "same number of rows: name has 1, flag has 2"),
        ("/v1/models/embedding:predict", {"instances": [99]}, 400, "the model refuses these values in the model's Gather node"),
        ("/v1/models/nothing:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nothing): Request for unknown model: 'nothing'"),
        ("/v1/models/doubler/versions/7:predict", {"instances": [1]}, 404, "no version 7 loaded; loaded versions: 1, 2"),
        ("/v1/models/doubler/versions/one:predict", {"instances": [1]}, 404, "version 'one' of model 'doubler' is not a whole number"),
        (f"/v1/models/doubler/versions/{10**19}:predict", {"instances": [1]}, 404, "version '10000000000000000000' of model 'doubler' has 20 digits, and versions have at most 19"),
        (f"/v2/models/doubler/versions/{10**2000}/infer", {"inputs": []}, 404, f"version '1{'0' * 39}…' of model 'doubler' has 2001 digits"),
        ("/v2/models/doubler/versions/02/infer", {"inputs": []}, 404, "version '02' of model 'doubler' begins with 0: versions are written without leading zeros"),
        ("/v2/models/doubler/versions/2%0A/infer", {"inputs": []}, 404, "is not a whole number"),
        ("/nowhere", {}, 404, "no such path: POST /nowhere"),
        ("/predict", [1], 400, "several models are served"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_was_wrong_where_and_what_was_expected(
    zoo_server: RunningServer, path: str, body: Any, status: int, message: str
) -> None:
    response = post(zoo_server, path, body)
    assert message in error(response)
    assert response.status_code == status
    assert "total;dur=" in response.headers["server-timing"]


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain;charset=UTF-8", ""])
def test_json_under_a_type_that_says_nothing_is_read(zoo_server: RunningServer, kind: str) -> None:
    """aiohttp calls bytes application/octet-stream, JavaScript's fetch a string text/plain."""
    response = post(zoo_server, PREDICT, b'{"instances": [[1, 2, 3]]}', Content_Type=kind)
    assert response.json() == {"predictions": [[2.0, 4.0, 6.0]]}


def test_a_wrong_content_type_is_415(zoo_server: RunningServer) -> None:
    response = post(zoo_server, PREDICT, b"<x/>", Content_Type="text/xml; charset=utf-8")
    assert response.status_code == 415
    assert error(response) == "Content-Type is 'text/xml', expected 'application/json'"


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "application/x-www-form-urlencoded", "application/vnd.x+json",
     "text/plain;charset=UTF-8", "text/plain"],
)  # fmt: skip
def test_what_tensorflow_servings_curl_examples_send_is_taken(
    zoo_server: RunningServer, content_type: str
) -> None:
    body = {"instances": [[1, 2, 3]]}
    assert post(zoo_server, PREDICT, body, Content_Type=content_type).json() == {
        "predictions": [[2, 4, 6]]
    }


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "5ms"])
def test_a_wrong_deadline_is_told(zoo_server: RunningServer, value: str) -> None:
    response = post(zoo_server, PREDICT, {"instances": [[1, 2, 3]]}, X_Request_Timeout=value)
    assert response.status_code == 400
    assert "X-Request-Timeout: expected seconds as a positive number" in error(response)


def test_priorities_are_taken_and_a_wrong_one_is_told(zoo_server: RunningServer) -> None:
    body = {"instances": [[1, 2, 3]]}
    for priority in ("high", "Normal", "low"):
        assert post(zoo_server, PREDICT, body, X_Priority=priority).status_code == 200
    response = post(zoo_server, PREDICT, body, X_Priority="urgent")
    assert response.status_code == 400
    assert "X-Priority: expected 'high', 'normal', 'low', got 'urgent'" in error(response)


def test_the_scheduler_explains_itself(zoo_server: RunningServer) -> None:
    assert post(zoo_server, PREDICT, {"instances": [[1, 2, 3]]}).status_code == 200
    for path in ("/v2/models/doubler/scheduler", "/v2/models/doubler/versions/1/scheduler"):
        told = requests.get(zoo_server.url + path, timeout=20).json()
        assert told["cost"]["tables"][0]["table"][0]["rows"] == 1
        assert told["max_batch_size"] >= 32, "a cheap model has large batches"
        assert told["default_deadline_ms"] >= 2000
    assert told["recent_batches"][0]["because"]
    missing = requests.get(zoo_server.url + "/v2/models/nothing/scheduler", timeout=20)
    assert missing.status_code == 404
    assert "unknown model: 'nothing'" in error(missing)


def test_the_wrong_verb_is_405(zoo_server: RunningServer) -> None:
    for response in (
        requests.get(zoo_server.url + PREDICT, timeout=20),
        requests.get(zoo_server.url + "/v1/models/doubler:predict", timeout=20),
    ):
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        error(response)
    assert requests.post(zoo_server.url + "/v2/models", timeout=20).status_code == 405


def raw(server: RunningServer, request: bytes) -> bytes:
    """Bytes over a socket, and all bytes that come back until the server closes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_a_huge_body_is_refused_before_it_is_read(zoo_server: RunningServer) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    answer = raw(zoo_server, head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"the body has 99999999999 bytes, the limit is 33554432" in answer
    assert b"connection: close" in answer


def test_a_huge_body_of_undeclared_length_is_refused_on_the_way(zoo_server: RunningServer) -> None:
    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 2**20

    try:
        response = requests.post(zoo_server.url + PREDICT, data=chunks(), timeout=20)
    except requests.ConnectionError:
        return  # the server had closed before the client had sent everything
    assert response.status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bodies_may_be_compressed_both_ways(zoo_server: RunningServer, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    rows = [[i, 0, 0] for i in range(300)]
    body = pack(json.dumps({"instances": rows}).encode())
    response = post(zoo_server, PREDICT, body, Content_Encoding=encoding, Accept_Encoding=encoding)
    assert response.headers["content-encoding"] == encoding
    assert response.headers["vary"] == "Accept-Encoding"
    assert int(response.headers["content-length"]) < 2000
    assert response.json()["predictions"][299] == [598, 0, 0]
    small = post(zoo_server, PREDICT, {"instances": [[1, 2, 3]]}, Accept_Encoding=encoding)
    assert "content-encoding" not in small.headers


def test_x_gzip_is_gzip_and_a_byte_order_mark_is_passed_over(zoo_server: RunningServer) -> None:
    plain = json.dumps({"instances": [[1, 2, 3]]})
    for body, headers in (
        (gzip.compress(plain.encode()), {"Content_Encoding": "x-gzip"}),
        (b"\xef\xbb\xbf" + plain.encode(), {}),
        (plain.encode("utf-16"), {}),
        (plain.encode("utf-16-le"), {"Content_Type": "application/json; charset=UTF-16LE"}),
        (gzip.compress(b"\xef\xbb\xbf" + plain.encode()), {"Content_Encoding": "gzip"}),
    ):
        assert post(zoo_server, PREDICT, body, **headers).json() == {"predictions": [[2, 4, 6]]}
    unknown = post(
        zoo_server, PREDICT, plain.encode(), Content_Type="application/json; charset=x-y"
    )
    assert unknown.status_code == 415
    assert error(unknown) == "Content-Type: unknown charset 'x-y'"


def test_damaged_and_unknown_compression_is_told(zoo_server: RunningServer) -> None:
    response = post(zoo_server, PREDICT, b"{}", Content_Encoding="gzip")
    assert response.status_code == 400
    assert "the body is not valid gzip" in error(response)
    response = post(zoo_server, PREDICT, b"{}", Content_Encoding="br")
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"
    assert "Content-Encoding 'br' is not supported" in error(response)
    bomb = gzip.compress(bytes(40 * 2**20))
    response = post(zoo_server, PREDICT, bomb, Content_Encoding="gzip")
    assert response.status_code == 413
    assert "unpacked, the body has more than 33554432 bytes" in error(response)


def test_nan_in_an_answer_is_null_bare_or_an_error_as_asked(zoo_server: RunningServer) -> None:
    large = {"instances": [[3e38, 1, 1]]}  # twice that is no float32
    assert post(zoo_server, PREDICT, large).json() == {"predictions": [[None, 2, 2]]}
    bare = post(zoo_server, PREDICT, large, X_Non_Finite="bare")
    assert bare.content == b'{"predictions":[[Infinity,2.0,2.0]]}'
    response = post(zoo_server, PREDICT, large, X_Non_Finite="error")
    assert response.status_code == 500
    assert "the model's answer holds NaN or Infinity" in error(response)
    sent = b'{"instances": [[NaN, -Infinity, 1]]}'
    assert post(zoo_server, PREDICT, sent, X_Non_Finite="bare").content == (
        b'{"predictions":[[NaN,-Infinity,2.0]]}'
    )
    response = post(zoo_server, PREDICT, large, X_Non_Finite="maybe")
    assert "X-Non-Finite: expected 'null', 'error', 'bare', got 'maybe'" in error(response)


def test_tensorflow_servings_other_verbs_versions_and_labels(
    zoo_server: RunningServer, server: RunningServer
) -> None:
    zeros = {"image": [0.0] * 64}
    answer = post(server, "/v1/models/digits:classify", {"examples": [zeros, zeros]}).json()
    assert [label for label, _ in answer["results"][1]] == [str(digit) for digit in range(10)]
    response = post(server, "/v1/models/digits:regress", {"examples": [zeros]})
    assert "this model can't regress" in error(response)
    answer = post(zoo_server, "/v1/models/any-length:regress", {"examples": [{"x": [1, 2]}]})
    assert answer.json() == {"results": [3.0]}
    old = {"instances": [[1, 2, 3]]}
    for path in ("/labels/stable:predict", "/labels/stable:Predict", "/versions/1:PREDICT"):
        answer = post(zoo_server, "/v1/models/doubler" + path, old)
        assert answer.json() == {"predictions": [[2, 4, 6]]}
    status = requests.get(zoo_server.url + "/v1/models/doubler/labels/stable", timeout=20).json()
    assert [entry["version"] for entry in status["model_version_status"]] == ["1"]
    path = "/v1/models/doubler/labels/stable/metadata"
    assert requests.get(zoo_server.url + path, timeout=20).json()["model_spec"]["version"] == "1"
    response = post(zoo_server, "/v1/models/doubler/labels/other:predict", old)
    assert response.status_code == 404
    assert "no loaded version of model 'doubler' has the label 'other'" in error(response)
    response = post(zoo_server, "/v1/models/doubler:explain", old)
    assert (response.status_code, "malformed request" in error(response)) == (404, True)
    assert requests.get(zoo_server.url + "/v1/models/a/b/c", timeout=20).status_code == 404
    assert (
        requests.get(zoo_server.url + "/v1/models/doubler:Predict", timeout=20).status_code == 405
    )


def test_answers_tell_where_the_time_went(zoo_server: RunningServer) -> None:
    timing = post(zoo_server, PREDICT, {"instances": [[1, 2, 3]]}).headers["server-timing"]
    names = [part.split(";")[0] for part in timing.split(", ")]
    assert names == ["decode", "queue", "compute", "batch", "total"]
    assert 'batch;desc="1 rows"' in timing
    for path in ("/v2", "/metrics", "/openapi.json", "/nowhere", "/docs"):
        headers = requests.get(zoo_server.url + path, timeout=20).headers
        assert headers["server-timing"].startswith("total;dur="), path


def test_every_kind_of_tensor_passes_in_both_forms(zoo_server: RunningServer) -> None:
    path = "/v1/models/every-kind:predict"
    rows = [
        {"name": "grüß", "flag": True, "counts": [1, 2]},
        {"name": "", "flag": False, "counts": [3, -4]},
    ]
    answer = post(zoo_server, path, {"instances": rows}).json()["predictions"]
    assert [{k.removesuffix("_out"): v for k, v in row.items()} for row in answer] == rows
    columns = {"name": ["a", "b"], "flag": [True, False], "counts": [[1, 2], [3, 4]]}
    answer = post(zoo_server, path, {"inputs": columns}).json()["outputs"]
    assert {k.removesuffix("_out"): v for k, v in answer.items()} == columns


def test_rows_of_any_length(zoo_server: RunningServer) -> None:
    path = "/v1/models/any-length:predict"
    assert post(zoo_server, path, {"instances": [[1, 2], [3, 4]]}).json() == {"predictions": [3, 7]}
    assert post(zoo_server, path, {"instances": [[1] * 9]}).json() == {"predictions": [9]}
    ragged = post(zoo_server, path, {"instances": [[1, 2], [3]]})
    assert "instances[1]: input 'x': expected shape [2], got [1]" in error(ragged)


def test_a_model_that_breaks_at_two_rows_answers_two_rows(zoo_server: RunningServer) -> None:
    rows = [[[1, 2], [3, 4]], [[5, 6], [7, -8]]]
    answer = post(zoo_server, "/v1/models/fixed-reshape:predict", {"instances": rows})
    assert answer.json() == {"predictions": [[1, 2, 3, 4], [5, 6, 7, 0]]}


def test_a_model_without_a_batch_axis_answers_a_request_as_sent(zoo_server: RunningServer) -> None:
    answer = post(
        zoo_server, "/v1/models/over-the-batch:predict", {"inputs": [[1, 2, 3], [3, 4, 5]]}
    )
    assert answer.json() == {"outputs": [2, 3, 4]}
    answer = post(
        zoo_server, "/v1/models/scalar-switch:predict", {"inputs": {"x": [[1, 2, 3]], "factor": 2}}
    )
    assert answer.json() == {"outputs": [[2, 4, 6]]}


def test_the_highest_version_is_served_by_default(zoo_server: RunningServer) -> None:
    answer = post(zoo_server, "/v1/models/doubler:predict", {"instances": [[1, 2, 3, 4]]})
    assert answer.json() == {"predictions": [[2, 4, 6, 8]]}


def test_a_request_larger_than_a_batch_is_answered_in_order(zoo_server: RunningServer) -> None:
    rows = [[i, 0, 0] for i in range(1000)]
    answer = post(zoo_server, PREDICT, {"instances": rows})
    assert [row[0] for row in answer.json()["predictions"]] == [2 * i for i in range(1000)]


def test_a_large_body_that_is_wrong_at_its_very_end_is_told_like_a_small_one(
    zoo_server: RunningServer,
) -> None:
    rows = [[1.5] * 2048 for _ in range(100)]
    rows[-1][-1] = "x"  # type: ignore[call-overload]
    answer = post(zoo_server, "/v1/models/heavy:predict", {"instances": rows})
    assert len(answer.request.body or b"") > 2**18
    assert "instances[99][2047]: input 'x': expected float32, got a string 'x'" in error(answer)


def test_the_list_of_models_tells_specs_and_why_one_is_not_batched(
    zoo_server: RunningServer,
) -> None:
    models = requests.get(zoo_server.url + "/v2/models", timeout=20).json()["models"]
    by_name = {(m["name"], m["version"]): m for m in models}
    assert by_name["doubler", "2"]["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    ]
    assert by_name["doubler", "2"]["batching"] == "merge"
    assert "Reshape node 'flatten'" in by_name["fixed-reshape", "1"]["warnings"][0]


def test_health_and_metadata(zoo_server: RunningServer) -> None:
    def get(path: str) -> requests.Response:
        return requests.get(zoo_server.url + path, timeout=20)

    assert get("/v2/health/live").json() == {"live": True}
    assert get("/v2/health/ready").json() == {"ready": True}
    assert get("/v2").json()["name"] == get("/v2/").json()["name"] == "inference-service"
    assert get("/v2/models/doubler").json()["versions"] == ["1", "2"]
    assert get("/v2/models/doubler/versions/1").json()["inputs"][0]["shape"] == [-1, 3]
    assert get("/v2/models/doubler/ready").status_code == 200
    assert get("/v2/models/doubler/versions/9/ready").status_code == 404
    assert get("/v1/models/doubler").json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert get("/v1/models/doubler/versions/1").status_code == 200
    spec = get("/v1/models/doubler/metadata").json()["model_spec"]
    assert spec == {"name": "doubler", "signature_name": "", "version": "2"}
    assert get("/v1/models/nothing").status_code == 404
    assert get("/v1/models/nothing/metadata").status_code == 404


def test_the_openapi_document_is_valid_and_types_every_model(zoo_server: RunningServer) -> None:
    document = requests.get(zoo_server.url + "/openapi.json", timeout=20).json()
    validate(document)
    for name in ("embedding", "heavy", "doubler/versions/1", "doubler/versions/2"):
        body = document["paths"][f"/v1/models/{name}:predict"]["post"]["requestBody"]
        example = body["content"]["application/json"]["example"]
        answer = post(zoo_server, f"/v1/models/{name}:predict", example)
        assert answer.status_code == 200, answer.text
    assert next(iter(document["paths"])) == "/v1/models/any-length:predict", "models come first"


def test_the_document_shows_no_answer_that_frameworks_add(zoo_server: RunningServer) -> None:
    document = requests.get(zoo_server.url + "/openapi.json", timeout=20).json()
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            assert "422" not in operation["responses"], f"{verb} {path}"
    assert "HTTPValidationError" not in document["components"]["schemas"]
