"""A real Triton with two small models, for test_against_triton.py. Runs in a venv with pytriton.

python triton_server.py HTTP_PORT GRPC_PORT METRICS_PORT
"""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def doubler(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"y": x * 2}


@batch
def kinds(name: np.ndarray, flag: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    return {"name_out": name, "flag_out": flag, "counts_out": counts}


def main(http: int, grpc: int, metrics: int) -> None:
    config = TritonConfig(
        http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc,
        metrics_address="127.0.0.1", metrics_port=metrics, log_verbose=0,
    )  # fmt: skip
    with Triton(config=config) as triton:
        triton.bind(
            "doubler",
            doubler,
            inputs=[Tensor(name="x", dtype=np.float32, shape=(3,))],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(3,))],
            config=ModelConfig(max_batch_size=16),
        )
        triton.bind(
            "kinds",
            kinds,
            inputs=[
                Tensor(name="name", dtype=bytes, shape=(1,)),
                Tensor(name="flag", dtype=np.bool_, shape=(1,)),
                Tensor(name="counts", dtype=np.int64, shape=(2,)),
            ],
            outputs=[
                Tensor(name="name_out", dtype=bytes, shape=(1,)),
                Tensor(name="flag_out", dtype=np.bool_, shape=(1,)),
                Tensor(name="counts_out", dtype=np.int64, shape=(2,)),
            ],
            config=ModelConfig(max_batch_size=16),
        )
        triton.serve()


if __name__ == "__main__":
    main(*(int(port) for port in sys.argv[1:]))
