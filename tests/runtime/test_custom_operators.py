"""Libraries of custom operators: refused unless the service's settings name them."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from onnx import parser

from inference_service.core.errors import InvalidModel
from inference_service.runtime.session import RuntimeOptions, open_model
from inference_service.settings import Settings
from tests import onnx_models
from tests.conftest import RunningServer
from tests.tools import need_package

UPPER = """<ir_version: 9, opset_import: ["" : 17, "ai.onnx.contrib" : 1]>
    g (string[batch] x) => (string[batch] y) { y = ai.onnx.contrib.StringUpper(x) }"""


def upper() -> onnx.ModelProto:
    """Needs an operator of onnxruntime-extensions."""
    return parser.parse_model(UPPER)


def extensions() -> Path:
    need_package("onnxruntime_extensions")
    extensions: Any = importlib.import_module("onnxruntime_extensions")
    return Path(extensions.get_library_path())


def test_an_unknown_operator_is_named_and_what_would_help() -> None:
    with pytest.raises(InvalidModel, match=r"no operator ai\.onnx\.contrib:StringUpper; .*setting"):
        open_model(upper().SerializeToString(), RuntimeOptions(1))


def test_a_file_that_is_no_library_is_told(tmp_path: Path) -> None:
    path = tmp_path / "operators.so"
    path.write_bytes(b"no library")
    with pytest.raises(InvalidModel, match=r"custom operators operators\.so can't be loaded: "):
        open_model(upper().SerializeToString(), RuntimeOptions(1, libraries=(path,)))


def test_a_library_that_is_missing_is_an_error_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="custom_operators"):
        Settings(runtime={"custom_operators": [str(tmp_path / "none.so")]})


def test_a_model_uses_a_library_that_is_allowed(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    library = extensions()
    model = open_model(upper().SerializeToString(), RuntimeOptions(1, libraries=(library,)))
    assert model.run({"x": np.array(["ab"], object)})["y"].tolist() == ["AB"]
    onnx_models.save(upper(), tmp_path / "upper" / "1" / "model.onnx")
    running = serve(tmp_path, INFERENCE_SERVICE_RUNTIME__CUSTOM_OPERATORS=f'["{library}"]')
    url = f"{running.url}/v1/models/upper:predict"
    answer = requests.post(url, json={"inputs": ["ab", "c"]}, timeout=30)
    assert answer.json() == {"outputs": ["AB", "C"]}
