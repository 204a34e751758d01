"""Answers that begin before their end is known."""

import asyncio
from typing import Any

import pytest

from inference_service.serving.codec import Content
from inference_service.serving.request import Request
from inference_service.web.endpoint import Reply


def sent(*events: bytes, status: int, body: bytes) -> list[Any]:
    """The messages of an answer of these events with this end."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def answer() -> None:
        reply = Reply(send, Request("openai", None, 60.0))
        for event in events:
            await reply.event(event)
        await reply.end(status, Content(body), {"retry-after": "1"})

    asyncio.run(answer())
    return messages


def test_an_answer_without_events_is_whole() -> None:
    start, body = sent(status=504, body=b'{"error": {}}')
    assert start["status"] == 504
    assert (b"content-length", b"13") in start["headers"]
    assert (b"retry-after", b"1") in start["headers"]
    assert body == {"type": "http.response.body", "body": b'{"error": {}}'}


@pytest.mark.parametrize(
    ("status", "body", "last"),
    [(200, b"", b""), (504, b'{"error": {}}', b'data: {"error": {}}\n\n')],
)
def test_a_failure_after_the_first_event_is_the_last_event(
    status: int, body: bytes, last: bytes
) -> None:
    start, first, second, end = sent(b"1", b"2", status=status, body=body)
    assert start["status"] == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
    assert b"content-length" not in dict(start["headers"])
    assert [one["body"] for one in (first, second)] == [b"data: 1\n\n", b"data: 2\n\n"]
    assert first["more_body"]
    assert second["more_body"]
    assert end == {"type": "http.response.body", "body": last}
