"""Ray Serve with ``@serve.batch``. https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html"""

import time

import numpy as np
import ray
from common import MAX_BATCH, PORT, dtype_of, open_session
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=512, ray_actor_options={"num_cpus": 1})
class Inference:
    """One model."""

    def __init__(self) -> None:
        self.session = open_session()
        self.dtype = dtype_of(self.session)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.005)
    async def run(self, rows):
        """One run for the rows of several requests."""
        return list(self.session.run(None, {"x": np.stack(rows)})[0])

    async def __call__(self, request):
        """One request."""
        row = np.array((await request.json())["instances"][0], self.dtype)
        return {"predictions": [(await self.run(row)).tolist()]}


if __name__ == "__main__":
    ray.init(include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Inference.bind(), route_prefix="/predict")
    while True:
        time.sleep(3600)
