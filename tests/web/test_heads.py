"""Which heads the front understands, and that it looks at each only once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.web.http1.front.heads import LONGEST_HEAD, Heads, Template, id_in
from inference_service.web.http1.head import Headers

PLAIN = b"POST /a HTTP/1.1\r\nHost: here:80\r\nContent-Length: 7\r\n\r\n"


class Understood:
    """Notes what it is asked."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths or ("/a",)
        self.asked: list[tuple[str, Headers, int]] = []

    def __call__(self, path: str, headers: Headers, length: int) -> str | None:
        self.asked.append((path, headers, length))
        return f"{path} {length}" if path in self.paths else None


def with_line(line: bytes) -> bytes:
    return PLAIN.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")


def test_a_head_is_understood_once() -> None:
    understood = Understood()
    heads = Heads(understood)
    assert heads.find(PLAIN) is None
    assert heads.learn(PLAIN) == ("/a 7", "")
    assert heads.find(PLAIN) == ("/a 7", "")
    assert understood.asked == [("/a", [(b"host", b"here:80"), (b"content-length", b"7")], 7)]


def test_heads_that_differ_in_what_nothing_reads_are_understood_together() -> None:
    understood = Understood()
    heads = Heads(understood)
    for number in range(3000):
        head = with_line(b"X-Request-Id: %d\r\nAccept: */*\r\nConnection: Keep-Alive" % number)
        assert heads.find(head) is None
        assert heads.learn(head) == ("/a 7", f"{number}")
    assert len(understood.asked) == 1


def test_headers_that_are_named_are_read() -> None:
    understood = Understood()
    heads = Heads(understood, read=[b"x-client"], cold=[b"origin"])
    assert heads.learn(with_line(b"X-Client:\t me ")) is None  # a blank at its end
    assert heads.learn(with_line(b"X-Client:\t me")) == ("/a 7", "")
    assert understood.asked[-1][1][-1] == (b"x-client", b"me")
    assert heads.learn(with_line(b"Origin: http://a")) is None


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: h2c", b"Connection: close",
        b"connection: upgrade", b"Content-Encoding: gzip", b"Proxy-Connection: close", b"Host: b",
        b"Content-Length: 7", b"content-length: 8", b"X Y: 1", b": 1", b"X-Folded: a\r\n b",
        b"X: \xe9", b"X: a\nb", b"X: a\rb", b"X: \x00", b"no colon", b"HTTP2-Settings: AAA",
    ],
)  # fmt: skip
def test_a_line_that_changes_more_makes_a_head_cold(line: bytes) -> None:
    assert Heads(Understood()).learn(with_line(line)) is None


@pytest.mark.parametrize(
    "head",
    [
        PLAIN.replace(b"POST", b"GET"), PLAIN.replace(b"1.1", b"1.0"), PLAIN.replace(b"/a", b"/a?b"),
        PLAIN.replace(b"/a", b"/%61"), PLAIN.replace(b"/a", b"http://a/a"), PLAIN.replace(b"/a", b"*"),
        PLAIN.replace(b"Host: here:80\r\n", b""), PLAIN.replace(b"here:80", b"a/b"),
        PLAIN.replace(b"Content-Length: 7\r\n", b""), PLAIN.replace(b"7", b"+7"),
        PLAIN.replace(b"7", b"7, 7"), PLAIN.replace(b"7", b"0x7"), PLAIN.replace(b"7", b"7" * 10),
        PLAIN.replace(b"\r\n", b"\n"), b"\r\n" + PLAIN, PLAIN.replace(b"/a", b"/b"),
        with_line(b"X: " + b"y" * LONGEST_HEAD),
    ],
)  # fmt: skip
def test_an_unusual_head_is_cold(head: bytes) -> None:
    heads = Heads(Understood())
    assert heads.learn(head) is None
    assert heads.find(head) is None


