"""What is said of files that ONNX Runtime can't read, by its own words of today."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from inference_service.runtime.unreadable import with_contents


def words(source: Path | bytes) -> str:
    with pytest.raises(Exception) as error:  # noqa: PT011 - it has many types
        ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    return with_contents(str(error.value), source)


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS: `git lfs pull`"),
        (
            b"<!DOCTYPE html>",
            "it seems to be a web page: download the file itself, not the page that shows it.",
        ),
        (b"garbage", "or only a part of one; it seems to be a text 'garbage'."),
        (b"\0\1\2\3", "It is no ONNX file, or only a part of one."),
        (b"", "; it seems to be empty."),
    ],
)
def test_a_file_that_is_no_model_is_told_for_what_it_seems(
    tmp_path: Path, content: bytes, end: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert end in words(path)


def test_weights_that_were_left_behind_are_told(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[b, 4] x) => (float[b, 4] y) '
        "{ y = MatMul(x, w) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype="f4"), "w"))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=1)
    (tmp_path / "m.data").unlink()
    assert "Its weights are in another file: put m.data beside it." in words(path)


def test_a_type_that_the_processor_can_not_compute_is_told(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (bfloat16[b, 4] x, bfloat16[4, 4] w) => '
        "(bfloat16[b, 4] y) { y = MatMul(x, w) }"
    )
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    assert words(path).endswith("export the model in float32, not bfloat16")
