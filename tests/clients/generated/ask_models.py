# ruff: noqa: T201
"""Asks models with the client that openapi-python-client has made of the document.

Usage: python ask_models.py URL PICTURE. It is type-checked together with the client, which is the
package ``generated``.
"""

import base64
import sys
from io import BytesIO
from pathlib import Path

import httpx
from generated import Client
from generated.api.models import predict_digits
from generated.api.open_inference_protocol import model_metadata_v2_models_model_get as metadata
from generated.api.tasks_of_the_loaded_models import classify_imagenet, classify_language
from generated.models import (
    ClassifyImagenetFilesBody,
    ClassifyImagenetJsonBody,
    ClassifyImagenetResponse200,
    ClassifyLanguageBody,
    ClassifyLanguageResponse200,
    ErrorBody,
    ModelMetadata,
    PredictDigitsBody,
    PredictDigitsResponse200,
)
from generated.types import File


def main(url: str, picture: Path) -> None:
    """Print an answer of each kind of request."""
    client = Client(base_url=url, timeout=httpx.Timeout(60), raise_on_unexpected_status=True)

    rows = PredictDigitsBody(instances=[[0.0] * 64, [1.0] * 64])
    predicted = predict_digits.sync(client=client, body=rows)
    assert isinstance(predicted, PredictDigitsResponse200), predicted
    print("digits", len(predicted.to_dict()["predictions"]))

    short = predict_digits.sync(client=client, body=PredictDigitsBody(instances=[[0.0]]))
    assert isinstance(short, ErrorBody), short
    print("refused", short.error)

    text = ClassifyLanguageBody(text="Wo ist die nächste Apotheke?", top_k=1)
    said = classify_language.sync(client=client, body=text)
    assert isinstance(said, ClassifyLanguageResponse200), said
    print("language", said.results[0].labels[0].label)

    data = picture.read_bytes()
    for body in (
        ClassifyImagenetJsonBody(image=base64.b64encode(data).decode()),
        ClassifyImagenetFilesBody(image=File(BytesIO(data), "picture.jpg", "image/jpeg")),
        File(BytesIO(data)),
    ):
        seen = classify_imagenet.sync(client=client, body=body, top_k=1)
        assert isinstance(seen, ClassifyImagenetResponse200), seen
        print("imagenet", seen.results[0].labels[0].label)

    described = metadata.sync("digits", client=client)
    assert isinstance(described, ModelMetadata), described
    print("metadata", [one.name for one in described.inputs])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
