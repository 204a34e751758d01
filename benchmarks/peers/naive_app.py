"""What people write: a FastAPI endpoint with a pydantic body that runs the model directly."""

from typing import Any

import numpy as np
import uvicorn
from common import PORT, dtype_of, open_session
from fastapi import FastAPI
from pydantic import BaseModel

session = open_session()
DTYPE = dtype_of(session)
app = FastAPI()


class Body(BaseModel):
    """The rows."""

    instances: list[Any]


@app.post("/predict")
def predict(body: Body) -> dict[str, list[Any]]:
    """One run per request, in FastAPI's thread pool."""
    outputs = session.run(None, {"x": np.array(body.instances, DTYPE)})
    return {"predictions": outputs[0].tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, access_log=False, log_level="warning")
