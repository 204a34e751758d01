"""What MLServer's codecs make of the answers of two servers, as JSON; runs where MLServer is installed.

Arguments: URL and gRPC address of this service, then of an MLServer with `mlserver_echo`. Each case is a
list: its name, how it was sent, and what came of it at either server; a text that begins with ``!`` is an
error, with ``?`` one that the client's own codec raised before anything was sent.
"""

import datetime
import json
import sys

import grpc
import httpx
import numpy as np
import pandas as pd
from mlserver.codecs import (
    Base64Codec,
    DatetimeCodec,
    NumpyCodec,
    NumpyRequestCodec,
    PandasCodec,
    StringCodec,
    StringRequestCodec,
)
from mlserver.grpc import dataplane_pb2_grpc
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestOutput

NUMBERS = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
)  # fmt: skip
SHAPES = ((3,), (2, 3), (2, 3, 2))
TEXTS = ["hello", "w\u00f6rld", ""]
TIMES = [datetime.datetime(2031, 5, 7, 11, 13, 17)]


def numbers(kind, shape):
    values = np.arange(np.prod(shape)).reshape(shape)
    return values % 2 == 0 if kind == "bool" else (values * 3 + 1).astype(kind)


def one(codec, value, **options):
    """A request with the one input of the models."""
    return lambda: InferenceRequest(inputs=[codec.encode_input("input-1", value, **options)])


def in_base64(codec, value, **options):
    """The answer is to be base64, too."""
    wanted = RequestOutput(name="output-1", parameters=Parameters(content_type="base64"))
    part = one(codec, value, **options)
    return lambda: InferenceRequest(inputs=part().inputs, outputs=[wanted])


def cases():
    """Name, model, what makes the request, the codec that reads the answer."""
    for kind in NUMBERS:
        for shape in SHAPES:
            name = f"NumpyCodec {kind} {list(shape)}"
            yield name, f"{kind}-{len(shape)}", one(NumpyCodec, numbers(kind, shape)), NumpyCodec
        whole = numbers(kind, (2, 3))
        make = lambda whole=whole: NumpyRequestCodec.encode_request(whole)  # noqa: E731
        yield f"NumpyRequestCodec {kind}", f"{kind}-2", make, NumpyRequestCodec
    nan = np.array([[1, np.nan]], np.float32)
    yield "NumpyCodec NaN", "float32-2", one(NumpyCodec, nan), NumpyCodec
    yield "NumpyCodec no rows", "float32-2", one(NumpyCodec, nan[:0]), NumpyCodec
    for name, values in {
        "bytes": np.array([b"abc", b"def"]),
        "str": np.array(["abc", "d\u00e9"]),
        "str [2, 2]": np.array([["abc", "d"], ["e", "f"]]),
        "object": np.array(["abc", "d\u00e9"], object),
    }.items():
        yield f"NumpyCodec {name}", "text-2", one(NumpyCodec, values), NumpyCodec
    for flag in (True, False):
        yield from texts(flag)
    frame = pd.DataFrame(
        {"name": ["a", "\u00fc"], "age": [1, 2], "size": [1.5, 2.5], "ok": [True, False]}
    )
    for kind, sent in (("", frame), (" NaN", frame.assign(size=[1.5, np.nan]))):
        for flag in (True, False):
            make = lambda sent=sent, flag=flag: PandasCodec.encode_request(sent, use_bytes=flag)  # noqa: E731
            yield f"PandasCodec{kind}{told(flag)}", "columns", make, PandasCodec


def texts(flag):
    """With and without use_bytes."""
    end = told(flag)
    yield f"StringCodec [3]{end}", "text-1", one(StringCodec, TEXTS, use_bytes=flag), StringCodec
    yield f"StringCodec [3, 1]{end}", "text-2", one(StringCodec, TEXTS, use_bytes=flag), StringCodec
    make = lambda: StringRequestCodec.encode_request(TEXTS, use_bytes=flag)  # noqa: E731
    yield f"StringRequestCodec{end}", "text-2", make, StringRequestCodec
    content = [text.encode() for text in TEXTS[:2]]
    make = in_base64(Base64Codec, content, use_bytes=flag)
    yield f"Base64Codec{end}", "text-2", make, Base64Codec
    make = one(DatetimeCodec, TIMES, use_bytes=flag)
    yield f"DatetimeCodec{end}", "text-2", make, DatetimeCodec


def told(flag):
    return "" if flag else " use_bytes=False"


def over_rest(url, _, model, request):
    """The JSON that the types of MLServer make."""
    text = request.model_dump_json()
    kind = {"Content-Type": "application/json"}
    response = httpx.post(f"{url}/v2/models/{model}/infer", content=text, headers=kind, timeout=60)
    if response.status_code != 200:
        raise ValueError(f"{response.status_code} {response.text[:200]}")
    return InferenceResponse.model_validate(response.json())


def over_grpc(address, model, request, *, raw):
    """What MLServer's converters make."""
    sent = ModelInferRequestConverter.from_types(request, model, use_raw=raw)
    with grpc.insecure_channel(address) as channel:
        stub = dataplane_pb2_grpc.GRPCInferenceServiceStub(channel)
        return ModelInferResponseConverter.to_types(stub.ModelInfer(sent, timeout=60))


TRANSPORTS = {
    "REST": over_rest,
    "gRPC": lambda _, address, *asked: over_grpc(address, *asked, raw=False),
    "gRPC raw": lambda _, address, *asked: over_grpc(address, *asked, raw=True),
}


def read(codec, response):
    """Values and type; the codec gives [n] back as [n, 1] where MLServer made it so."""
    whole = hasattr(codec, "decode_response")
    value = codec.decode_response(response) if whole else codec.decode_output(response.outputs[0])
    if isinstance(value, pd.DataFrame):
        return json.dumps({name: [str(one) for one in column] for name, column in value.items()})
    if isinstance(value, np.ndarray):
        shape = [n for i, n in enumerate(value.shape) if (i, n) != (1, 1)]
        return f"{value.dtype}{shape}{value.ravel().tolist()}"
    return str(value)


def outcome(ask, server, model, make, codec):
    try:
        request = make()
        response = ask(*server, model, request)
    except grpc.RpcError as error:
        return f"! {error.code().name} {error.details()[:200]}"
    except (TypeError, AttributeError) as error:  # what protobuf says of values that it can't hold
        return f"? {error}"
    except Exception as error:
        return f"? {error}" if "argument is not" in str(error) else f"! {error}"
    try:
        return read(codec, response)
    except Exception as error:
        return f"! of the answer: {error}"


def main():
    ours, theirs = sys.argv[1:3], sys.argv[3:5]
    for name, model, make, codec in cases():
        for how, ask in TRANSPORTS.items():
            here = outcome(ask, ours, model, make, codec)
            there = outcome(ask, theirs, "echo", make, codec)
            sys.stdout.write(json.dumps([name, how, here, there]) + "\n")


if __name__ == "__main__":
    main()
