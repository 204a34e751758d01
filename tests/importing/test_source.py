"""Which framework made a file is told from its name, or from its first bytes."""

from pathlib import Path

import pytest

from inference_service.importing.source import recognised


@pytest.mark.parametrize(
    ("name", "head", "framework"),
    [
        ("m.pt", b"", ("torch", "torchscript")),
        ("m.txt", b"tree\nversion=v4\n", ("boosting", "lightgbm")),
        ("m.json", b'{"learner":{"attributes":{}', ("boosting", "xgboost")),
        ("m.bst", b"{L" + bytes(7) + b"\x07learner{L", ("boosting", "xgboost")),
        ("m", b"\x89HDF\r\n\x1a\n", ("keras", "h5")),
    ],
)
def test_a_source_is_recognised(
    tmp_path: Path, name: str, head: bytes, framework: tuple[str, str]
) -> None:
    path = tmp_path / name
    path.write_bytes(head)
    found = recognised(str(path))
    assert (found.framework, found.format) == framework
