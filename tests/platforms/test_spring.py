"""deploy/spring: a real JDK finds a real service in a Eureka server and asks it.

The server is the fake of the documented REST that the registration is tested with.
"""

import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inference_service.platforms.discovery import Call
from tests.conftest import ROOT, RunningServer
from tests.platforms.test_discovery import FakeEureka
from tests.ports import free_port
from tests.support import until
from tests.tools import need

pytestmark = pytest.mark.java

ROWS = '{"instances": [[1, 2, 3, 4]]}'


@pytest.fixture
def eureka() -> Iterator[tuple[str, FakeEureka]]:
    """The fake behind HTTP, which also answers GET /vips/NAME; and its URL."""
    fake = FakeEureka()

    class Handler(BaseHTTPRequestHandler):
        def change(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(fake(Call(self.command, self.path, body)))
            self.end_headers()

        do_POST = do_PUT = do_DELETE = change  # noqa: N815

        def do_GET(self) -> None:
            name = self.path.removeprefix("/eureka/vips/")
            found = [one for one in fake.instances.values() if one["vipAddress"] == name]
            fields = ("instanceId", "status", "homePageUrl")
            texts = ["".join(f"<{key}>{one[key]}</{key}>" for key in fields) for one in found]
            inside = "".join(f"<instance>{text}</instance>" for text in texts)
            body = f"<applications><application>{inside}</application></applications>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/eureka", fake
    server.shutdown()
    server.server_close()
    thread.join(timeout=30)


def ask(registry: str) -> "subprocess.CompletedProcess[str]":
    program = ROOT / "deploy" / "spring" / "Scores.java"
    command: list[str | Path] = ["java", program, registry, "scores", "doubler", ROWS]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


async def test_a_jdk_finds_the_service_in_eureka_and_asks_it(
    eureka: tuple[str, FakeEureka], zoo: Path, serve: Callable[..., RunningServer]
) -> None:
    need("java")
    registry, fake = eureka
    registration = {"EUREKA": registry, "NAME": "scores", "HOST": "127.0.0.1"}
    prefix = "INFERENCE_SERVICE_PLATFORMS__REGISTRATION__"
    environment = {prefix + name: value for name, value in registration.items()}
    service = serve(zoo / "doubler", "--port", str(free_port()), **environment)
    await until(lambda: fake.status() == "UP")
    # One that starts is in the list, and must not be asked.
    (known,) = fake.instances.values()
    fake.instances["other"] = {**known, "status": "STARTING", "homePageUrl": "http://127.0.0.1:1/"}
    found = ask(registry)
    assert found.stdout == '{"predictions":[[2.0,4.0,6.0,8.0]]}\n', found.stderr
    assert service.terminate() == 0
    assert list(fake.instances) == ["other"]
    found = ask(registry)
    assert found.returncode != 0
    assert f"no instance of scores is up in {registry}" in found.stderr
