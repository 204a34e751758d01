"""A run can't take more memory than is allowed, whatever its values ask for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference_service.core.errors import InvalidInput
from inference_service.runtime import arena
from inference_service.runtime.session import translate

PROGRAM = """
import json, re, sys
import numpy as np
from pathlib import Path
from inference_service.core.errors import InferenceServiceError
from inference_service.runtime.arena import bound_runs
from inference_service.runtime.memory import resident
from inference_service.runtime.session import RuntimeOptions, open_model
from tests import onnx_models

bound_runs(200 * 2**20)
path = onnx_models.save(onnx_models.allocating(), Path(sys.argv[1]) / "m.onnx")
models = [open_model(path, RuntimeOptions(1)) for _ in range(2)]
found = []
for model in models:
    for count in (1000, 10**7, 10**8, 10**11, 1000):
        try:
            found.append(float(model.run({"n": np.array([[count]])})["y"]))
        except InferenceServiceError as error:
            found.append(f"{type(error).__name__}: {error}")
# Not ru_maxrss: a child inherits that of the process which has forked it.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps({"found": found, "peak": peak}))
"""


def test_a_value_that_asks_for_too_much_is_refused_and_others_are_answered(
    tmp_path: Path,
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told = json.loads(run.stdout)
    for answers in (told["found"][:5], told["found"][5:]):
        small, middle, large, huge, again = answers
        assert (small, middle, again) == (1000.0, 1e7, 1000.0)
        assert large == (
            "InvalidInput: these values ask for 381 MiB of memory at once in the model's Expand "
            "node 'ones', which is more than a run may take (settings runtime.max_run_bytes, "
            "runtime.max_model_bytes)"
        )
        assert huge.startswith("InvalidInput: these values ask for 381469 MiB")
    assert told["peak"] < 400_000, "KiB: it was never taken"


def test_without_a_bound_the_error_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "_bound", 0)
    text = "Available memory of 5 is smaller than requested bytes of 10"
    assert not isinstance(translate(RuntimeError(text)), InvalidInput)
