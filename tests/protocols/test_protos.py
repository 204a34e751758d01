"""The compiled protobuf definitions are those of the file beside them, with Triton's numbers."""

import subprocess
import sys
from pathlib import Path

import tritonclient.grpc.model_config_pb2 as triton_config
import tritonclient.grpc.service_pb2 as triton

from inference_service.protocols.oip import rpc
from inference_service.protocols.oip.rpc.messages import POOL

FOLDER = Path(rpc.__file__).parent


def test_the_descriptor_is_compiled_from_the_definition(tmp_path: Path) -> None:
    """scripts/protos does it."""
    out = tmp_path / "compiled"
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I.",
        f"--descriptor_set_out={out}",
        "open_inference.proto",
    ]
    subprocess.run(command, cwd=FOLDER, check=True, timeout=60)
    assert out.read_bytes() == (FOLDER / "open_inference.binpb").read_bytes()


def test_every_field_has_tritons_number_and_type() -> None:
    theirs = {
        **triton.DESCRIPTOR.message_types_by_name,
        **triton_config.DESCRIPTOR.message_types_by_name,
    }
    ours = POOL.FindFileByName("open_inference.proto").message_types_by_name

    def compare(own: object, other: object) -> int:
        count = 0
        fields = {field.name: field for field in other.fields}  # type: ignore[attr-defined]
        for field in own.fields:  # type: ignore[attr-defined]
            found = fields[field.name]
            kind = (field.number, field.type, field.is_repeated)
            assert kind == (found.number, found.type, found.is_repeated), field.full_name
            count += 1
        for nested in own.nested_types:  # type: ignore[attr-defined]
            count += compare(nested, other.nested_types_by_name[nested.name])  # type: ignore[attr-defined]
        return count

    assert sum(compare(message, theirs[name]) for name, message in ours.items()) > 130
