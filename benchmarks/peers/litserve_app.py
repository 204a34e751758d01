"""LitServe with its own batching. https://lightning.ai/docs/litserve/features/batching"""

import litserve as ls
import numpy as np
from common import MAX_BATCH, PORT, dtype_of, open_session


class Api(ls.LitAPI):
    """One model."""

    def setup(self, device):
        """In the worker process."""
        self.session = open_session()
        self.dtype = dtype_of(self.session)

    def decode_request(self, request):
        """One row."""
        return np.array(request["instances"][0], self.dtype)

    def batch(self, inputs):
        """Rows of several requests."""
        return np.stack(inputs)

    def predict(self, x):
        """One run."""
        return self.session.run(None, {"x": x})[0]

    def unbatch(self, output):
        """The rows again."""
        return list(output)

    def encode_response(self, output):
        """One answer."""
        return {"predictions": [output.tolist()]}


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=PORT, generate_client_file=False, log_level="warning")
