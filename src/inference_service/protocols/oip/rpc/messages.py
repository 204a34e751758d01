"""The messages of open_inference.proto.

They live in a descriptor pool of their own: the clients of Triton and of KServe register the same
names in the default one, and a process may well have both a client and this service.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2

SERVICE = "inference.GRPCInferenceService"

POOL = descriptor_pool.DescriptorPool()


def _load() -> Any:
    found = descriptor_pb2.FileDescriptorSet.FromString(
        files(__package__).joinpath("open_inference.binpb").read_bytes()
    )
    for file in found.file:
        POOL.Add(file)
    # Reflection tells of both services from one pool.
    POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)
    return POOL.FindServiceByName(SERVICE)


DESCRIPTOR = _load()


def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))
