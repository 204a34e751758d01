"""BentoML with adaptive batching. https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html"""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from common import MAX_BATCH, dtype_of, open_session

KIND = np.dtype(dtype_of(open_session())).name


@bentoml.service(workers=1, traffic={"timeout": 60})
class Service:
    """One model."""

    def __init__(self) -> None:
        self.session = open_session()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=10_000)
    def predict(self, x: Annotated[np.ndarray, DType(KIND)]) -> np.ndarray:
        """One run."""
        return self.session.run(None, {"x": x})[0]
