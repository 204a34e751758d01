"""Triton's HTTP front and dynamic batcher with a Python backend (pytriton)."""

import numpy as np
from common import MAX_BATCH, PORT, dtype_of, open_session, shape_of
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

session = open_session()


@batch
def infer(x):
    """One run."""
    return {"y": session.run(None, {"x": x})[0]}


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1", http_port=PORT, grpc_address="127.0.0.1", grpc_port=PORT + 1,
        metrics_address="127.0.0.1", metrics_port=PORT + 2, log_verbose=0,
    )  # fmt: skip
    outputs = session.get_outputs()[0].shape[1:]
    with Triton(config=config) as triton:
        triton.bind(
            model_name="m",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=dtype_of(session), shape=shape_of(session))],
            outputs=[Tensor(name="y", dtype=np.float32, shape=tuple(outputs))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=2000),
            ),
        )
        triton.serve()
