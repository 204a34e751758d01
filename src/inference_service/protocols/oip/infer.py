"""The inference endpoint of the Open Inference Protocol."""

from fastapi import APIRouter

from inference_service.core.errors import InvalidInput, quoted
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import NonFinite, Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.protocols.json_large import is_dense
from inference_service.protocols.json_schema import inlined
from inference_service.protocols.oip import codec
from inference_service.protocols.oip.quick import decoder
from inference_service.protocols.oip.schema import InferAnswer, InferBody
from inference_service.serving.codec import Call, Codec, Content, Encode, Head
from inference_service.serving.quick import QuickDecode
from inference_service.web.body import BINARY, JSON_LENGTH_HEADER
from inference_service.web.endpoint import Edge, HttpBinding, InferenceEndpoint, check_tensors
from inference_service.web.errors import ERRORS
from inference_service.web.routing import ModelName, Version, add_lean_routes, by_path

_LENGTH = JSON_LENGTH_HEADER.lower().encode()
_PRIORITIES = {0: None, 1: Priority.HIGH, 2: Priority.NORMAL}


def _decode(body: bytes, info: ModelInfo, head: Head) -> Call:
    request = codec.decode(
        body,
        info.served,
        head.json_length,
        non_finite=head.non_finite is NonFinite.BARE,
        null=head.non_finite is not NonFinite.ERROR,
    )
    writer = writer_of(request, info, head.non_finite)

    def encode(outputs: Tensors) -> Content:
        answer = writer.write(outputs)
        if answer.json_length is None:
            return Content(answer.body)
        return Content(answer.body, BINARY, ((_LENGTH, str(answer.json_length).encode()),))

    return call(request, info, encode)


def _quick(info: ModelInfo) -> QuickDecode | None:
    def usual(request: codec.Infer) -> codec.AnswerWriter | None:
        return None if needed(request, info) else writer_of(request, info, NonFinite.NULL)

    return decoder(info.served, info.name, info.version, usual)


def call(request: codec.Infer, info: ModelInfo, encode: Encode) -> Call:
    """What the engine is asked for, and ``encode`` to answer. Raises InvalidInput."""
    inputs = info.served.fitted(request.inputs)
    if info.transforms.before:  # its steps take the tensors to be right
        info.served.check(inputs)

    return Call(
        inputs,
        encode,
        needed(request, info),
        request.timeout,
        _PRIORITIES.get(request.priority, Priority.LOW),
    )


def writer_of(request: codec.Infer, info: ModelInfo, non_finite: NonFinite) -> codec.AnswerWriter:
    """The writer of the answer."""
    return codec.AnswerWriter(
        info.name, info.version, request, info.labels, non_finite, info.served.row_axes
    )


def needed(request: codec.Infer, info: ModelInfo) -> tuple[str, ...]:
    """The model's outputs behind the ones wanted; none: all. Raises InvalidInput."""
    if request.outputs is None:
        return ()
    sources = info.transforms.sources(info.signature)
    found = set()
    for index, output in enumerate(request.outputs):
        source = sources.get(output.name)
        if source is None:
            raise InvalidInput(
                f"unknown output '{output.name}', this model has {quoted(sources)}",
                ("outputs", index),
            )
        found.add(source)
    names = info.signature.output_names
    # All of them in one way only: requests for the same outputs can share a run.
    return () if len(found) == len(names) else tuple(name for name in names if name in found)


def infer_path(name: str, version: int | None = None) -> str:
    """Where inference with a model is asked for."""
    return f"/v2/models/{name}" + (f"/versions/{version}" if version is not None else "") + "/infer"


def add_infer(routes: APIRouter, edge: Edge) -> None:
    """The endpoint with and without a version."""
    binding = HttpBinding(by_path, check_tensors)
    endpoint = InferenceEndpoint(edge, binding, Codec("oip", _decode, heavy=is_dense, quick=_quick))

    async def infer(model: ModelName) -> None:
        """Tensors by name, as JSON or as bytes behind the JSON (binary tensor data extension)."""

    async def infer_version(model: ModelName, version: Version) -> None:
        """The same with one version."""

    add_lean_routes(
        routes,
        {
            "/v2/models/{model}/infer": infer,
            "/v2/models/{model}/versions/{version}/infer": infer_version,
        },
        endpoint,
        {
            "application/json": {"schema": inlined(InferBody)},
            BINARY.decode(): {"schema": {"type": "string", "format": "binary"}},
        },
        summary="Infer",
        responses={200: {"model": InferAnswer, "content": {BINARY.decode(): {}}}, **ERRORS},
    )
