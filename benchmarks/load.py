"""Clients: a closed loop with wrk, and an open loop with Poisson arrivals.

A closed loop sends the next request when the last one is answered: it finds the highest rate. An
open loop sends at times that don't depend on answers, and counts latency from the *intended* time,
so a stall of the server delays nobody's clock (coordinated omission).
"""

import asyncio
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import uvloop

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_MOST_CONNECTIONS = 1024


@dataclass(frozen=True)
class Request:
    """What is sent, over and over: one of ``bodies``, in turn."""

    path: str
    bodies: Sequence[bytes]
    headers: dict[str, str]


@dataclass(frozen=True)
class Result:
    """Requests per second that were answered with 200, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    errors: int = 0
    sent: int = 0


def closed(port: int, request: Request, clients: int, seconds: float) -> Result:
    """That number of clients, each waiting for its answer, for so long."""
    with tempfile.TemporaryDirectory() as folder:
        lua = [
            f'wrk.method = "POST"\nwrk.path = "{request.path}"\nlocal bodies = {{}}\n'
            "local function read(path)\n"
            "  local file = io.open(path, 'rb')\n"
            "  local body = file:read('*all')\n"
            "  file:close() -- wrk can't connect with more descriptors than it reckons with\n"
            "  return body\n"
            "end"
        ]
        for index, body in enumerate(request.bodies):
            (Path(folder) / str(index)).write_bytes(body)
            lua.append(f'bodies[{index + 1}] = read("{folder}/{index}")')
        lua += [f'wrk.headers["{name}"] = "{value}"' for name, value in request.headers.items()]
        # The requests are put together once: Lua would else copy the body for each of them.
        lua.append(
            "local ready, turn = {}, 0\n"
            "function init(args)\n"
            "  for i, body in ipairs(bodies) do\n"
            "    local headers = {}\n"
            "    for name, value in pairs(wrk.headers) do headers[name] = value end\n"
            "    headers['Content-Length'] = nil -- wrk.format keeps the first one it has set\n"
            "    ready[i] = wrk.format(nil, nil, headers, body)\n"
            "  end\n"
            "end\n"
            "function request() turn = turn % #ready + 1; return ready[turn] end\n"
        )
        script = Path(folder) / "load.lua"
        script.write_text("\n".join(lua))
        out = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "30s", "--latency",
             "-s", str(script), f"http://127.0.0.1:{port}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def quantile(name: str) -> float:
        found = re.search(rf"\s{name}%\s+([\d.]+)(us|ms|s|m)\b", out)
        return float(found[1]) * _UNITS[found[2]] if found else float("nan")

    total = int(re.search(r"(\d+) requests in", out)[1])
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    errors = int(failed[1]) if failed else 0
    errors += sum(map(int, broken.groups())) if broken else 0
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    answered = rate * max(total - errors, 0) / max(total, 1)
    return Result(answered, quantile("50"), quantile("99"), errors, total)


class _Connection(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self, pool: "_Pool") -> None:
        self._pool = pool
        self._buffer = b""
        self._left = -1
        self._status = 0
        self.intended = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self.transport = transport
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read the answer's head, then skip its body."""
        self._buffer += data
        if self._left < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end]
            self._status = int(head[9:12])
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            self._left = end + 4 + int(length[1])
        if len(self._buffer) >= self._left:
            self._buffer, self._left = b"", -1
            self._pool.done(self, self._status)

    def connection_lost(self, error: Exception | None) -> None:
        """The server has hung up."""
        self._pool.lost(self)


class _Pool:
    """Sends what is due over a free connection; makes more of them while they are all busy."""

    def __init__(self, port: int, request: Request) -> None:
        self._port = port
        self._free: list[_Connection] = []
        self._due: deque[tuple[float, int]] = deque()
        self._connections = 0
        self._open: set[_Connection] = set()
        self._connecting: set[asyncio.Task[object]] = set()
        self._messages = [_message(request, body) for body in request.bodies]
        self.latencies: list[float] = []
        self.statuses: list[int] = []

    def send(self, intended: float, index: int) -> None:
        """A request that should go out now."""
        if self._free:
            self._write(self._free.pop(), intended, index)
            return
        self._due.append((intended, index))
        if self._connections < _MOST_CONNECTIONS:
            self._connections += 1
            loop = asyncio.get_running_loop()
            connecting = loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            self._connecting.add(task := loop.create_task(connecting))
            task.add_done_callback(self._connecting.discard)

    def opened(self, connection: _Connection) -> None:
        """A connection stands."""
        self._open.add(connection)
        self.free(connection)

    async def aclose(self) -> None:
        """Hang up, and wait until the loop has seen to it."""
        for task in list(self._connecting):
            task.cancel()
        for connection in list(self._open):
            connection.transport.abort()
        while self._open:
            await asyncio.sleep(0)

    def free(self, connection: _Connection) -> None:
        """It can take the next request."""
        if self._due:
            self._write(connection, *self._due.popleft())
        else:
            self._free.append(connection)

    def done(self, connection: _Connection, status: int) -> None:
        """Answered."""
        self.latencies.append(perf_counter() - connection.intended)
        self.statuses.append(status)
        connection.intended = 0.0
        self.free(connection)

    def lost(self, connection: _Connection) -> None:
        """Broken: what it carried has failed."""
        self._connections -= 1
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if connection.intended:
            self.latencies.append(perf_counter() - connection.intended)
            self.statuses.append(0)

    def _write(self, connection: _Connection, intended: float, index: int) -> None:
        connection.intended = intended
        connection.transport.write(self._messages[index % len(self._messages)])


def _message(request: Request, body: bytes) -> bytes:
    lines = [f"POST {request.path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def open_loop(
    port: int, request: Request, rate: float, seconds: float, *, within: float = 0.0, seed: int = 7
) -> tuple[Result, float]:
    """Poisson arrivals at ``rate`` per second.

    Returns the result and the goodput: answers with 200 per second, ``within`` seconds (0: any).
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
    times = np.cumsum(gaps).tolist()

    async def run() -> tuple[list[float], list[int]]:
        pool = _Pool(port, request)
        for index in range(min(32, len(request.bodies) * 8)):  # connections are made beforehand
            pool.send(perf_counter(), index)
        while len(pool.statuses) < min(32, len(request.bodies) * 8):
            await asyncio.sleep(0.01)
        pool.latencies.clear()
        pool.statuses.clear()
        begun = perf_counter() + 0.05
        for index, offset in enumerate(times):
            intended = begun + offset
            # The timers of event loops have milliseconds. Waiting awake would be exact, and would
            # take a core from the server.
            if (wait := intended - perf_counter()) > 0:
                await asyncio.sleep(wait)
            pool.send(intended, index)
        until = perf_counter() + 10
        while len(pool.statuses) < len(times) and perf_counter() < until:
            await asyncio.sleep(0.01)
        latencies, statuses = pool.latencies, pool.statuses
        pool.latencies, pool.statuses = [], []  # what is cut off now doesn't count
        await pool.aclose()
        return latencies, statuses

    latencies, statuses = map(np.array, uvloop.run(run()))
    good = statuses == 200
    duration = max(times[-1], 1e-9)
    in_time = good & (latencies <= within) if within else good
    answered = latencies[good] * 1e3 if good.any() else np.array([np.nan])
    result = Result(
        float(good.sum() / duration), float(np.quantile(answered, 0.5)),
        float(np.quantile(answered, 0.99)), len(times) - int(good.sum()), len(times),
    )  # fmt: skip
    return result, float(in_time.sum() / duration)
