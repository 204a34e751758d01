"""The configurations of nginx and HAProxy, run by the real servers in front of two replicas."""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from inference_service.settings import Settings
from tests.conftest import ROOT, RunningServer
from tests.ports import free_port
from tests.tools import need, path_of

DEPLOY = ROOT / "deploy"
ROW = {"instances": [[1, 2, 3, 4]]}


def certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", folder / "tls.key", "-out", folder / "tls.crt", "-days", "2",
         "-subj", "/CN=ml.example.com", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    pem = (folder / "tls.crt").read_text() + (folder / "tls.key").read_text()
    (folder / "tls.pem").write_text(pem)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, replicas: list[int]) -> list[str]:
    text = replaced(
        (DEPLOY / "nginx" / "nginx.conf").read_text(),
        ("127.0.0.1:8001", f"127.0.0.1:{replicas[0]}"),
        ("127.0.0.1:8002", f"127.0.0.1:{replicas[1]}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/nginx/tls/", f"{folder}/"),
        ("rate=100r/s", "rate=10000r/s"),
        ("http {", f"pid {folder}/pid;\nerror_log {folder}/error.log;\nhttp {{\naccess_log off;"),
    )
    (folder / "nginx.conf").write_text(text)
    return [path_of("nginx") or "", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"]


def haproxy(folder: Path, port: int, replicas: list[int]) -> list[str]:
    text = replaced(
        (DEPLOY / "haproxy" / "haproxy.cfg").read_text(),
        ("127.0.0.1:8001", f"127.0.0.1:{replicas[0]}"),
        ("127.0.0.1:8002", f"127.0.0.1:{replicas[1]}"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/haproxy/", f"{folder}/"),
        ("gt 1000", "gt 1000000"),
    )
    (folder / "haproxy.cfg").write_text(text)
    return [path_of("haproxy") or "", "-f", f"{folder}/haproxy.cfg", "-db"]


PROXIES: dict[str, Callable[[Path, int, list[int]], list[str]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
}


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def session(folder: Path) -> requests.Session:
    made = requests.Session()
    made.verify = str(folder / "tls.crt")
    made.trust_env = False
    return made


def wait_for(url: str, client: requests.Session) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if client.get(f"{url}/v2/health/ready", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    raise AssertionError("the proxy does not answer")


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_replicas_are_restarted_one_by_one_without_a_failed_request(
    proxy: str, zoo: Path, tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    need(proxy, "openssl")
    certificate(tmp_path)
    ports = [free_port(), free_port()]

    def start(port: int) -> RunningServer:
        return serve(
            zoo / "doubler", "--port", str(port), INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK="3"
        )

    replicas = [start(port) for port in ports]
    port = free_port()
    url = f"https://localhost:{port}"
    answers: list[int | str] = []
    done = threading.Event()

    def ask() -> None:
        with session(tmp_path) as client:
            while not done.is_set():
                try:
                    found = client.post(f"{url}/v1/models/doubler:predict", json=ROW, timeout=40)
                    answers.append(found.status_code)
                except requests.RequestException as error:
                    answers.append(repr(error))

    with running(PROXIES[proxy](tmp_path, port, ports)), session(tmp_path) as client:
        wait_for(url, client)
        assert client.get(f"{url}/metrics", timeout=20).status_code == 404
        clients = [threading.Thread(target=ask) for _ in range(2)]
        for one in clients:
            one.start()
        try:
            for replica, its in zip(replicas, ports, strict=True):
                assert replica.terminate() == 0
                start(its)
        finally:
            done.set()
            for one in clients:
                one.join(timeout=60)
    assert len(answers) > 20
    assert set(answers) == {200}


def test_the_proxies_wait_longer_than_the_service_may_take() -> None:
    """Its own answer, with the reason, comes before theirs."""
    longest = Settings().limits.request_timeout
    for path, pattern in {
        "nginx/nginx.conf": r"proxy_read_timeout (\d+)s; # limits",
        "haproxy/haproxy.cfg": r"timeout server (\d+)s",
    }.items():
        found = re.search(pattern, (DEPLOY / path).read_text())
        assert found is not None
        assert longest < float(found[1]) <= longest + 10
