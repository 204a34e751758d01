"""BatchNormalization in training mode, which ONNX Runtime lets change the model's own weights.

The running mean and variance of such a node are written over its inputs if nothing reads them
(https://github.com/microsoft/onnxruntime/issues/29790). That is harmless as long as nothing else
reads these inputs. Otherwise an answer depends on all requests before it, of whatever client. ONNX
Runtime itself merges weights of equal values (`MERGING`), so that must not be done to such a file.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.runtime.graph import Node, read_nodes

MERGING = "ConstantSharing"
"""The optimiser of ONNX Runtime that makes one weight of two with the same values."""

_ATTRIBUTE = b"training_mode"
_WRITTEN = slice(3, 5)
"""The inputs of BatchNormalization that hold running statistics."""


def is_in_training(source: Path | bytes) -> bool:
    """Whether a node of the file may be in training mode.

    Raises InvalidModel where one would change what other nodes read.
    """
    if isinstance(source, bytes):
        return _ATTRIBUTE in source
    try:
        if not _names_it(source):
            return False
        nodes = read_nodes(source)
    except (ValueError, OSError):  # onnxruntime says what is wrong with the file
        return False
    for node in nodes:
        if node.op_type == "BatchNormalization" and node.outputs[1:]:
            _check(node, nodes)
    return True


def _names_it(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_ATTRIBUTE) >= 0


def _check(node: Node, nodes: list[Node]) -> None:
    written = set(node.inputs[_WRITTEN])
    for reader in nodes:
        for name in _read(reader):
            if name in written:
                raise InvalidModel(
                    f"{node} is in training mode: it would write the statistics of each request "
                    f"to '{name}', which {reader} reads, so that answers depended on the requests "
                    "before; export the model in evaluation mode (PyTorch: model.eval())"
                )


def _read(node: Node) -> Iterator[str]:
    """The inputs whose values count: in training mode running statistics are no such ones."""
    in_training = node.op_type == "BatchNormalization" and node.outputs[1:]
    yield from node.inputs[:3] if in_training else node.inputs
