"""Clients of many languages, each as its manual shows it, against this service.

scripts/language-clients runs it; it is no part of the test suite (it needs their interpreters and packages). What
they send is replayed in tests/web/test_tasks.py.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import RunningServer, serving
from tests.task_models import picture, save_colours, save_letters

HERE = Path(__file__).parent / "of_languages"
TOOLS = Path(os.environ.get("LANGUAGE_CLIENTS", ""))
JARS = Path("/usr/share/java")
_OF_JAVA = (
    "okhttp", "okio", "httpclient5", "httpcore5", "httpcore5-h2", "spring-core", "spring-web", "spring-beans",
    "spring-context", "jackson-core", "jackson-databind", "jackson-annotations", "slf4j-api", "commons-logging",
)  # fmt: skip
EXPECTED = {"text": ["z"], "texts": ["z", "y"], "picture": ["red"], "pictures": ["red", "red"]}
"""The likeliest label of each payload, by kind."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    save_colours(folder / "colours")
    save_letters(folder / "letters")
    with serving(folder) as running:
        yield running


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "red.png"
    path.write_bytes(picture("red"))
    return path


def said(command: Sequence[object], server: RunningServer, red: Path, cwd: Path = HERE) -> str:
    arguments = [*map(str, command), server.url, str(red)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def check(printed: str, least: int) -> None:
    """Every line has its kind's answer, and there are at least so many."""
    lines = [line.split("\t", 2) for line in printed.splitlines() if line.count("\t") >= 2]
    wrong = {}
    for kind, client, body in lines:
        try:
            got = [result["labels"][0]["label"] for result in json.loads(body)["results"]]
        except (ValueError, KeyError):
            wrong[client] = body
            continue
        if got != EXPECTED[kind]:
            wrong[client] = body
    assert not wrong
    assert len(lines) >= least, printed


def test_command_lines(server: RunningServer, red: Path) -> None:
    check(said(["bash", "clients.sh"], server, red), 19)


def test_python(server: RunningServer, red: Path) -> None:
    check(said([TOOLS / "python" / "bin" / "python", "clients.py"], server, red), 26)


def test_node(server: RunningServer, red: Path) -> None:
    shutil.copy(HERE / "clients.mjs", TOOLS / "node")
    check(said(["node", "clients.mjs"], server, red, TOOLS / "node"), 26)


@pytest.mark.parametrize("command", [["deno", "run", "-A"], ["bun", "run"]], ids=lambda c: c[0])
def test_deno_and_bun(server: RunningServer, red: Path, command: list[str]) -> None:
    program = TOOLS / "node" / "node_modules" / ".bin" / command[0]
    check(said([program, *command[1:], "fetch.ts"], server, red), 6)


def test_php(server: RunningServer, red: Path) -> None:
    check(said(["php", "clients.php"], server, red), 12)


def test_ruby(server: RunningServer, red: Path) -> None:
    check(said(["ruby", "clients.rb"], server, red), 13)


def test_perl(server: RunningServer, red: Path) -> None:
    check(said(["perl", "clients.pl"], server, red), 7)


def test_r(server: RunningServer, red: Path) -> None:
    check(said(["Rscript", "clients.R"], server, red), 5)


def test_java(server: RunningServer, red: Path) -> None:
    named = [path for name in _OF_JAVA for path in sorted(JARS.glob(f"{name}.jar"))]
    path = ":".join(map(str, [*named, *sorted(JARS.glob("spring3-*.jar"))]))
    check(said(["java", "-cp", path, "Clients.java"], server, red), 16)


def test_go(server: RunningServer, red: Path) -> None:
    options = ["GOPATH=/usr/share/gocode", "GO111MODULE=off", "GOFLAGS="]
    check(said(["env", *options, "go", "run", "clients.go"], server, red), 9)


def test_dotnet(server: RunningServer, red: Path, tmp_path: Path) -> None:
    """Its class library in Mono's implementation."""
    program = tmp_path / "clients.exe"
    build = ["mcs", "-r:System.Net.Http.dll", f"-out:{program}", "Clients.cs"]
    subprocess.run(build, cwd=HERE, check=True, capture_output=True, timeout=120)
    check(said(["mono", program], server, red), 9)
