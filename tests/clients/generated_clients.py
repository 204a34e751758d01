"""Typed clients, generated from the OpenAPI document: they type-check, and they call models.

scripts/generated-clients runs it; it is no part of the test suite (it needs npm).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import requests

from tests.conftest import MODELS, RunningServer

HERE = Path(__file__).parent / "generated"
TOOLS = Path(os.environ["GENERATORS"]) if "GENERATORS" in os.environ else Path()
REFUSED = "refused instances[0]: input 'image': expected shape [64], got [1]"


def run(*command: object, folder: Path) -> str:
    """What it prints; a failure is one of the test, with all that it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, cwd=folder, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def test_openapi_python_client(server: RunningServer, tmp_path: Path) -> None:
    """Nothing of the document is left out, mypy finds nothing, each kind of request is answered."""
    document = tmp_path / "openapi.json"
    document.write_bytes(requests.get(server.url + "/openapi.json", timeout=60).content)
    made = run(
        TOOLS / "python/bin/openapi-python-client", "generate", "--path", document,
        "--output-path", "generated", "--meta", "none", folder=tmp_path,
    )  # fmt: skip
    assert not re.search(r"WARNING|parsing|duplicate|Unable", made), made
    shutil.copy(HERE / "ask_models.py", tmp_path)
    python = TOOLS / "python/bin/python"
    checked = run(python, "-m", "mypy", "generated", "ask_models.py", folder=tmp_path)
    assert checked.startswith("Success"), checked
    picture = MODELS / "imagenet" / "examples" / "cat.jpg"
    answers = run(python, "ask_models.py", server.url, picture, folder=tmp_path).splitlines()
    assert answers[:3] == ["digits 2", REFUSED, "language de"]
    assert len(set(answers[3:6])) == 1
    assert answers[3].startswith("imagenet ")
    assert answers[6:] == ["metadata ['image']"]


def test_openapi_typescript(server: RunningServer, tmp_path: Path) -> None:
    """The same with tsc, strict, and node."""
    shutil.copy(HERE / "ask_models.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(TOOLS / "node" / "node_modules")
    binaries = TOOLS / "node" / "node_modules" / ".bin"
    run(
        binaries / "openapi-typescript", server.url + "/openapi.json", "-o", "generated.d.ts",
        folder=tmp_path,
    )  # fmt: skip
    run(
        binaries / "tsc", "--strict", "--target", "es2022", "--module", "commonjs",
        "--lib", "es2022,dom", "--types", "node", "ask_models.ts", folder=tmp_path,
    )  # fmt: skip
    answers = run("node", "ask_models.js", server.url, folder=tmp_path).splitlines()
    assert answers == ["digits 2", REFUSED, "language de", "metadata [ 'image' ]"]


if __name__ == "__main__":
    sys.exit("run it with scripts/generated-clients")
