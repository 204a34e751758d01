"""MLServer with adaptive batching: writes its settings and starts it.

https://mlserver.readthedocs.io/en/latest/user-guide/adaptive-batching.html
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import MAX_BATCH, PORT, open_session
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Inference(MLModel):
    """One model."""

    async def load(self) -> bool:
        """Open it."""
        self.session = open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One run."""
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = self.session.run(None, {"x": x})[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="y", payload=y)]
        )


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    here = Path(__file__).parent
    shutil.copy(here / "common.py", folder)
    shutil.copy(__file__, folder / "mlserver_app.py")
    # Without workers in processes of their own: they die with the uvloop of today.
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "http_port": PORT, "grpc_port": PORT + 1, "metrics_port": PORT + 2,
                "parallel_workers": 0, "debug": False, "host": "127.0.0.1",
            }
        )
    )  # fmt: skip
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "m",
                "implementation": "mlserver_app.Inference",
                "max_batch_size": MAX_BATCH,
                "max_batch_time": 0.005,
            }
        )
    )
    os.chdir(folder)
    os.execv(str(Path(sys.executable).parent / "mlserver"), ["mlserver", "start", str(folder)])
