"""The load generator: what it counts, against a server whose every answer is known."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference_service.bench import report
from inference_service.bench.load import Outcome, Target, closed_loop, open_loop
from inference_service.cli import main
from tests import onnx_models
from tests.conftest import RunningServer
from tests.ports import free_port

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"
    b'server-timing: queue;dur=1, batch;desc="3 rows", total;dur=2\r\n\r\n{}'
)


class Server:
    """Answers each request after ``delay`` seconds with ``answer``."""

    def __init__(self, answer: bytes = ANSWER, delay: float = 0.0) -> None:
        self._answer = answer
        self._delay = delay
        self.requests: list[bytes] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.target = Target(f"http://127.0.0.1:{port}/p?q=1", b"[1]", {"Content-Type": "a/b"})
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(one.wait_closed() for one in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(3))
                await asyncio.sleep(self._delay)
                writer.write(self._answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return


async def test_a_closed_loop_keeps_its_connections_and_counts_rows() -> None:
    async with Server(delay=0.01) as server:
        outcome = await closed_loop(server.target, 4, 0.2)
    assert server.connections == 4
    assert len(outcome.latencies) == len(server.requests) > 8
    assert min(outcome.latencies) >= 0.01
    assert outcome.rows == {3: len(server.requests)}
    assert (
        server.requests[0]
        == (
            f"POST /p?q=1 HTTP/1.1\r\nHost: {server.target.url[7:].split('/')[0]}\r\n"
            "Content-Length: 3\r\nContent-Type: a/b\r\n\r\n[1]"
        ).encode()
    )


async def test_an_open_loop_does_not_wait_for_a_slow_server() -> None:
    async with Server(delay=0.3) as server:
        outcome = await open_loop(server.target, 100, 0.3)
    assert 15 <= len(outcome.latencies) <= 45, "about 30 arrive, though none is answered meanwhile"
    assert server.connections == len(outcome.latencies)


async def test_refusals_and_broken_connections_are_counted() -> None:
    async with Server(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 0.01) as server:
        outcome = await closed_loop(server.target, 1, 0.05)
    assert set(outcome.failures) == {"503"}
    assert outcome.latencies == []
    async with Server(b"nonsense\r\n\r\n", 0.01) as server:
        outcome = await closed_loop(server.target, 1, 0.05)
    assert set(outcome.failures) <= {"ValueError", "IndexError"}
    assert outcome.failures


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    times = [float(n) for n in range(1, 101)]
    assert [report.percentile(times, share) for share in (50, 99, 99.9, 100)] == [50, 99, 100, 100]
    assert report.percentile([7.0], 50) == 7


def test_the_report_in_words_and_numbers(tmp_path: Path) -> None:
    outcome = Outcome(2.0, [0.001, 0.002, 0.004, 0.1], {"503": 1}, {1: 1, 4: 3})
    told = report.summary(outcome)
    assert told["answered_per_second"] == 2.0
    assert told["milliseconds"]["p50"] == 2.0
    assert told["milliseconds"]["max"] == 100.0
    text = report.lines(outcome)
    assert text[0] == "4 answered in 2.0 s: 2.0 a second"
    assert text[1] == "1 failed: 503"
    assert text[-1].split() == ["4", "#" * 40, "3"]
    assert sum(int(line.split()[-1]) for line in text[5:17]) == 4, "each latency is in one bar"
    report.plot(outcome, tmp_path / "x.svg", "title")
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_predict_and_bench_ask_a_model_by_its_name_path_or_url(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    url = serve(tmp_path).url

    def run(*arguments: str) -> tuple[int, str]:
        found = CliRunner().invoke(main, arguments)
        return found.exit_code, found.output

    code, text = run("predict", "doubler", "[[1, 2, 3]]", "--server", url)
    assert (code, json.loads(text)) == (0, {"predictions": [[2, 4, 6]]})
    bare = url.removeprefix("http://") + "/"
    assert run("predict", "doubler", "[[1, 2, 3]]", "--server", bare)[0] == 0
    assert run("predict", f"{url}/", "[[1, 2, 3]]")[0] == 0
    code, text = run("predict", "doubler", "rows.json", "--server", url)
    assert (code, "there is no file rows.json: it is sent as a text" in text) == (1, True)
    path = f"{url}/v1/models/doubler:predict"
    assert run("predict", path, '{"instances": [[1, 2, 3]]}')[0] == 0
    code, text = run("predict", "doubler", "[[1]]", "--server", url)
    assert code == 1
    assert "expected shape" in text
    said = run("predict", "d", "--server", url)[1]
    assert "there is no model 'd'; name one of these: doubler" in said
    code, text = run(
        "bench", "doubler", "[[1, 2, 3]]", "--server", url, "--seconds", "0.3", "--json"
    )
    assert code == 0
    assert json.loads(text)["answered"] > 0
    (tmp_path / "rows.json").write_text("[[4, 5, 6]]")
    code, text = run("predict", str(tmp_path / "doubler"), str(tmp_path / "rows.json"))
    assert json.loads(text[text.index("{") :]) == {"predictions": [[8, 10, 12]]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "digits", "x", "--server", "ftp://x"], "expected http://HOST:PORT, got 'ftp:"),
        (["predict", "digits", "--server", "http://my host"], "got 'http://my host'"),
        (["predict", "digits", "--server", "localhost:http"], "expected http://HOST:PORT"),
        (["top", "--server", "http://"], "expected http://HOST:PORT, got 'http://'"),
        (["bench", "digits", "--rate", "5", "--clients", "5"], "give one of them"),
        (["bench", "digits", "--plot", "/nowhere/x.svg"], "--plot: there is no folder /nowhere"),
        (["bench", "digits", "--plot", "x.foo"], "expected one of .svg, .png, .pdf, got 'x.foo'"),
        (["my model.onnx"], "Did you mean 'inference-service serve 'my model.onnx''?"),
        (["srve"], "Did you mean 'serve'?"),
    ],
)
def test_what_can_not_be_meant_is_told_before_anything_is_asked(
    arguments: list[str], told: str
) -> None:
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 2
    assert told in found.output


def test_a_service_that_is_not_there_is_told_with_what_to_do() -> None:
    unused = f"http://127.0.0.1:{free_port()}"
    for command in (["predict", "digits"], ["bench", "digits"], ["top"], ["list"]):
        found = CliRunner().invoke(main, [*command, "--server", unused])
        assert found.exit_code == 1
        assert f"no service listens at {unused}" in found.output
        assert "start one with 'inference-service serve PATH'" in " ".join(found.output.split())


def test_output_that_can_not_be_written_is_told_in_words() -> None:
    command = [sys.executable, "-m", "inference_service", "--version"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "No space left on device" in done.stderr
