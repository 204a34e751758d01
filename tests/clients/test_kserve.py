"""KServe's own client, unmodified."""

import json
import subprocess
import sys

import numpy as np

from tests.conftest import ROOT, RunningServer


def test_kserves_client(server: RunningServer, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    run = subprocess.run(
        [sys.executable, "-m", "tests.clients.kserve_requests", server.url, server.grpc_address],
        input=json.dumps(images[:5].tolist()),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout.splitlines()[-1])
    expected = labels[:5].tolist()
    assert "404" in answers.pop("error")
    assert answers == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "labels_False": expected,
        "labels_True": expected,
        "id_False": "a",
        "id_True": "a",
        "v1_ready": True,
        "v1": expected,
        "grpc_live": True,
        "grpc_ready": True,
        "grpc_model_ready": True,
        "grpc": expected,
    }
