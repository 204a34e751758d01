"""The chart, rendered by the real Helm engine, which has an environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.tools import TOOLS, need_file

CHART = ROOT / "deploy" / "helm" / "inference-service"
PYTHON = TOOLS / "deploy" / "bin" / "python"


def answers_of_helm(sets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """For each value set ``{"objects": [...]}`` or ``{"error": "..."}``, and ``lint``."""
    need_file(PYTHON)
    run = subprocess.run(
        [PYTHON, Path(__file__).with_name("render_chart.py"), CHART],
        input=json.dumps(sets), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def rendered(values: dict[str, Any]) -> list[Any]:
    """The objects of one value set."""
    answer = answers_of_helm({"it": values})["it"]
    assert "error" not in answer, answer["error"]
    found: list[Any] = answer["objects"]
    return found
