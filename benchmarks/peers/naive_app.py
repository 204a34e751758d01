"""What people write: a FastAPI endpoint with a pydantic body that runs the model directly.

Environment: MODEL is the path of an .onnx file. Run it with ``uvicorn naive_fastapi:app``.
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession(os.environ["MODEL"], options)
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}
app = FastAPI()


class Body(BaseModel):
    """The rows, each with its inputs by name."""

    instances: list[dict[str, list[float] | float | str]]


@app.post("/predict")
def predict(body: Body) -> dict[str, list[object]]:
    """One run per request, in FastAPI's thread pool."""
    inputs = {
        spec.name: np.array([row[spec.name] for row in body.instances], TYPES[spec.type])
        for spec in session.get_inputs()
    }
    outputs = session.run(None, inputs)
    return {
        "predictions": [[value.tolist() for value in row] for row in zip(*outputs, strict=True)]
    }