def test_a_path_that_is_new_is_found_after_forgetting() -> None:
    understood = Understood("/b")
    heads = Heads(understood)
    assert heads.learn(PLAIN) is None
    understood.paths = ("/a",)
    assert heads.learn(PLAIN) is None
    heads.forget()
    assert heads.learn(PLAIN) == ("/a 7", "")
    understood.paths = ()
    heads.forget()
    assert heads.find(PLAIN) is None


@pytest.mark.parametrize(
    ("line", "name"),
    [(b"X-Request-Id: a-1", "a-1"), (b"x-request-id:a-1 \t", "a-1"), (b"X-Request-Id: a b", ""),
     (b"X-Request-Id: " + b"a" * 129, ""), (b"X-Other: X-Request-Id: a", ""), (b"A: b", "")],
)  # fmt: skip
def test_the_id_of_a_request_is_found_in_its_head(line: bytes, name: str) -> None:
    assert id_in(with_line(line)) == name


def differing(name: bytes, value: bytes) -> bytes:
    """A head with one line between others."""
    return with_line(b"X-Request-Id: one\r\n%b: %b\r\nAccept: */*" % (name, value))


def template_of(heads: Heads[str], name: bytes = b"Traceparent") -> Template[str]:
    """Made by the second head of a kind, which has one line that is new."""
    heads.learn(differing(name, b"first"))
    heads.learn(differing(name, b"second"))
    assert heads.template is not None
    return heads.template


@given(st.binary(max_size=12) | st.from_regex(rb"[ -~]{0,200}", fullmatch=True))
def test_a_template_says_what_a_head_means_that_differs_in_one_value(value: bytes) -> None:
    template = template_of(Heads(Understood()))
    found = template.read(differing(b"Traceparent", value))
    assert found in {None, Heads(Understood()).learn(differing(b"Traceparent", value))}
    assert template.read(differing(b"Traceparent", b"a b")) == ("/a 7", "one")


@given(st.binary(max_size=12) | st.from_regex(rb"[ -~]{0,200}", fullmatch=True))
def test_the_differing_value_may_be_the_id(value: bytes) -> None:
    heads = Heads(Understood())
    heads.learn(with_line(b"Accept: */*\r\nX-Request-ID: 1"))
    heads.learn(with_line(b"Accept: */*\r\nX-Request-ID: 2"))
    assert heads.template is not None
    head = with_line(b"Accept: */*\r\nX-Request-ID: " + value)
    assert heads.template.read(head) in {None, Heads(Understood()).learn(head)}
    assert heads.template.read(with_line(b"Accept: */*\r\nX-Request-ID: a-3")) == ("/a 7", "a-3")


def test_heads_of_another_kind_are_not_the_templates() -> None:
    heads = Heads(Understood(), longest=500)
    template = template_of(heads)
    good = differing(b"Traceparent", b"third")
    assert template.read(good) == ("/a 7", "one")
    for other in (
        good[:-2], good.replace(b"/a", b"/b"), good.replace(b"one", b"two"), b"x" + good,
        good.replace(b"third", b"a\r\nb: c"), good.replace(b"third", b""),
        good.replace(b"third", b"y" * 500), PLAIN,
    ):  # fmt: skip
        assert template.read(other) is None


@pytest.mark.parametrize("name", [b"X-Client", b"Accept-Encoding", b"X-Request-Timeout"])
def test_a_value_that_is_read_makes_no_template(name: bytes) -> None:
    heads = Heads(Understood(), read=[b"x-client"])
    for value in b"123":
        heads.learn(differing(name, b"%d" % value))
        assert heads.template is None


def test_templates_are_bounded_and_forgotten_with_the_paths() -> None:
    heads = Heads(Understood())
    template = template_of(heads)
    assert template_of(heads, b"Other") is not template
    heads.learn(differing(b"Traceparent", b"fourth"))
    assert heads.template is template
    heads.forget()
    assert template.read(differing(b"Traceparent", b"third")) is None
    for number in range(1100):
        for value in b"123":  # the table of lines is emptied now and then
            heads.learn(differing(b"Name-%d" % number, b"%d" % value))
    assert len(heads._templates) <= 1024
