"""What KServe's client is made to ask in a process of its own, as JSON: see test_kserve.py.

It registers the same protobuf names as Triton's client; one process can't have both.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)


async def ask(url: str, images: np.ndarray) -> dict[str, object]:
    answers: dict[str, object] = {}
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    answers["live"] = await client.is_server_live(url)
    answers["ready"] = await client.is_server_ready(url)
    answers["model_ready"] = await client.is_model_ready(url, "digits")
    for binary in (False, True):
        tensor = InferInput("image", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=binary)
        request = InferRequest("digits", [tensor], request_id="a")
        response = await client.infer(url, request, model_name="digits")
        answers[f"labels_{binary}"] = response.outputs[0].as_numpy().tolist()
        answers[f"id_{binary}"] = response.id
    try:
        await client.infer(url, InferRequest("nothing", [tensor]), model_name="nothing")
    except Exception as error:
        answers["error"] = str(error)
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    answers["v1_ready"] = await v1.is_model_ready(url, "digits")
    response = await v1.infer(url, {"instances": images.tolist()}, model_name="digits")
    answers["v1"] = [row["label"] for row in response["predictions"]]
    return answers


async def ask_grpc(address: str, images: np.ndarray) -> dict[str, object]:
    client = InferenceGRPCClient(address)
    try:
        tensor = InferInput("image", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images)
        request = InferRequest("digits", [tensor], request_id="a")
        response = await client.infer(request)
        return {
            "grpc_live": await client.is_server_live(),
            "grpc_ready": await client.is_server_ready(),
            "grpc_model_ready": await client.is_model_ready("digits"),
            "grpc": response.outputs[0].as_numpy().tolist(),
        }
    finally:
        await client.close()


async def ask_both(url: str, address: str, images: np.ndarray) -> dict[str, object]:
    return await ask(url, images) | await ask_grpc(address, images)


if __name__ == "__main__":
    rows = np.array(json.load(sys.stdin), np.float32)
    sys.stdout.write(json.dumps(asyncio.run(ask_both(sys.argv[1], sys.argv[2], rows))))
