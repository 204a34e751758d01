"""The blocks of README and docs run as they are printed, and give what they show."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.conftest import ROOT, RunningServer
from tests.test_docs import PAGES

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HERE = re.compile(r"(?:127\.0\.0\.1|localhost):8000")
_NOT_SERVED = ("sentences", "my-model", "MODEL", "encoder", "minilm", "8001", "10.0.0.1",
               "-T model.onnx")  # fmt: skip
"""Models that are built on demand, and other people's."""
_CLOSE = 0.011  # scores are printed with two digits


class Block(NamedTuple):
    page: str
    text: str


def blocks(kind: str) -> Iterator[Block]:
    for page in PAGES:
        if page.parent.name == "import":  # tests/importing and scripts/import-tests run these
            continue
        for found, text in _FENCE.findall(page.read_text()):
            if found == kind:
                yield Block(page.name, text)


class Command(NamedTuple):
    page: str
    line: str
    shown: str


def commands() -> list[Command]:
    """Each ``$ curl`` with the lines that it goes on in, and what is shown below it."""
    found = []
    for page, text in blocks("console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            while shown and (line.endswith("\\") or line.count("'") % 2):
                more, _, shown = shown.partition("\n")
                line = line.removesuffix("\\") + ("\n" if line.count("'") % 2 else "") + more
            if (
                line.startswith("curl ")
                and "…" not in line
                and not any(name in part for name in _NOT_SERVED)
            ):
                found.append(Command(page, line, shown))
    return found


@pytest.mark.parametrize("command", commands(), ids=lambda c: f"{c.page}:{c.line[:60]}")
def test_a_command_of_the_documents_is_answered_as_shown(
    command: Command, server: RunningServer
) -> None:
    line = _HERE.sub(server.url.removeprefix("http://"), command.line)
    line = line.replace("curl ", "curl --fail-with-body ", 1)
    run = subprocess.run(
        ["bash", "-f", "-c", line], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert '"error"' not in run.stdout
    shown = command.shown.strip()
    if shown.startswith("{") and "…" not in shown and "..." not in shown:
        assert alike(json.loads(shown), json.loads(run.stdout)), run.stdout[:2000]


def alike(shown: Any, given: Any) -> bool:
    """The same, but for digits that are not printed."""
    if isinstance(shown, dict) and isinstance(given, dict):
        return shown.keys() == given.keys() and all(alike(v, given[k]) for k, v in shown.items())
    if isinstance(shown, list) and isinstance(given, list):
        return len(shown) == len(given) and all(map(alike, shown, given))
    if isinstance(shown, float) or isinstance(given, float):
        return bool(abs(shown - given) <= max(_CLOSE, abs(given) * _CLOSE))
    return bool(shown == given)


def scripts() -> list[Block]:
    """Python that asks the service."""
    return [
        block for block in blocks("python")
        if _HERE.search(block.text) and not any(name in block.text for name in _NOT_SERVED)
    ]  # fmt: skip


@pytest.mark.parametrize("script", scripts(), ids=lambda s: f"{s.page}:{s.text[:40]}")
def test_python_of_the_documents_runs(script: Block, server: RunningServer) -> None:
    text = _HERE.sub(server.url.removeprefix("http://"), script.text)
    run = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-1500:]


def test_blocks_were_found() -> None:
    assert len(commands()) >= 10
    assert len(scripts()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_are_named_are_there_and_urls_with_questions_are_quoted(page: Any) -> None:
    text = page.read_text()
    for _, block in _FENCE.findall(text):
        for name in re.findall(r"@((?:models|docs)/[\w./-]+)", block):
            assert (ROOT / name).exists(), name
        for line in block.splitlines():
            if "curl" in line:
                bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
                assert "?" not in bare, f"zsh takes it for a pattern: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_tables_are_whole(page: Any) -> None:
    """A blank line within a table ends it: the rows below are shown as text."""
    lines = re.sub(_FENCE, "", page.read_text()).splitlines()
    for number, line in enumerate(lines):
        first = number == 0 or not lines[number - 1].startswith("|")
        if line.startswith("|") and first:
            assert re.fullmatch(r"\|[\s:|-]+\|", lines[number + 1]), (
                f"no table begins with {line!r}"
            )
