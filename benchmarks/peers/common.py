"""What every peer does in the same way: open the model and read rows. Environment: MODEL, PORT."""

import os
from typing import Any

import numpy as np
import onnxruntime as ort

PORT = int(os.environ.get("PORT", "8000"))
MAX_BATCH = int(os.environ.get("MAX_BATCH", "64"))


def open_session() -> ort.InferenceSession:
    """All cores, no spinning: the server's own Python shares them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(os.environ["MODEL"], options)


def dtype_of(session: ort.InferenceSession) -> Any:
    """The numpy type of the only input ``x``."""
    return {"tensor(float)": np.float32, "tensor(int64)": np.int64}[session.get_inputs()[0].type]


def shape_of(session: ort.InferenceSession) -> tuple[int, ...]:
    """The shape of a row; -1 where it may vary."""
    return tuple(n if isinstance(n, int) else -1 for n in session.get_inputs()[0].shape[1:])
