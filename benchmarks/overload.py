"""An overload of a real server: open loops at 1.5, 3 and 10 times its capacity.

``python benchmarks/overload.py [--only NAME ...]`` takes about three minutes. The model is a perceptron of 34 MB
of which a request sends 16 rows, so that a request costs the server many times what it costs the client; the
clients, the probe of health and the server are processes of their own, the server on all cores but one, which
the others have. Latencies count from the *intended* time.
Before each scenario the capacity is measured again: full batches in a closed loop, for two seconds.
``possible`` is the goodput of an ideal server for the same arrivals: no batches, no cost of a refusal, no
error of a prediction. Bursts leave gaps that a queue can't bridge where clients wait for 0.25 s only.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import models
import numpy as np
import uvloop

_SIZES = (64, 2048, 2048, 2048, 100)
_ROWS = 16
_PATH = "/v2/models/overloaded/infer"
_CLIENTS = 32
"""Of the closed loop that measures the capacity: several full batches."""
_MOST_CONNECTIONS = 4000
_CALIBRATION, _AFTER = 2.0, 3.0
_PROBE_EVERY = 0.02
_LAST = 12.0
"""Seconds after the last request until those without an answer are lost."""
_BURST = 20
_CALM = 5
"""Answers in a row that must be as quick as before the overload for it to be over."""


@dataclass(frozen=True)
class Scenario:
    """``factor`` times the capacity for ``seconds``.

    ``deadline``: seconds, sent as X-Request-Timeout. ``patience``: seconds after which the client hangs up.
    ``bursty``: 20 at a time on average. ``obeys``: refused clients come again when Retry-After says, at most so often.
    """

    name: str
    factor: float
    seconds: float = 6.0
    deadline: float = 0.0
    patience: float = 0.0
    bursty: bool = False
    obeys: int = 0


SCENARIOS = (
    *(
        Scenario(f"{factor:g}x, {kind}, deadline 0.25 s", factor, deadline=0.25, bursty=kind == "bursts")
        for kind in ("Poisson", "bursts")
        for factor in (1.5, 3.0, 10.0)
    ),
    *(Scenario(f"{factor:g}x, Poisson, none", factor) for factor in (1.5, 3.0, 10.0)),
    Scenario("3x, bursts, none", 3.0, bursty=True),
    Scenario("3x, Poisson, hang up after 0.25 s", 3.0, patience=0.25),
    Scenario("3x for 2 s, obeying Retry-After", 3.0, seconds=2.0, obeys=5),
)  # fmt: skip


@dataclass
class Load:
    """What has become of the requests, in the order of their ends. Seconds after the begin of the load."""

    intended: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    retry_after: list[float] = field(default_factory=list)
    tries: list[int] = field(default_factory=list)

    def add(self, one: "_Try", ended: float, status: int, retry_after: float) -> None:
        self.intended.append(one.intended)
        self.sent.append(one.sent)
        self.ended.append(ended)
        self.status.append(status)
        self.retry_after.append(retry_after)
        self.tries.append(one.number)


GAVE_UP, LOST = 1, 0


@dataclass
class _Try:
    intended: float
    number: int = 1
    sent: float = 0.0


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, client: "_Client") -> None:
        self._client = client
        self._buffer = b""
        self.carries: _Try | None = None
        self.patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._client.free(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if len(self._buffer) < end + 4 + _number(rb"content-length: *(\d+)", head):
            return
        self._buffer = b""
        self._client.answered(self, int(head[9:12]), _number(rb"retry-after: *(\d+)", head))

    def connection_lost(self, error: Exception | None) -> None:
        self._client.closed(self)


def _number(pattern: bytes, head: bytes) -> int:
    found = re.search(pattern, head)
    return int(found[1]) if found else 0


class _Client:
    """Sends what is due over a free connection, and makes more of them while they are all busy."""

    def __init__(self, port: int, message: bytes, patience: float, obeys: int) -> None:
        self._port, self._message = port, message
        self._patience, self._obeys = patience, obeys
        self._loop = asyncio.get_running_loop()
        self._random = np.random.default_rng(7)
        self._due: deque[_Try] = deque()
        self._free: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._connecting = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self.pending = 0
        self.begun = monotonic()
        self.load = Load()
        self.on_answer: Callable[[], None] = lambda: None

    def now(self) -> float:
        return monotonic() - self.begun

    def send(self, one: _Try) -> None:
        self.pending += 1
        if self._free:
            self._write(self._free.pop(), one)
            return
        self._due.append(one)
        if (
            self._connecting < len(self._due)
            and len(self._open) + self._connecting < _MOST_CONNECTIONS
        ):
            self._connecting += 1
            task = self._loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        finally:
            self._connecting -= 1

    def free(self, connection: _Connection) -> None:
        self._open.add(connection)
        if self._due:
            self._write(connection, self._due.popleft())
        else:
            self._free.append(connection)

    def answered(self, connection: _Connection, status: int, retry_after: int) -> None:
        one, connection.carries = connection.carries, None
        if one is None:
            return
        if connection.patience is not None:
            connection.patience.cancel()
        self.pending -= 1
        self.load.add(one, self.now(), status, retry_after)
        self.free(connection)
        if status == 503 and one.number <= self._obeys:
            # Clients that obey add a little chance, or all would come back at once.
            wait = retry_after + self._random.random() * 0.5
            self.pending += 1
            self._loop.call_later(wait, self._again, one.number + 1)
        self.on_answer()

    def _again(self, number: int) -> None:
        self.pending -= 1
        self.send(_Try(self.now(), number))

    def closed(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        one, connection.carries = connection.carries, None
        if one is not None:
            self.pending -= 1
            self.load.add(one, self.now(), LOST, 0)
            self.on_answer()

    def _write(self, connection: _Connection, one: _Try) -> None:
        one.sent = self.now()
        connection.carries = one
        connection.transport.write(self._message)
        if self._patience:
            left = one.intended + self._patience - one.sent
            connection.patience = self._loop.call_later(left, self._give_up, connection)

    def _give_up(self, connection: _Connection) -> None:
        one, connection.carries = connection.carries, None
        if one is not None:
            self.pending -= 1
            self.load.add(one, self.now(), GAVE_UP, 0)
            connection.transport.abort()

    async def aclose(self) -> None:
        for connection in list(self._open):
            connection.carries = None
            connection.transport.abort()
        while self._open:
            await asyncio.sleep(0.001)


def _message(deadline: float) -> bytes:
    body = np.random.default_rng(3).standard_normal((_ROWS, _SIZES[0])).astype(np.float32).tobytes()
    about = {
        "name": "x",
        "shape": [_ROWS, _SIZES[0]],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(body)},
    }
    asked = [{"name": "y", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [about], "outputs": asked}).encode()
    lines = [
        f"POST {_PATH} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(head) + len(body)}",
        f"Inference-Header-Content-Length: {len(head)}",
    ]  # fmt: skip
    lines += [f"X-Request-Timeout: {deadline:g}"] * bool(deadline)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + head + body


def _arrivals(rate: float, seconds: float, *, bursty: bool) -> list[float]:
    random = np.random.default_rng(11)
    mean = _BURST if bursty else 1
    times = np.cumsum(random.exponential(mean / rate, max(1, int(rate * seconds / mean))))
    return np.repeat(times, random.geometric(1 / mean, len(times)) if bursty else 1).tolist()


def possible(times: list[float], capacity: float, bound: float, seconds: float) -> float:
    """The goodput of a server that works off ``capacity`` requests a second one by one, and takes
    those alone that it answers within ``bound`` seconds."""
    busy_until, good = 0.0, 0
    for arrival in times:
        end = max(busy_until, arrival) + 1 / capacity
        if end <= arrival + bound:
            busy_until = end
            good += end <= seconds
    return good / seconds / capacity


def closed_loop(port: int, clients: int, seconds: float, pause: float = 0.0) -> Load:
    """That number of clients, each waiting for its answer, and for ``pause`` after it."""

    async def run() -> Load:
        client = _Client(port, _message(0.0), 0.0, 0)
        loop = asyncio.get_running_loop()

        def again() -> None:
            if client.now() < seconds:
                loop.call_later(pause, lambda: client.send(_Try(client.now())))

        client.on_answer = again
        for _ in range(clients):
            client.send(_Try(client.now()))
        await asyncio.sleep(seconds)
        while client.pending:
            await asyncio.sleep(0.01)
        await client.aclose()
        return client.load

    return uvloop.run(run())


def open_loop(port: int, scenario: Scenario, rate: float) -> tuple[Load, Load]:
    """The overload, then a single client, to see when latency is as before."""

    async def run() -> Load:
        client = _Client(port, _message(scenario.deadline), scenario.patience, scenario.obeys)
        for intended in _arrivals(rate, scenario.seconds, bursty=scenario.bursty):
            if (wait := intended - client.now()) > 0:
                await asyncio.sleep(wait)
            client.send(_Try(intended))
        if not scenario.obeys:
            return client
        until = monotonic() + _LAST
        while client.pending and monotonic() < until:
            await asyncio.sleep(0.01)
        return client

    async def both() -> tuple[Load, Load]:
        client = await run()
        begun, ended = client.begun, monotonic()
        after = _Client(port, _message(0.0), 0.0, 0)
        loop = asyncio.get_running_loop()
        after.on_answer = lambda: loop.call_later(0.02, lambda: after.send(_Try(after.now())))
        after.begun = ended
        after.send(_Try(0.0))
        await asyncio.sleep(_AFTER)
        after.on_answer = lambda: None
        until = begun + scenario.seconds + _LAST
        while client.pending and monotonic() < until:
            await asyncio.sleep(0.01)
        for _ in range(client.pending):
            client.load.add(_Try(0.0), client.now(), LOST, 0)
        client.pending = 0
        await client.aclose()
        await after.aclose()
        return client.load, after.load

    return uvloop.run(both())


def probe(port: int, stop: "multiprocessing.synchronize.Event") -> list[float]:
    """The seconds of each answer to a request for health, one every 20 ms."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds = []
    while not stop.wait(_PROBE_EVERY):
        begun = monotonic()
        connection.request("GET", "/v2/health/live")
        connection.getresponse().read()
        seconds.append(monotonic() - begun)
    return seconds


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, int]]:
    """The port and the pid of a server of the model."""
    path = folder / "overloaded" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    models.mlp(*_SIZES)(path)
    command = [sys.executable, "-m", "inference_service", "serve", str(folder), "--port", "0"]
    # A client that shares the server's cores takes from them what it measures.
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:-1])  # inherited by the server
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[-1:])  # and by the clients and the probe
    assert process.stdout is not None
    port = 0
    try:
        for line in process.stdout:
            if "listens on" in line:
                port = int(line.rsplit(":", 1)[1])
            if "metrics http" in line:
                break
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def resident(pid: int) -> int:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def quantile(values: "np.ndarray", q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")


def told(
    scenario: Scenario, capacity: float, ideal: float, calm: float, load: Load, after: Load
) -> dict[str, object]:
    """The figures of one scenario. Times in ms."""
    status, tries = np.array(load.status), np.array(load.tries)
    since_intended = np.array(load.ended) - np.array(load.intended)
    since_sent = np.array(load.ended) - np.array(load.sent)
    good, refused, late = status == 200, status == 503, status == 504
    bound = scenario.deadline or scenario.patience or float("inf")
    during = np.array(load.ended) <= scenario.seconds
    in_time = good & (since_intended <= bound)
    quick = np.array(after.ended) - np.array(after.intended) <= 2 * calm
    runs = [index for index in range(len(quick) - _CALM) if quick[index : index + _CALM].all()]
    row = {
        "scenario": scenario.name,
        "capacity/s": round(capacity, 1),
        "offered": len(status),
        "goodput/capacity": round(float((in_time & during).sum() / scenario.seconds / capacity), 3),
        "possible": round(ideal, 3),
        "200": int(good.sum()), "503": int(refused.sum()), "504": int(late.sum()),
        "gave up": int((status == GAVE_UP).sum()), "lost": int((status == LOST).sum()),
        "200 p50/p99": f"{1e3 * quantile(since_intended[good], .5):.0f}/{1e3 * quantile(since_intended[good], .99):.0f}",
        "503 p50/p99": f"{1e3 * quantile(since_sent[refused], .5):.1f}/{1e3 * quantile(since_sent[refused], .99):.1f}",
        "client late p99": round(1e3 * quantile(np.array(load.sent) - np.array(load.intended), .99), 1),
        "Retry-After": "-".join(str(int(value)) for value in (min(load.retry_after, default=0), max(load.retry_after, default=0))),
        "normal after s": round(after.intended[runs[0]], 2) if runs else None,
    }  # fmt: skip
    if scenario.obeys:
        served_at = {
            number: int((good & (tries == number)).sum()) for number in sorted(set(tries.tolist()))
        }
        row["served at try"] = served_at
        row["never"] = int((tries == 1).sum()) - sum(served_at.values())
    return row


def run(port: int, pid: int, scenario: Scenario, pool: ProcessPoolExecutor) -> dict[str, object]:
    """Calibrate, load, tell."""
    calibration = pool.submit(closed_loop, port, _CLIENTS, _CALIBRATION).result()
    capacity = sum(status == 200 for status in calibration.status) / calibration.ended[-1]
    single = pool.submit(closed_loop, port, 1, 0.7, 0.02).result()
    calm = quantile(np.array(single.ended) - np.array(single.intended), 0.9)
    with multiprocessing.get_context("spawn").Manager() as manager:
        stop = manager.Event()
        health = pool.submit(probe, port, stop)
        time.sleep(0.3)
        before, sizes = resident(pid), []
        loads = pool.submit(open_loop, port, scenario, scenario.factor * capacity)
        while not loads.done():
            sizes.append(resident(pid))
            time.sleep(0.1)
        stop.set()
        load, after = loads.result()
        seconds = np.array(health.result())
    times = _arrivals(scenario.factor * capacity, scenario.seconds, bursty=scenario.bursty)
    bound = scenario.deadline or scenario.patience or float("inf")
    ideal = possible(times, capacity, bound, scenario.seconds)
    row = told(scenario, capacity, ideal, calm, load, after)
    row["health p99/max"] = f"{1e3 * quantile(seconds, 0.99):.0f}/{1e3 * seconds.max():.0f}"
    row["MiB"] = f"{before}-{max(sizes)}-{sizes[-1]}"
    row["one alone"] = round(1e3 * calm, 1)
    return row


def main() -> None:
    """Print a line of JSON for each scenario, and a table at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of scenarios")
    only = parser.parse_args().only
    rows = []
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder)) as (port, pid),
        ProcessPoolExecutor(2, mp_context=context) as pool,
    ):
        for scenario in SCENARIOS:
            if only and not any(part in scenario.name for part in only):
                continue
            rows.append(run(port, pid, scenario, pool))
            print(json.dumps(rows[-1]), flush=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row.get(name, "")) for name in names) + " |")


if __name__ == "__main__":
    main()
