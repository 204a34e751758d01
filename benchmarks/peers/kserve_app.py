"""KServe's Python model server: it has no batching of its own."""

import numpy as np
from common import PORT, dtype_of, open_session
from kserve import Model, ModelServer


class Inference(Model):
    """One model."""

    def load(self) -> bool:
        """Open it."""
        self.session = open_session()
        self.dtype = dtype_of(self.session)
        self.ready = True
        return self.ready

    def predict(self, payload, headers=None, response_headers=None):
        """One run per request."""
        rows = np.array(payload["instances"], self.dtype)
        return {"predictions": self.session.run(None, {"x": rows})[0].tolist()}


if __name__ == "__main__":
    model = Inference("m")
    model.load()
    server = ModelServer(http_port=PORT, enable_grpc=False, workers=1, access_log_format=None)
    server.start([model])
