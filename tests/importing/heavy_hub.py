"""Folders that Hugging Face's own exporters write: scripts/hub-tests runs this.

They are served as they are and asked for what transformers and sentence-transformers say; what was
tried becomes the table of docs/import/hugging-face.md. It is no part of the test suite.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.conftest import ROOT, RunningServer, serving

_ROWS: dict[str, str] = {}
_MAKERS = Path(__file__).with_name("hub_cases.py")
_PAGE = ROOT / "docs" / "import" / "hugging-face.md"
_HEAD = "| what | architecture | exporter | result |\n|---|---|---|---|"
_MODELS = [f"m{place:03}" for place in range(104)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Made in a process of its own, as the service's process holds no framework."""
    made = os.environ.get("HUB_FOLDER")
    found = Path(made) if made else tmp_path_factory.mktemp("hub")
    if not (found / "asks").exists():
        command = [sys.executable, str(_MAKERS), str(found)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, check=True, cwd=found, env=environment, timeout=3600)
    yield found
    if os.environ.get("WRITE_TABLE"):
        before, _, rest = _PAGE.read_text().partition("<!-- table -->")
        _, _, after = rest.partition("<!-- end -->")
        rows = "\n".join([_HEAD, *(_ROWS[name] for name in sorted(_ROWS))])
        _PAGE.write_text(f"{before}<!-- table -->\n\n{rows}\n\n<!-- end -->{after}")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[RunningServer]:
    with serving(folder / "models") as running:
        yield running


def answer(hub: RunningServer, ask: Mapping[str, Any]) -> Any:
    body = ask["body"]
    if "b64" in body:
        file = base64.b64decode(body["b64"])
        kind = {"content-type": "application/octet-stream"}
        found = requests.post(hub.url + ask["path"], data=file, headers=kind, timeout=60)
    else:
        found = requests.post(hub.url + ask["path"], json=body, timeout=60)
    assert found.status_code == 200, found.text
    return found.json()


def _labels(result: Mapping[str, Any]) -> dict[str, float]:
    return {one["label"]: one["score"] for one in result["labels"]}


def _pieces(body: Any) -> list[dict[str, Any]]:
    return [
        {"label": one.get("entity_group") or one["entity"], "score": one["score"],
         "start": one["start"], "end": one["end"]}
        for one in body
    ]  # fmt: skip


READ: Mapping[str, Callable[[Any], Any]] = {
    "labels": lambda body: _labels(body["results"][0]),
    "labels of each": lambda body: [_labels(one) for one in body["results"]],
    "only score of each": lambda body: [one["labels"][0]["score"] for one in body["results"]],
    "rows": lambda body: body,
    "data": lambda body: [one["embedding"] for one in body["data"]],
    "vector": lambda body: body["results"][0]["vector"],
    "ranks": lambda body: {str(one["index"]): one["score"] for one in body},
    "outputs": lambda body: {one["name"]: one["data"] for one in body["outputs"]},
    "pieces": _pieces,
    "text": lambda body: body["results"][0]["text"],
}
"""What the answer has of what is wanted, in the same form."""


def difference(found: Any, wanted: Any) -> float:
    """The largest of all numbers; labels, places and counts are equal."""
    if isinstance(wanted, Mapping):
        assert set(wanted) <= set(found)
        if all(isinstance(one, float) for one in wanted.values()):
            ranked = sorted(wanted, key=lambda name: -wanted[name])
            assert all(found[a] >= found[b] - 1e-6 for a, b in pairwise(ranked))
        return max((difference(found[name], one) for name, one in wanted.items()), default=0.0)
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], list | Mapping):
        assert len(found) == len(wanted)
        return max(difference(*pair) for pair in zip(found, wanted, strict=True))
    if isinstance(wanted, str):
        assert found == wanted
        return 0.0
    assert np.shape(found) == np.shape(wanted)
    return float(np.abs(np.subtract(found, wanted)).max(initial=0.0))


@pytest.mark.parametrize("name", _MODELS)
def test_a_folder_says_what_its_own_library_says(
    name: str, folder: Path, hub: RunningServer
) -> None:
    path = folder / "asks" / f"{name}.json"
    about = json.loads(path.read_text())
    row = f"| {about['title']} | `{about['architecture']}` | {about['exporter']} |"
    assert not about["failed"], "it was not exported"
    if about["told"]:
        words = told(hub, name)
        assert about["told"] in words
        tensors = "tensors only" if "it takes tensors only" in words else "not served"
        _ROWS[name] = f"{row} {tensors}, told: {about['told']} |"
        return
    worst = 0.0
    for ask in about["asks"]:
        found = difference(READ[ask["read"]](answer(hub, ask)), ask["wanted"])
        assert found <= ask["tolerance"], (ask["path"], ask["read"])
        worst = max(worst, found)
    count = len(about["asks"])
    _ROWS[name] = f"{row} {count} request{'s' * (count != 1)}, difference {worst:.0e} |"


def told(hub: RunningServer, name: str) -> str:
    """What the service says of a model that it doesn't serve, or not as what it is."""
    found = requests.get(f"{hub.url}/v2/models", timeout=20).json()["models"]
    return json.dumps([one for one in found if one["name"] == name], ensure_ascii=False)


def test_no_model_is_left_out(folder: Path) -> None:
    assert len(list((folder / "asks").iterdir())) == len(_ROWS)
