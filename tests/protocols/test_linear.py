"""Decoders take time and memory in proportion to the body, whatever is in it.

Each attack is built in three sizes. The time of the largest may be a generous multiple of its share
of the smallest's: a square, with 16 times as much, would take 256 times as long.
"""

import contextlib
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from inference_service.core.errors import ClientError, InvalidInput
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines.text_tasks import SearchParameters
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.oip.rpc import codec as rpc
from inference_service.protocols.oip.rpc.messages import message
from inference_service.protocols.openai import codec as openai
from inference_service.protocols.predict import codec as predict
from inference_service.protocols.tasks import codec as tasks
from inference_service.protocols.tei.schema import EmbedBody
from inference_service.protocols.tfserving import codec as tfserving
from inference_service.protocols.tfserving.examples import decode_examples

ONE = Signature((TensorSpec("x", DType.FP32, (None, 8)),), (TensorSpec("y", DType.FP32, (None,)),))
TEXT = Signature((TensorSpec("x", DType.BYTES, (None,)),), ())
MANY = Signature(tuple(TensorSpec(f"x{i}", DType.FP32, (None,)) for i in range(500)), ())
LONG = Signature(
    (TensorSpec("x", DType.FP32, (None, None)), TensorSpec("k", DType.FP32, (None,))), ()
)
ANY = Signature((TensorSpec("x", DType.FP32, (), ranked=False),), ())


def predicted(body: bytes, signature: Signature = ONE) -> object:
    quick = tfserving.decode_quickly(body, signature)
    rules = rules_for(body, null=True)
    return quick or tfserving.decode_predict(parse(body), signature, rules=rules)


def bare(body: bytes, signature: Signature = ONE) -> object:
    quick = predict.decode_quickly(body, signature)
    return quick or predict.decode(parse(body), signature, rules=rules_for(body))


def inferred(body: bytes) -> object:
    return oip.decode(body, ONE)


def called(request: Any) -> object:
    return rpc.decode(request)


def embedded(body: bytes) -> object:
    try:
        return EmbedBody.model_validate(parse(body))
    except ValidationError as error:
        return error.errors()


def sent(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [1] * 8} | changes


def grpc_shape(count: int) -> Any:
    request = message("ModelInferRequest")()
    request.inputs.add(name="x", datatype="FP32", shape=[2**62] * count)
    return request


def grpc_outputs(count: int) -> Any:
    request = message("ModelInferRequest")()
    part = request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    part.contents.fp32_contents.append(1)
    for _ in range(count):
        request.outputs.add(name="y")
    return request


ATTACKS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "a product of lengths": (inferred, lambda n: sent({"inputs": [entry(shape=[2**47] * n)]})),
    "a product of lengths, binary": (
        inferred,
        lambda n: sent({"inputs": [{"name": "x", "shape": [2**47] * n, "datatype": "FP32",
                                    "parameters": {"binary_data_size": 0}}]}),
    ),
    "a product of lengths, gRPC": (called, grpc_shape),
    "members of inputs": (predicted, lambda n: sent({"inputs": {f"k{i}": 1 for i in range(n)}})),
    "members of the body": (predicted, lambda n: sent({f"k{i}": 1 for i in range(n)})),
    "members of an OIP body": (inferred, lambda n: sent({f"k{i}": 1 for i in range(n)})),
    "members of OIP inputs": (
        inferred, lambda n: sent({"inputs": [entry() | {f"k{i}": 1 for i in range(n)}]}),
    ),
    "members of a bare body": (bare, lambda n: sent({f"k{i}": 1 for i in range(n)})),
    "unknown inputs of a wide model": (
        lambda body: predicted(body, MANY), lambda n: sent({"inputs": {f"k{i}": 1 for i in range(n)}}),
    ),
    "a text among texts": (
        predicted, lambda n: sent({"instances": ["x" * n, *[""] * n]}),
    ),
    "a text among numbers": (predicted, lambda n: sent({"instances": [[1] * n, ["x" * n]]})),
    "a text among texts, OIP": (
        inferred, lambda n: sent({"inputs": [entry(data=["x" * n, *[""] * n])]}),
    ),
    "a text for any rank": (
        lambda body: predicted(body, ANY), lambda n: sent({"inputs": ["x" * n, *[""] * n]}),
    ),
    "texts": (
        lambda body: predicted(body, TEXT), lambda n: sent({"instances": ["x" * n, *[""] * n]}),
    ),
    "the same output": (
        inferred, lambda n: sent({"inputs": [entry()], "outputs": [{"name": "y"}] * n}),
    ),
    "the same output, gRPC": (called, grpc_outputs),
    "the same input": (inferred, lambda n: sent({"inputs": [entry(data=[])] * n})),
    "wrong inputs": (inferred, lambda n: sent({"inputs": [{}] * n})),
    "parameters": (
        inferred, lambda n: sent({"inputs": [entry(parameters={f"k{i}": [] for i in range(n)})]}),
    ),
    "ragged rows": (predicted, lambda n: sent({"instances": [[1] * 8] * n + [[1]]})),
    "nulls": (predicted, lambda n: sent({"instances": [[None] * 8] * n})),
    "whole floats beside large integers": (
        lambda body: predicted(body, Signature((TensorSpec("x", DType.INT64, (None,)),), ())),
        lambda n: sent({"instances": [2**60 + 1, *[1.0] * n]}),
    ),
    "lists in lists": (
        lambda body: predicted(body, ANY), lambda n: sent({"inputs": [[[1]] * n, 1]}),
    ),
    "context x examples": (
        lambda body: decode_examples(parse(body), LONG),
        lambda n: sent({"context": {"x": [1] * n}, "examples": [{"k": 1}] * n}),
    ),
    "unknown context x examples": (
        lambda body: decode_examples(parse(body), ONE),
        lambda n: sent({"context": {f"k{i}": 1 for i in range(n)}, "examples": [{}] * n}),
    ),
    "wrong texts, OpenAI": (lambda body: openai.decode(parse(body)), lambda n: sent({"input": [1.5] * n})),
    "wrong tokens, OpenAI": (
        lambda body: openai.decode(parse(body)), lambda n: sent({"input": [[-1] * n]}),
    ),
    "wrong texts, TEI": (embedded, lambda n: sent({"inputs": [1.5] * n})),
    "unknown parameters of a task": (
        lambda body: tasks.read_parameters(SearchParameters, {}, parse(body)),
        lambda n: sent({f"k{i}": 1 for i in range(n)}),
    ),
    "headers of a form": (
        lambda body: tasks.from_form(body, b"multipart/form-data; boundary=b", "image", binary=True),
        lambda n: b"--b\r\n" + b"".join(b"h%d: v\r\n" % i for i in range(n)) + b"\r\n\r\n--b--\r\n",
    ),
    "a header of a form": (
        lambda body: tasks.from_form(body, b"multipart/form-data; boundary=b", "image", binary=True),
        lambda n: b"--b\r\nContent-Disposition: form-data; name=" + b"x;" * n + b"\r\n\r\n\r\n--b--\r\n",
    ),
    "fields of a form": (
        lambda body: tasks.from_form(body, b"multipart/form-data; boundary=b", "image", binary=True),
        lambda n: b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * n + b"--b--\r\n",
    ),
}  # fmt: skip


