"""A model of MLServer that decodes what it is sent and sends it back encoded. Runs in MLServer."""

import datetime

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, DatetimeCodec, NumpyCodec, StringCodec
from mlserver.types import InferenceResponse

CODECS = {str: StringCodec, bytes: Base64Codec, datetime.datetime: DatetimeCodec}


class Echo(MLModel):
    """Each input under its output's name."""

    async def predict(self, payload):
        """As the clients' own codecs understand it."""
        outputs = []
        for part in payload.inputs:
            value = self.decode(part, default_codec=NumpyCodec)
            is_array = isinstance(value, np.ndarray)
            codec = NumpyCodec if is_array else CODECS[type(value[0])]
            name = "output-1" if part.name == "input-1" else part.name + "_out"
            outputs.append(codec.encode_output(name, value))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
