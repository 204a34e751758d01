"""What it costs to get a request's tensors out of its body, and its answer's into one.

    python benchmarks/decoding.py

Microseconds, the best of several repeats, for one float32 input of N numbers: through the codecs as
the endpoints call them (envelope, shape and range checks included), and for comparison what people
write by hand: orjson with numpy, and a pydantic model of lists.
"""

import json
import timeit
from collections.abc import Callable

import numpy as np
import orjson
from pydantic import BaseModel

from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.tfserving import codec as tfserving


class Lists(BaseModel):
    instances: list[list[float]]


def best(call: Callable[[], object], numbers: int) -> float:
    count = max(3, 40_000 // numbers)
    return min(timeit.repeat(call, number=count, repeat=9)) / count * 1e6


def usual(body: bytes, signature: Signature) -> object:
    return tfserving.decode_predict(parse(body), signature, rules=rules_for(body))


def predict(body: bytes, signature: Signature) -> object:
    return tfserving.decode_quickly(body, signature) or usual(body, signature)


def measure(numbers: int) -> dict[str, float]:
    array = np.random.default_rng(0).random((1, numbers), np.float32)
    signature = Signature((TensorSpec("x", DType.FP32, (None, numbers)),), ())
    rows = orjson.dumps({"instances": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    answer = oip.Reply("m", 1, oip.Infer({})).write({"x": array})
    as_json = json.dumps({"inputs": json.loads(answer.body)["outputs"]}).encode()
    answer = oip.Reply("m", 1, oip.Infer({}, binary=True)).write({"x": array})
    head = orjson.dumps({"inputs": json.loads(answer.body[: answer.json_length])["outputs"]})
    as_bytes = head + array.tobytes()
    return {
        "JSON, `:predict`": best(lambda: predict(rows, signature), numbers),
        "JSON, `/infer`": best(lambda: oip.decode(as_json, signature), numbers),
        "binary, `/infer`": best(lambda: oip.decode(as_bytes, signature, len(head)), numbers),
        "orjson + numpy": best(
            lambda: np.asarray(orjson.loads(rows)["instances"], np.float32), numbers
        ),
        "pydantic lists + numpy": best(
            lambda: np.asarray(Lists.model_validate_json(rows).instances, np.float32), numbers
        ),
        "answer as JSON": best(
            lambda: oip.Reply("m", 1, oip.Infer({})).write({"x": array}), numbers
        ),
        "answer as binary": best(
            lambda: oip.Reply("m", 1, oip.Infer({}, binary=True)).write({"x": array}), numbers
        ),
    }


def main() -> None:
    sizes = (64, 1024, 150_528)
    results = [measure(size) for size in sizes]
    print("| µs for N float32 | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    for name in results[0]:
        print(f"| {name} | " + " | ".join(f"{result[name]:,.1f}" for result in results) + " |")


if __name__ == "__main__":
    main()
