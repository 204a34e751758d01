"""Pictures and texts over real HTTP: every way to send them, and every way to get it wrong."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import text_models
from tests.conftest import RunningServer, serving
from tests.task_models import picture, save_colours, save_letters

RED = picture("red")
COLOURS = "/models/colours/classify"
LETTERS = "/models/letters/classify"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def tasks_server(tmp_path_factory: pytest.TempPathFactory, zoo: Path) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("tasks")
    save_colours(folder / "colours", "max_pixels = 1000000\n")
    save_letters(folder / "letters")
    text_models.save(folder / "encoder")
    shutil.copytree(zoo / "doubler", folder / "doubler")
    with serving(folder, INFERENCE_SERVICE_LIMITS__MAX_BODY_BYTES="3000000") as running:
        yield running


@pytest.fixture
def post(tasks_server: RunningServer) -> Callable[..., requests.Response]:
    def send(path: str, **what: Any) -> requests.Response:
        kind = what.pop("type", None)
        headers = what.pop("headers", {}) | ({"Content-Type": kind} if kind else {})
        return requests.post(tasks_server.url + path, headers=headers, timeout=20, **what)

    return send


def tops(response: requests.Response) -> list[str]:
    """The likeliest label of each payload."""
    assert response.status_code == 200, response.text
    return [result["labels"][0]["label"] for result in response.json()["results"]]


@pytest.mark.parametrize(
    "what",
    [
        {"data": RED, "type": "image/png"},
        {"data": RED, "type": "application/octet-stream"},
        {"data": RED, "type": "application/x-www-form-urlencoded"},  # curl --data-binary @red.png
        {"data": RED},
        {"data": RED, "type": "image/jpeg"},  # what it is counts, not what it is called
        {"data": RED, "type": "image/jpg"},
        {"data": RED, "type": "image/*"},
        {"data": RED, "type": "binary/octet-stream"},
        {"data": RED, "type": "audio/wav"},
        {"data": json.dumps({"image": b64(RED)}), "type": "text/plain;charset=UTF-8"},
        {"data": json.dumps({"image": b64(RED)}).encode("utf-16"), "type": "text/plain"},
        {"data": RED, "type": "text/plain"},
        {"json": {"image": "DATA:image/png;BASE64," + b64(RED)}},
        {
            "data": b"\xef\xbb\xbf" + json.dumps({"image": b64(RED)}).encode(),
            "type": "application/json",
        },
        {
            "data": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
            + RED
            + b"\r\n--x--",
            "type": "multipart/mixed; boundary=x",  # OkHttp's default
        },
        {"data": {"image": b64(RED)}},
        {"data": "image=" + b64(RED), "type": "application/x-www-form-urlencoded"},
        {"files": {"image": ("red.png", RED, "image/png")}},
        {"files": {"file": RED}},
        {"json": {"image": b64(RED)}},
        {"json": {"image": {"b64": b64(RED)}}},
        {"json": {"image": "data:image/png;base64," + b64(RED)}},
        {"data": RED, "type": "application/json"},  # http POST URL < red.png
        {"data": json.dumps({"image": b64(RED)}), "type": "application/octet-stream"},
        {"files": {"images[]": RED}},
        {"files": {"images[0]": RED}},
        {"data": {"images[]": b64(RED)}},
    ],
    ids=lambda what: str(what.get("type") or next(iter(what))),
)
def test_a_picture_is_classified_however_it_is_sent(
    post: Callable[..., requests.Response], what: dict[str, Any]
) -> None:
    response = post(COLOURS, **what)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["model"] == "colours"
    assert answer["version"] == "1"
    (result,) = answer["results"]
    assert [one["label"] for one in result["labels"]] == ["red", "green", "blue"]
    assert result["labels"][0] == {
        "label": "red",
        "score": pytest.approx(0.9999, abs=1e-3),
        "index": 0,
    }
    assert "compute;dur=" in response.headers["server-timing"]


def test_several_pictures_in_one_request_are_answered_in_their_order(
    post: Callable[..., requests.Response],
) -> None:
    colours = ["blue", "red", "green", "green", "blue"]
    pictures = [picture(colour) for colour in colours]
    assert tops(post(COLOURS, json={"images": [b64(one) for one in pictures]})) == colours
    files = [("images", (f"{i}.png", one, "image/png")) for i, one in enumerate(pictures)]
    assert tops(post(COLOURS, files=files)) == colours


def test_pictures_of_many_clients_share_runs(
    post: Callable[..., requests.Response], tasks_server: RunningServer
) -> None:
    colours = ["red", "green", "blue"] * 20
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda c: post(COLOURS, data=picture(c), type="image/png"), colours)
        assert [tops(answer) for answer in answers] == [[colour] for colour in colours]
    metrics = requests.get(tasks_server.url + "/metrics", timeout=10).text
    assert 'inference_requests_total{model="colours"' in metrics
    assert 'protocol="tasks"' in metrics


def test_parameters_come_in_the_url_in_the_form_or_in_json(
    post: Callable[..., requests.Response],
) -> None:
    for what in (
        {"path": COLOURS + "?top_k=1", "data": RED, "type": "image/png"},
        {"path": COLOURS, "files": {"image": RED}, "data": {"top_k": "1"}},
        {"path": COLOURS, "json": {"image": b64(RED), "top_k": 1}},
        {"path": COLOURS + "?threshold=0.5", "json": {"image": b64(RED)}},
    ):
        (result,) = post(**what).json()["results"]
        assert [one["label"] for one in result["labels"]] == ["red"]


def test_a_version_can_be_named(post: Callable[..., requests.Response]) -> None:
    assert tops(post("/models/colours/versions/1/classify", data=RED)) == ["red"]
    assert post("/models/colours/versions/9/classify", data=RED).status_code == 404


@pytest.mark.parametrize(
    ("path", "what", "status", "message"),
    [
        (COLOURS, {"data": b"", "type": "image/png"}, 400, "the image is empty: 0 bytes"),
        (COLOURS, {"data": b"GIF89a", "type": "image/gif"}, 400, "no image that can be read"),
        (COLOURS, {"data": RED[:50], "type": "image/png"}, 400, "the PNG image is damaged"),
        (COLOURS, {"data": picture(size=(2000, 2000))}, 400, "2000 x 2000 = 4000000 pixels, the limit is 1000000"),
        (COLOURS, {"data": b"x" * 3_000_001}, 413, "the body has 3000001 bytes, the limit is 3000000"),
        (COLOURS, {"data": RED, "type": "text/html"}, 415, "Content-Type is 'text/html', expected one of 'image/jpeg'"),
        (LETTERS, {"data": "x", "type": "image/png"}, 415, "Content-Type is 'image/png'"),
        (COLOURS, {"data": b"RIFF", "type": "audio/wav"}, 400, "no image that can be read"),
        (COLOURS, {"json": {"image": "https://example.com/cat.jpg"}}, 400, "image: expected base64, got a URL: files are sent, not fetched"),
        (COLOURS, {"data": b"--x", "type": "multipart/form-data; boundary=" + "x" * 300}, 400, "the form can"),
        (LETTERS, {"data": '{"other": "zz"}', "type": "text/plain"}, 400, "the body is JSON without 'text' or 'texts'"),
        (LETTERS, {"data": '["zz"]', "type": "text/plain"}, 400, "the body is JSON without 'text' or 'texts'"),
        (LETTERS, {"data": "message=zz", "type": "application/x-www-form-urlencoded"}, 400, "the form has no payload: expected a field named one of 'text', 'texts', 'file', 'files'"),
        (LETTERS, {"data": b"zz", "type": "text/plain; charset=klingon"}, 415, "unknown charset 'klingon'"),
        (LETTERS, {"data": b"zz", "type": "text/plain; charset=punycode"}, 415, "unknown charset 'punycode'"),
        (LETTERS, {"data": b"z", "type": "text/plain; charset=utf-16-le"}, 400, "the body is not utf-16-le: byte 0"),
        (COLOURS, {"json": {"image": "%%%"}}, 400, "image: not base64"),
        (COLOURS, {"json": {"image": 7}}, 400, "image: expected base64 in a string, got an integer"),
        (COLOURS, {"json": {"image": "data:image/png,abc"}}, 400, "expected a data URL in base64"),
        (COLOURS, {"json": {"images": [b64(RED), b64(b"no")]}}, 400, "images[1]: no image that can be read"),
        (COLOURS, {"json": {"images": []}}, 400, "images: the list is empty"),
        (COLOURS, {"json": {"images": [b64(RED)] * 257}}, 400, "images: 257 in one request, the limit is 256"),
        (COLOURS, {"json": {"images": "x"}}, 400, "images: expected a list, got a string 'x'"),
        (COLOURS, {"json": {"picture": "x"}}, 400, "expected an object with either 'image' or 'images', got neither"),
        (COLOURS, {"json": json.dumps({"image": "x"})}, 400, "expected an object with either 'image' or 'images', got JSON within a string"),
        (COLOURS, {"data": b'{"image": "\xe4"}', "type": "application/json"}, 400, "is not UTF-8; another charset is named in Content-Type, and a file is not sent as JSON"),
        (COLOURS, {"data": b"\xff\xd8\xff" + b"x" * 3000, "type": "application/x-www-form-urlencoded"}, 400, "the image has lost its line breaks and zeros on its way, as files do that are sent with curl's -d: use --data-binary"),
        (COLOURS, {"data": b"\xff\xd8\xff" + b"x" * 300}, 400, "it begins as a JPEG image and is damaged"),
        (LETTERS, {"data": b'{"other": "zz"}', "type": "application/octet-stream"}, 400, "the body is JSON without 'text' or 'texts'"),
        (COLOURS, {"data": "nothing", "type": "text/plain"}, 400, "no image that can be read"),
        (COLOURS, {"json": {"image": "x", "images": ["y"]}}, 400, "either 'image' or 'images'"),
        (COLOURS, {"data": b'{"image": ', "type": "application/json"}, 400, "not valid JSON"),
        (COLOURS, {"json": {"image": b64(RED), "topk": 2}}, 400, "topk: no such parameter; did you mean 'top_k'?"),
        (COLOURS + "?top_k=0", {"data": RED}, 400, "top_k: expected a number above 0, got '0'"),
        (COLOURS + "?top_k=many", {"data": RED}, 400, "top_k: expected a whole number, got 'many'"),
        (COLOURS + "?top_k=1", {"json": {"image": b64(RED), "top_k": 2}}, 400, "top_k: given twice"),
        (COLOURS, {"files": {"picture": RED}}, 400, "the form has no payload: expected a field named one of 'image', 'images', 'file', 'files', got 'picture'"),
        (COLOURS, {"files": [("image", RED), ("image", b"no")]}, 400, "image[1]: no image that can be read"),
        (COLOURS, {"data": b"no form", "type": "multipart/form-data; boundary=x"}, 400, "the form can"),
        (COLOURS, {"data": b"--x\r\n", "type": "multipart/form-data"}, 400, "without a boundary"),
        (COLOURS, {"data": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc', "type": "multipart/form-data; boundary=x"}, 400, "the form is cut short"),
        ("/models/colours/detect", {"data": RED}, 404, "model 'colours' can't detect; it has 'classify'"),
        ("/models/doubler/classify", {"data": RED}, 404, "model 'doubler' has no tasks: its model.toml has no [pipeline]; POST tensors to /v1/models/doubler:predict"),
        ("/models/nothing/classify", {"data": RED}, 404, "unknown model: 'nothing'"),
        (LETTERS, {"json": {"text": ""}}, 400, "text: the text is empty"),
        (LETTERS, {"json": {"texts": ["x", 5]}}, 400, "texts[1]: expected a text, got an integer"),
        (LETTERS, {"json": {"text": "x" * 101}}, 400, "text: the text has 101 characters, the model takes 100; set truncate to have it cut"),
        (LETTERS, {"data": b"\xff", "type": "text/plain"}, 400, "the text is not UTF-8: byte 0 can't be read; another charset is named in Content-Type"),
        (LETTERS, {"data": RED, "type": ""}, 400, "the text is not UTF-8: byte 0 can't be read; a PNG image"),
        (LETTERS, {"data": "[object Object]", "type": "text/plain"}, 400, "the text is '[object Object]', what JavaScript makes of an object: send JSON.stringify("),
        (LETTERS, {"json": {"text": None}}, 400, "text: expected a text, got null"),
        (LETTERS, {"json": {"text": ["x"]}}, 400, "text: expected a text, got an array"),
        (LETTERS, {"json": {"inputs": "x"}}, 400, "got neither but 'inputs'"),
        (LETTERS, {"json": '{"text": "x"}'}, 400, "got JSON within a string (encoded twice?), '{"),
        (COLOURS, {"data": "cat.jpg", "type": "application/octet-stream"}, 400, "got a text 'cat.jpg'"),
        (COLOURS, {"data": "https://example.com/cat.jpg", "type": ""}, 400, "got a URL: files are sent, not fetched"),
        (COLOURS, {"data": RED.replace(b"\r", b"").replace(b"\n", b""), "type": "application/x-www-form-urlencoded"}, 400, "send them with --data-binary"),
        (COLOURS, {"data": b"%PDF-1.7", "type": "image/png"}, 400, "AVIF, HEIF, got a PDF document"),
        ("/v1/models/colours:predict", {"data": RED, "type": "image/png"}, 415, "expected 'application/json'; /models/colours/classify takes"),
        ("/v2/models/colours/infer", {"data": RED, "type": "image/png"}, 415, "; /models/colours/classify takes"),
        ("/v1/models/colours:predict", {"json": {"image": "x"}}, 400, "got neither; /models/colours/classify takes"),
        (LETTERS, {"data": b"x" * 2_900_000, "type": "text/plain"}, 400, "2900000 characters"),
        ("/models/encoder/search", {"json": {"query": "cat"}}, 400, "documents: missing"),
        ("/models/encoder/search", {"json": {"query": "cat", "documents": ["dog", ""]}}, 400, "documents[1]: the text is empty"),
        ("/models/encoder/search", {"json": {"query": "", "documents": ["dog"]}}, 400, "query: the text is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    post: Callable[..., requests.Response],
    path: str,
    what: dict[str, Any],
    status: int,
    message: str,
) -> None:
    response = post(path, **what)
    assert message in response.json()["error"]
    assert response.status_code == status


def test_a_bad_picture_costs_its_neighbours_nothing(post: Callable[..., requests.Response]) -> None:
    """Good and bad ones of many clients at once: every good one is answered."""
    bodies = [RED if i % 4 else RED[: 40 + i // 4] for i in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: post(COLOURS, data=body), bodies))
    assert [answer.status_code for answer in answers] == [200 if i % 4 else 400 for i in range(64)]


PARTS = "multipart/form-data; boundary=x"


def part(head: str, data: bytes) -> bytes:
    head = f"--x\r\nContent-Disposition: form-data; {head}\r\n\r\n"
    return head.encode() + data + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    "what",
    [
        # PHP's http_build_query; axios, Faraday and Rails; jQuery's older spelling
        {"data": "texts%5B0%5D=zebra+zoo&texts%5B1%5D=yes", "type": "application/x-www-form-urlencoded"},
        {"data": "texts%5B%5D=zebra+zoo&texts%5b%5d=yes", "type": "application/x-www-form-urlencoded"},
        {"data": "texts[]=zebra zoo&texts[]=yes", "type": "application/x-www-form-urlencoded"},
        {"files": [("texts[]", (None, "zebra zoo")), ("texts[]", (None, "yes"))]},
        {"files": [("texts[0]", (None, "zebra zoo")), ("texts[1]", (None, "yes"))]},
        # aiohttp, Apache's ByteArrayEntity and Perl's HTTP::Tiny, of bytes
        {"data": b'{"texts": ["zebra zoo", "yes"]}', "type": "application/octet-stream"},
    ],
    ids=lambda what: str(what.get("data") or what["files"][0][0]),
)  # fmt: skip
def test_a_list_of_texts_is_one_however_its_client_writes_lists(
    post: Callable[..., requests.Response], what: dict[str, Any]
) -> None:
    assert tops(post(LETTERS, **what)) == ["z", "y"]


@pytest.mark.parametrize(
    "what",
    [
        {"data": b"zzz", "type": "application/octet-stream"},
        {"data": "text=zz\xe9".encode("latin-1"), "type": "application/x-www-form-urlencoded; charset=ISO-8859-1"},
        {"data": b"text=zz%E9", "type": "application/x-www-form-urlencoded; charset=ISO-8859-1"},
        {"data": part('name="text"\r\nContent-Type: text/plain; charset=ISO-8859-1', b"zz\xe9"), "type": PARTS},
        {"data": part('name="text"\r\nContent-Type: text/plain; charset=utf-16', "zz\xe9".encode("utf-16")), "type": PARTS},
        {"data": part('name="text"\r\nContent-Transfer-Encoding: base64', b"enp6\r\n"), "type": PARTS},
        {"data": part('name="text"\r\nContent-Transfer-Encoding: quoted-printable', b"zz=C3=A9"), "type": PARTS},
        {"data": part('name="text"\r\nContent-Transfer-Encoding: binary', b"zzz"), "type": PARTS},
    ],
    ids=lambda what: str(what["data"]),
)  # fmt: skip
def test_a_text_is_read_in_the_charset_and_encoding_that_it_says(
    post: Callable[..., requests.Response], what: dict[str, Any]
) -> None:
    assert tops(post(LETTERS, **what)) == ["z"]


@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        (part('name="text"\r\nContent-Transfer-Encoding: base64', b"z"), 400, "text: not base64"),
        (part('name="text"\r\nContent-Transfer-Encoding: x-uuencode', b"z"), 400, "text: Content-Transfer-Encoding: expected 'base64', 'quoted-printable' or 'binary', got 'x-uuencode'"),
        (part('name="text"\r\nContent-Type: text/plain; charset=klingon', b"z"), 415, "unknown charset 'klingon'"),
        (part('name="text"', b"z\xe9"), 400, "text: not UTF-8"),
    ],
)  # fmt: skip
def test_an_encoding_of_a_part_that_is_none_is_told(
    post: Callable[..., requests.Response], what: bytes, status: int, message: str
) -> None:
    response = post(LETTERS, data=what, type=PARTS)
    assert (response.status_code, message in response.json()["error"]) == (status, True)


def test_texts_are_classified(post: Callable[..., requests.Response]) -> None:
    assert tops(post(LETTERS, json={"text": "zebra zoo"})) == ["z"]
    texts = ["yes", "x-ray xx", "zzz", "y" * 90]
    assert tops(post(LETTERS, json={"texts": texts})) == ["y", "x", "z", "y"]
    assert tops(post(LETTERS, data=b"x zz", type="text/plain; charset=utf-8")) == ["z"]
    cut = post(LETTERS, json={"text": "y" * 101, "truncate": True}).json()["results"][0]
    assert cut["truncated"] is True


@pytest.mark.parametrize(
    "what",
    [
        {"data": '{"text": "zz"}', "type": "text/plain;charset=UTF-8"},  # JavaScript's fetch
        {"data": '{"texts": ["zz"]}', "type": "text/plain;charset=UTF-8"},
        {"data": '\ufeff{"text": "zz"}'.encode(), "type": "application/json"},  # .NET, PowerShell
        {"data": '{"text": "zz"}'.encode("utf-16"), "type": "application/json; charset=utf-16"},
        {"data": '"zz"', "type": "text/plain"},
        {"data": {"text": "zz"}},  # requests' data=, URLSearchParams
        {"data": {"text": "zz", "top_k": "3"}},
        {"data": "text=zz+z%20z", "type": "application/x-www-form-urlencoded;charset=UTF-8"},
        {"data": "zz zz", "type": "application/x-www-form-urlencoded"},  # curl -d
        {"data": "zz%20zz", "type": "application/x-www-form-urlencoded"},  # curl --data-urlencode
        {"data": '{"text": "zz"}', "type": "application/x-www-form-urlencoded"},
        {"data": "zz"},
        {"data": '{"text": "zz"}'},
        {"data": "zz".encode("utf-16"), "type": "text/plain"},
        {"data": "zz \u00fc".encode("latin-1"), "type": 'text/plain; charset="ISO-8859-1"'},
        {"data": "zz \u20ac".encode("cp1252"), "type": "text/plain;charset=windows-1252"},
        {"data": "{zz} is no JSON", "type": "text/plain"},
    ],
    ids=lambda what: f"{what.get('type')}:{str(what['data'])[:20]}",
)
def test_a_text_is_read_as_its_client_means_it(
    post: Callable[..., requests.Response], what: dict[str, Any]
) -> None:
    """Never is the envelope taken for the text: the letters of JSON and of forms are others."""
    data = what["data"]
    what = {**what, "data": data.encode() if isinstance(data, str) else data}
    assert tops(post(LETTERS, **what)) == ["z"]


def test_a_tasks_vectors_are_those_of_the_embeddings_api(
    post: Callable[..., requests.Response],
) -> None:
    texts = ["the cat sat on the mat", "a dog"]
    ours = post("/models/encoder/embed", json={"texts": texts}).json()["results"]
    theirs = post("/v1/embeddings", json={"input": texts}).json()["data"]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["vector"] == pytest.approx(other["embedding"], abs=1e-6)
    assert [one["tokens"] for one in ours] == [8, 4]


def test_a_search_finds_the_text_itself_first(post: Callable[..., requests.Response]) -> None:
    documents = ["a big blue dog runs", "the cat sat on the mat", "red"]
    body = {"query": "the cat sat on the mat", "documents": documents, "top_k": 2}
    (result,) = post("/models/encoder/search", json=body).json()["results"]
    assert len(result["hits"]) == 2
    assert result["hits"][0] == {"index": 1, "score": pytest.approx(1), "document": documents[1]}


def test_the_raw_tensors_of_the_same_model_are_still_there(
    post: Callable[..., requests.Response],
) -> None:
    image = [[[1.0] * 8] * 8, [[0.0] * 8] * 8, [[0.0] * 8] * 8]
    answer = post("/v1/models/colours:predict", json={"instances": [image]}).json()
    assert answer == {"predictions": [[10.0, 0.0, 0.0]]}


def test_the_models_tell_what_they_can_be_asked_for(tasks_server: RunningServer) -> None:
    models = requests.get(tasks_server.url + "/models", timeout=10).json()["models"]
    tasks = {model["name"]: [task["name"] for task in model["tasks"]] for model in models}
    assert tasks == {
        "colours": ["classify"], "doubler": [], "encoder": ["embed", "search"],
        "letters": ["classify"],
    }  # fmt: skip
    (colours,) = [model for model in models if model["name"] == "colours"]
    assert colours["tasks"][0]["path"] == COLOURS
    assert "image/png" in colours["tasks"][0]["media_types"]


def test_the_docs_page_knows_each_task_with_its_types(tasks_server: RunningServer) -> None:
    document = requests.get(tasks_server.url + "/openapi.json", timeout=10).json()
    operation = document["paths"][COLOURS]["post"]
    content = operation["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["properties"]["image"] == {
        "type": "string", "format": "binary",
    }  # fmt: skip
    assert set(content) == {"multipart/form-data", "application/octet-stream", "application/json"}
    assert "image/jpeg" in operation["description"]
    names = [parameter["name"] for parameter in operation["parameters"]]
    assert names == ["top_k", "threshold", "X-Priority"]
    result = operation["responses"]["200"]["content"]["application/json"]["schema"]
    labels = result["properties"]["results"]["items"]["properties"]["labels"]
    assert set(labels["items"]["properties"]) == {"label", "score", "index"}
    assert operation["responses"]["415"]


def test_a_deadline_counts_for_preparing_too(post: Callable[..., requests.Response]) -> None:
    response = post(COLOURS, data=RED, headers={"X-Request-Timeout": "0.000001"})
    assert response.status_code in {408, 503, 504}
    assert json.loads(response.text)["error"]
