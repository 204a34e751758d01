"""What a model that makes vectors of text can be asked for: the vectors, and a search. Pure."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from inference_service.core.errors import InvalidInput
from inference_service.core.file_kinds import seems
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Signature
from inference_service.core.text import TextEmbedder, Tokens, check_dimensions
from inference_service.faults import noun

_OFF_LOOP_FROM = 4096  # bytes
_MOST_DOCUMENTS = 1024


class EmbedParameters(BaseModel):
    """What a request may say besides its texts."""

    model_config = ConfigDict(extra="forbid")

    normalise: bool = Field(True, description="make every vector 1 long")
    truncate: bool = Field(False, description="cut a text that is too long, and say so")
    dimensions: PositiveInt | None = Field(
        None, description="of the vector, its first numbers alone; none: all of them"
    )
    prompt_name: str | None = Field(
        None, description="of the model's prompts, which are put in front of texts"
    )


class Embedding(BaseModel):
    """The vector of a text."""

    vector: list[float]
    tokens: int = Field(description="special ones included")
    truncated: bool


class Embed:
    """See `Task`."""

    noun = "text"
    media: Sequence[str] = ("text/plain",)
    summary = "A vector that stands for the meaning of a text"
    parameters = EmbedParameters
    result = Embedding
    inline_below = _OFF_LOOP_FROM
    quick_steps = True

    def __init__(self, embedder: TextEmbedder, signature: Signature) -> None:
        self._embedder = embedder
        self._signature = signature

    def run(self, payload: Payload, parameters: EmbedParameters) -> Steps:
        """One row."""
        wanted = parameters.dimensions
        check_dimensions(wanted, self._embedder.dimensions(self._signature))
        tokens = tokenized(
            self._embedder, [text_of(payload)], truncate=parameters.truncate,
            prompt=parameters.prompt_name,
        )  # fmt: skip
        outputs = yield [Inference(self._embedder.tensors(tokens, self._signature))]
        vectors = self._embedder.vectors(
            outputs[0], tokens, normalise=parameters.normalise, dimensions=wanted
        )
        return Embedding(
            vector=vectors[0].tolist(), tokens=tokens.count, truncated=tokens.truncated[0]
        )


class SearchParameters(BaseModel):
    """The texts to search in, and how much of them is wanted."""

    model_config = ConfigDict(extra="forbid")

    documents: list[str] = Field(min_length=1, max_length=_MOST_DOCUMENTS)
    top_k: PositiveInt = Field(10, description="at most this many documents")
    truncate: bool = Field(False, description="cut a text that is too long, and say so")


class Hit(BaseModel):
    """A document and how near its meaning is to the question's."""

    index: int = Field(description="of the document in the request")
    score: float = Field(description="cosine similarity, -1 to 1")
    document: str


class Hits(BaseModel):
    """The documents, the nearest first."""

    hits: list[Hit]
    truncated: int = Field(description="texts that were cut")


class Search:
    """See `Task`."""

    noun = "query"
    media: Sequence[str] = ()
    summary = "The documents whose meaning is the nearest to a query's"
    parameters = SearchParameters
    result = Hits
    inline_below = _OFF_LOOP_FROM
    quick_steps = False

    def __init__(self, embedder: TextEmbedder, signature: Signature) -> None:
        self._embedder = embedder
        self._signature = signature

    def run(self, payload: Payload, parameters: SearchParameters) -> Steps:
        """A row for the query and one for each document: they need not pad each other."""
        embedder, truncate = self._embedder, parameters.truncate
        query = tokenized(embedder, [text_of(payload)], truncate=truncate)
        try:
            documents = embedder.tokenize(parameters.documents, truncate=truncate)
        except InvalidInput as error:
            raise error.within("documents") from None
        each = [query] + [
            Tokens((ids,), (cut,))
            for ids, cut in zip(documents.ids, documents.truncated, strict=True)
        ]
        outputs = yield [Inference(embedder.tensors(one, self._signature)) for one in each]
        vectors = np.concatenate([
            embedder.vectors(output, tokens, normalise=True)
            for output, tokens in zip(outputs, each, strict=True)
        ])  # fmt: skip
        scores = vectors[1:].astype(np.float64) @ vectors[0].astype(np.float64)
        order = np.argsort(-scores, kind="stable")[: parameters.top_k].tolist()
        texts = parameters.documents
        hits = [Hit(index=i, score=float(scores[i]), document=texts[i]) for i in order]
        return Hits(hits=hits, truncated=sum(query.truncated) + sum(documents.truncated))


def text_of(payload: Payload) -> str:
    """The text of JSON, or of a body in UTF-8. Raises InvalidInput."""
    data = payload.data
    if isinstance(data, str):
        return data
    if not isinstance(data, bytes):
        raise InvalidInput(f"expected a text, got {noun(data)}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = seems(data) or "another charset is named in Content-Type"
        raise InvalidInput(
            f"the text is not UTF-8: byte {error.start} can't be read; {what}"
        ) from None


def tokenized(
    embedder: TextEmbedder, texts: Sequence[str], *, truncate: bool, prompt: str | None = None
) -> Tokens:
    """The tokens of one payload, whose errors need no index."""
    try:
        return embedder.tokenize(texts, truncate=truncate, prompt=prompt)
    except InvalidInput as error:
        path = error.path[1:] if error.path else ("prompt_name",)
        raise InvalidInput(error.message, path) from None
