"""mosec with its batching. https://mosecorg.github.io/mosec/"""

import sys

import numpy as np
from common import MAX_BATCH, PORT, dtype_of, open_session
from mosec import Server, Worker


class Inference(Worker):
    """One model."""

    def __init__(self) -> None:
        self.session = open_session()
        self.dtype = dtype_of(self.session)

    def forward(self, data):
        """One run for the rows of several requests."""
        rows = np.array([entry["instances"][0] for entry in data], self.dtype)
        return [{"predictions": [row.tolist()]} for row in self.session.run(None, {"x": rows})[0]]


if __name__ == "__main__":
    sys.argv[1:] = ["--port", str(PORT), "--timeout", "60000", "--log-level", "warning"]
    server = Server()
    server.append_worker(Inference, num=1, max_batch_size=MAX_BATCH, max_wait_time=5)
    server.run()
