"""Requests to one path, in closed or open loop, over connections that are kept.

Closed: a number of clients, each of which waits for its answer. Open: requests arrive at random
times at a rate, whether others are answered or not, and a latency counts from the arrival: a server
that stalls can't slow the load down (coordinated omission: Tene, "How NOT to Measure Latency").
"""

import asyncio
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from urllib.parse import urlsplit

_ROWS = re.compile(r'batch;desc="(\d+) rows"')
_MOST_CONNECTIONS = 1_000
_LONGEST_HEAD = 64 * 1024
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """What is sent, and where to."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> bytes:
        """The whole request (RFC 9112)."""
        parts = urlsplit(self.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        length = len(self.body)
        lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(slots=True)
class Outcome:
    """What became of the requests: seconds of the answered ones, the others by status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)

    def answered(self, latency: float, rows: int) -> None:
        """One more. ``rows`` shared its run; 0: not known."""
        self.latencies.append(latency)
        if rows:
            self.rows[rows] = self.rows.get(rows, 0) + 1

    def failed(self, why: str) -> None:
        """One more."""
        self.failures[why] = self.failures.get(why, 0) + 1


async def closed_loop(target: Target, clients: int, seconds: float) -> Outcome:
    """``clients`` requests are under way at any time."""
    outcome, begun = Outcome(), perf_counter()
    request, until = target.request(), begun + seconds

    async def client() -> None:
        async with _Connection(target.url) as connection:
            while perf_counter() < until:
                await _ask(connection, request, perf_counter(), outcome)

    await asyncio.gather(*(client() for _ in range(clients)))
    outcome.seconds = perf_counter() - begun
    return outcome


async def open_loop(target: Target, rate: float, seconds: float, seed: int = 0) -> Outcome:
    """Requests arrive independently of each other, ``rate`` of them a second on average."""
    outcome, begun = Outcome(), perf_counter()
    request, arrivals = target.request(), random.Random(seed)  # noqa: S311 # no secret
    free: list[_Connection] = []
    waiting: set[asyncio.Task[None]] = set()

    async def one(arrived: float) -> None:
        connection = free.pop() if free else _Connection(target.url)
        await _ask(connection, request, arrived, outcome)
        free.append(connection)

    due = begun
    while (due := due + arrivals.expovariate(rate)) < begun + seconds:
        await asyncio.sleep(due - perf_counter())
        if len(waiting) >= _MOST_CONNECTIONS:
            outcome.failed(f"more than {_MOST_CONNECTIONS} at once: not sent")
            continue
        task = asyncio.create_task(one(due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(waiting, timeout=_TIMEOUT)
    outcome.seconds = perf_counter() - begun
    for connection in free:
        connection.close()
    return outcome


async def _ask(connection: "_Connection", request: bytes, since: float, outcome: Outcome) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT):
            status, rows = await connection.ask(request)
    except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
        connection.close()
        outcome.failed(type(error).__name__)
        return
    if status == 200:
        outcome.answered(perf_counter() - since, rows)
    else:
        outcome.failed(str(status))


class _Connection:
    """A connection that is opened when it is needed, and again after a fault."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "_Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await asyncio.sleep(0)  # the transport is closed by the loop

    def close(self) -> None:
        """The next request opens it again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, request: bytes) -> tuple[int, int]:
        """The status, and how many rows shared the run. Raises OSError, EOFError, ValueError."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=_LONGEST_HEAD)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        parts = (one.partition(":") for one in fields)
        values = {name.strip().lower(): value.strip() for name, _, value in parts}
        await reader.readexactly(int(values.get("content-length", "0")))
        if values.get("connection", "").lower() == "close":
            self.close()
        found = _ROWS.search(values.get("server-timing", ""))
        return int(line.split(" ")[1]), int(found[1]) if found else 0