def spent(read: Callable[[Any], object], body: Any) -> float:
    """Seconds of this process, the best of a few."""
    best = float("inf")
    for _ in range(2):
        begun = time.process_time()
        try:
            read(body)
        except ClientError as error:
            assert len(str(error)) < 3000
        best = min(best, time.process_time() - begun)
    return best


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_time_grows_with_the_body_and_not_with_its_square(attack: str) -> None:
    read, build = ATTACKS[attack]
    small, large = 1_000, 16_000
    spent(read, build(10))
    floor = 2e-3  # below it the clock tells nothing
    first = max(spent(read, build(small)), floor)
    assert spent(read, build(large)) < 6 * (large / small) * first


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_memory_grows_with_the_body_and_not_with_its_square(attack: str) -> None:
    read, build = ATTACKS[attack]
    body = build(5_000)
    size = len(body) if isinstance(body, bytes) else body.ByteSize()
    tracemalloc.start()
    with contextlib.suppress(ClientError):
        read(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * size + 2**20


def test_a_context_for_many_examples_has_a_bound() -> None:
    context = {"x": [1] * 10_000}
    few = decode_examples({"context": context, "examples": [{"k": 1}] * 10}, LONG)
    assert few["x"].shape == (10, 10_000)
    with pytest.raises(InvalidInput, match="10000 values for each of 1000 examples are more than"):
        decode_examples({"context": context, "examples": [{"k": 1}] * 1000}, LONG)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([1] * 65, "a tensor has at most 64 axes, got 65"),
        ([2**47] * 60, "has .* elements, the data 8"),
        ([2**40, 2**40, 0], "is too large, even without elements"),
    ],
)
def test_a_shape_that_no_array_has_is_refused(shape: list[int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        inferred(sent({"inputs": [entry(shape=shape)]}))
    request = message_of(shape)
    with pytest.raises(InvalidInput):
        rpc.decode(request)


def message_of(shape: list[int]) -> Any:
    request = message("ModelInferRequest")()
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    request.raw_input_contents.append(b"\0" * 4)
    return request


def test_rows_that_hold_nothing_have_a_bound() -> None:
    free = Signature((TensorSpec("x", DType.FP32, (None, None)),), ())
    request = oip.decode(sent({"inputs": [entry(shape=[1000, 0], data=[])]}), free)
    assert free.check(request.inputs) == 1000
    request = oip.decode(sent({"inputs": [entry(shape=[4096, 0], data=[])]}), free)
    with pytest.raises(InvalidInput, match="4096 rows that hold no values"):
        free.check(request.inputs)
