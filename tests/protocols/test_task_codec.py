"""Bodies of tasks to payloads and parameters, whatever is in them."""

import base64
import re
import tracemalloc
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from inference_service.core.errors import InvalidInput
from inference_service.protocols import base64_text, percent
from inference_service.protocols.tasks import codec

BOUNDARY = b"multipart/form-data; boundary=limit"


def form(*fields: tuple[str, bytes, str]) -> bytes:
    """A form of (name, data, content type)."""
    parts = []
    for name, data, kind in fields:
        head = f'--limit\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n'
        head += f"Content-Type: {kind}\r\n" if kind else ""
        parts.append(head.encode() + b"\r\n" + data + b"\r\n")
    return b"".join(parts) + b"--limit--\r\n"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_files_come_out_of_a_form_as_they_went_in(files: list[bytes]) -> None:
    files = [data.replace(b"--limit", b"") for data in files]
    body = form(*[("image", data, "image/png") for data in files], ("top_k", b"3", ""))
    asked = codec.from_form(body, BOUNDARY, "image", binary=True)
    assert [payload.data for payload in asked.payloads] == files
    assert {payload.media_type for payload in asked.payloads} == {"image/png"}
    assert asked.parameters == {"top_k": "3"}
    alone = [("image",)]
    assert asked.places == (alone if len(files) == 1 else [("image", i) for i in range(len(files))])


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_form_is_refused_in_words_or_read(data: bytes, place: int, byte: int) -> None:
    for body in (data, b"--limit\r\n" + data, _changed(form(("image", data, "x")), place, byte)):
        try:
            asked = codec.from_form(body, BOUNDARY, "image", binary=True)
        except InvalidInput as error:
            assert str(error)
        else:
            assert asked.payloads


def _changed(body: bytes, place: int, byte: int) -> bytes:
    changed = bytearray(body)
    changed[place % len(changed)] = byte
    return bytes(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["image", "images", "other"]), st.booleans())
def test_any_json_is_read_or_refused_in_words(value: Any, key: str, binary: bool) -> None:
    for body in (value, {key: value}, {key: value, "top_k": value}):
        try:
            asked = codec.from_json(body, "image", binary=binary)
        except InvalidInput as error:
            assert str(error)
        else:
            assert 1 <= len(asked.payloads) == len(asked.places) <= codec.MOST_PAYLOADS
            if binary:
                assert all(isinstance(payload.data, bytes) for payload in asked.payloads)


@given(st.binary(max_size=200))
def test_base64_survives_in_every_form(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    for item in (text, {"b64": text}, f"data:image/png;base64,{text}"):
        asked = codec.from_json({"images": [item]}, "image", binary=True)
        assert asked.payloads[0].data == data


def encoders(data: bytes) -> dict[str, str]:
    """As the usual ones write it."""
    plain = base64.b64encode(data).decode()
    return {
        "plain": plain,
        "a line break at its end": plain + "\n",
        "lines of 76": base64.encodebytes(data).decode(),
        "lines of 76, CRLF": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "lines of 64": "\n".join(plain[i : i + 64] for i in range(0, len(plain), 64)),
        "no padding": plain.rstrip("="),
        "URL-safe": base64.urlsafe_b64encode(data).decode(),
        "URL-safe, no padding": base64.urlsafe_b64encode(data).decode().rstrip("="),
    }


@given(st.binary(max_size=300))
def test_base64_is_read_as_all_its_encoders_write_it(data: bytes) -> None:
    for how, text in encoders(data).items():
        assert base64_text.decoded(text) == data, how


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "AA=A", "A===", "====", "AA!A", "AAAAé", "%%%", "AA==AA=="]
)
def test_what_no_encoder_writes_is_no_base64(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        base64_text.decoded(text)


@given(st.text(max_size=60), st.text(max_size=20))
def test_a_form_in_a_body_or_url_comes_back_as_it_went_in(text: str, other: str) -> None:
    fields = {"text": text.replace("\x00", ""), "other": other}
    body = urlencode(fields, errors="surrogatepass").encode()
    try:
        asked = codec.from_urlencoded(body, b"", "text", binary=False)
    except InvalidInput as error:  # lone surrogates are no UTF-8
        assert "not UTF-8" in str(error)
        return
    assert asked.payloads[0].data == fields["text"]
    assert asked.parameters == ({"other": other} if other else {})


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.sampled_from(["", "[]", "[0]"]))
def test_a_list_in_a_form_has_brackets_or_not(texts: list[str], brackets: str) -> None:
    fields = [("texts" + brackets, text) for text in texts]
    try:
        body = urlencode(fields, errors="surrogatepass").encode()
        asked = codec.from_urlencoded(body, b"", "text", binary=False)
    except InvalidInput as error:  # lone surrogates are no UTF-8
        assert "not UTF-8" in str(error)
        return
    assert [payload.data for payload in asked.payloads] == texts
    form_body = form(*[(name, text.encode(), "") for name, text in fields])
    again = codec.from_form(form_body, BOUNDARY, "text", binary=False)
    assert (again.payloads, again.places) == (asked.payloads, asked.places)


@given(st.binary(max_size=60), st.integers(3, 9))
def test_percent_escapes_are_read_as_urllib_does(data: bytes, piece: int) -> None:
    escaped = re.sub(rb"[\x00-\x40]", lambda found: b"%%%02x" % found[0][0], data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(percent, "_PIECE", piece)
        for text in (data, escaped, data + escaped, b"%" + escaped, escaped + b"%4"):
            assert percent.decoded(text) == unquote_to_bytes(text)


def test_a_form_of_escapes_takes_a_small_multiple_of_its_size() -> None:
    body = b"text=" + b"%41" * 10**6
    tracemalloc.start()
    try:
        asked = codec.from_urlencoded(body, b"", "text", binary=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert asked.payloads[0].data == "A" * 10**6
    assert peak < 16 * len(body)


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    top_k: int = 5
    words: list[str] = []


def test_parameters_come_from_the_url_and_the_body() -> None:
    query = codec.from_query(b"top_k=3&words=a&words=b%20c&empty=")
    assert query == {"top_k": "3", "words": ["a", "b c"]}
    found = codec.read_parameters(Parameters, {"top_k": "3"}, {"words": ["a"]})
    assert (found.top_k, found.words) == (3, ["a"])
    assert codec.read_parameters(Parameters, {"top_k": "3"}, {"top_k": 3}).top_k == 3


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ({"top_k": "x"}, {}, "top_k: expected a whole number, got 'x'"),
        ({"k": "1"}, {}, "k: no such parameter; there are 'top_k', 'words'"),
        ({"top_k": "1"}, {"top_k": 2}, "top_k: given twice: in the URL and in the body"),
        ({}, {"words": [1]}, r"words\[0\]: expected a string, got 1"),
    ],
)
def test_wrong_parameters_are_told(
    query: dict[str, Any], body: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        codec.read_parameters(Parameters, query, body)
