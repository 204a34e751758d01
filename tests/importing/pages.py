"""Runs a page of docs/import: its Python, its commands, and its client against a server."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.importing.serving import served

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ADDRESS = "http://localhost:8000"


def run_page(name: str, folder: Path) -> None:
    """Every block in its order, in one folder. A failing block fails the test with its output."""
    text = (ROOT / "docs" / "import" / name).read_text()
    for kind, block in _FENCE.findall(text):
        if kind == "python" and _ADDRESS in block:
            (model,) = (one.name for one in (folder / "models").iterdir())
            with served(folder / "models", model) as url:
                _run([sys.executable, "-c", block.replace(_ADDRESS, url)], folder)
        elif kind == "python":
            _run([sys.executable, "-c", block], folder)
        elif kind == "console":
            for line in re.findall(r"^\$ inference-service (.*)$", block, re.MULTILINE):
                if not line.startswith("serve"):
                    command = [sys.executable, "-m", "inference_service", *shlex.split(line)]
                    _run(command, folder)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command[-1][:300]}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
