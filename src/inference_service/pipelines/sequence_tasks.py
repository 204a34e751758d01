"""What a transformer that scores whole texts can be asked: classes, ranks, labels of one's own.

Each text, or pair of texts, is one row: rows of all requests share runs. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Array, Signature, Tensors
from inference_service.pipelines.registry import Amount, Place
from inference_service.pipelines.scores import (
    Classification,
    ClassifyParameters,
    Label,
    ScoreOptions,
    Scorer,
    probabilities,
    tensor,
)
from inference_service.pipelines.text_tasks import text_of
from inference_service.pipelines.tokens import (
    TextTokenizer,
    class_scores,
    open_tokenizer,
    scores_of,
)

_OFF_LOOP_FROM = 4096  # bytes
MOST_TEXTS = 1024
"""In one request to rank."""
_MOST_LABELS = 128
_LONGEST_LABEL = 1_000  # characters
_Text = Annotated[str, Field(max_length=100_000)]


class TokenOptions(ScoreOptions):
    """``[pipeline]`` of a transformer: the graph takes token ids, the tokenizer lies beside it.

    Without ``max_tokens`` the tokenizer's own limit holds, without ``pad_id`` its own padding, and
    without ``lower`` its own way with capitals. ``truncation_side``: which end is cut off.
    """

    tokenizer: str = "tokenizer.json"
    max_tokens: Amount | None = None
    pad_id: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    truncation_side: Literal["left", "right"] = "right"
    lower: bool | None = None


def tokenizer_of(options: TokenOptions, place: Place) -> TextTokenizer:
    """The one that the options name. Raises InvalidModel."""
    return open_tokenizer(
        place.file(options.tokenizer), options.kind, options.max_tokens, options.pad_id,
        side=options.truncation_side, lower=options.lower,
    )  # fmt: skip


class TextParameters(ClassifyParameters):
    """What a request may say besides its texts."""

    truncate: bool = Field(False, description="cut a text that is too long, and say so")


class TextLabels(Classification):
    """The classes of a text, the likeliest first."""

    truncated: bool


def text_and_pair(payload: Payload) -> tuple[str, str | None]:
    """The text, or two of them in a list. Raises InvalidInput."""
    data = payload.data
    if isinstance(data, list):
        if len(data) != 2 or not all(isinstance(one, str) for one in data):
            raise InvalidInput("expected a text, or a pair of texts in a list")
        return data[0], data[1]
    return text_of(payload), None


class ClassifyTokens:
    """See `Task`."""

    noun = "text"
    media: Sequence[str] = ("text/plain",)
    summary = "What kind of text is it?"
    parameters = TextParameters
    result = TextLabels
    inline_below = _OFF_LOOP_FROM
    quick_steps = True

    def __init__(
        self, options: TokenOptions, text: TextTokenizer, place: Place, signature: Signature
    ) -> None:
        named = options.model_copy(update={"output": scores_of(signature, options.output)})
        self._scorer = Scorer(named, place, signature)
        self.labels = self._scorer.labels
        self._text = text
        self._signature = signature

    def run(self, payload: Payload, parameters: TextParameters) -> Steps:
        """One row."""
        row = self._text.encode(*text_and_pair(payload), truncate=parameters.truncate)
        outputs = yield [Inference(row.tensors(self._signature))]
        found = self._scorer(outputs[0][self._scorer.output][0], parameters)
        return TextLabels(labels=found.labels, truncated=row.truncated)


class RerankParameters(BaseModel):
    """The texts to rank, and how they are to be told."""

    model_config = ConfigDict(extra="forbid")

    texts: list[_Text] = Field(min_length=1, max_length=MOST_TEXTS)
    top_k: PositiveInt | None = Field(None, description="at most this many texts")
    truncate: bool = Field(False, description="cut what is too long")
    raw_scores: bool = Field(False, description="the model's numbers instead of 0 to 1")
    return_text: bool = Field(False, description="tell the texts, too")


class Rank(BaseModel):
    """A text and how well it answers the query."""

    index: int = Field(description="of the text in the request")
    score: float
    text: str | None = None


class Ranking(BaseModel):
    """The texts, the best first."""

    ranks: list[Rank]


class Rerank:
    """See `Task`: a cross-encoder reads the query and a text together."""

    noun = "query"
    media: Sequence[str] = ()
    summary = "Which texts answer a query best?"
    parameters = RerankParameters
    result = Ranking
    inline_below = 0
    quick_steps = False

    def __init__(self, options: TokenOptions, text: TextTokenizer, signature: Signature) -> None:
        spec = tensor(signature.outputs, scores_of(signature, options.output), "output")
        class_scores(spec, 2)
        if spec.shape[1] not in {None, 1}:
            raise InvalidModel(f"pipeline.output: reranking needs one score a row, got {spec}")
        self._output = spec.name
        self._text = text
        self._signature = signature

    def run(self, payload: Payload, parameters: RerankParameters) -> Steps:
        """A row for each text."""
        query = text_of(payload)
        rows = []
        for index, text in enumerate(parameters.texts):
            try:
                rows.append(self._text.encode(query, text, truncate=parameters.truncate))
            except InvalidInput as error:
                raise error.within("texts", index) from None
        outputs = yield [Inference(row.tensors(self._signature)) for row in rows]
        raw = np.array([float(one[self._output][0, 0]) for one in outputs])
        scores = raw if parameters.raw_scores else 1 / (1 + np.exp(-raw.clip(-500, 500)))
        order = np.argsort(-scores, kind="stable").tolist()[: parameters.top_k]
        texts = parameters.texts
        return Ranking(
            ranks=[
                Rank(index=i, score=scores[i], text=texts[i] if parameters.return_text else None)
                for i in order
            ]
        )


class ZeroShotParameters(BaseModel):
    """The labels to choose from."""

    model_config = ConfigDict(extra="forbid")

    labels: list[Annotated[str, Field(min_length=1, max_length=_LONGEST_LABEL)]] = Field(
        min_length=1, max_length=_MOST_LABELS
    )
    template: str = Field(
        "This example is {}.", description="the statement about a label", max_length=_LONGEST_LABEL
    )
    several: bool = Field(False, description="more than one may be true: each is scored alone")
    truncate: bool = Field(False, description="cut a text that is too long, and say so")


class ZeroShot:
    """See `Task`: whether a text entails "This example is <label>." is its label's score.

    Source: Yin, Hay, Roth, arXiv:1909.00161.
    """

    noun = "text"
    media: Sequence[str] = ()
    summary = "Which of the labels that you name fits a text?"
    parameters = ZeroShotParameters
    result = TextLabels
    inline_below = 0
    quick_steps = True

    def __init__(
        self,
        options: TokenOptions,
        text: TextTokenizer,
        labels: Mapping[str, Sequence[str]],
        signature: Signature,
    ) -> None:
        spec = tensor(signature.outputs, scores_of(signature, options.output), "output")
        names = [name.lower() for name in labels.get(spec.name, ())]
        self._entails = _place(names, "entail")
        self._contradicts = _place(names, "contra") if len(names) > 2 else 1 - self._entails
        self._output = spec.name
        self._text = text
        self._signature = signature

    def run(self, payload: Payload, parameters: ZeroShotParameters) -> Steps:
        """A row for each label."""
        text, template = text_of(payload), parameters.template
        if template.count("{}") != 1:
            raise InvalidInput("expected one {} where the label stands", ("template",))
        rows = [
            self._text.encode(
                text, template.replace("{}", label), truncate=parameters.truncate, keep_pair=True
            )
            for label in parameters.labels
        ]
        outputs = yield [Inference(row.tensors(self._signature)) for row in rows]
        scores = self._scores(outputs, several=parameters.several)
        order = np.argsort(np.negative(scores), kind="stable").tolist()
        found = [Label(label=parameters.labels[i], score=scores[i], index=i) for i in order]
        return TextLabels(labels=found, truncated=any(row.truncated for row in rows))

    def _scores(self, outputs: Sequence[Tensors], *, several: bool) -> Array:
        logits = np.array([one[self._output][0] for one in outputs], np.float64)
        if several or len(logits) == 1:
            pair: Array = logits[:, [self._contradicts, self._entails]]
            return np.asarray(probabilities(pair, "logits")[:, 1])
        return probabilities(logits[:, self._entails], "logits")


def _place(names: Sequence[str], beginning: str) -> int:
    found = [place for place, name in enumerate(names) if name.startswith(beginning)]
    if len(found) != 1:
        raise InvalidModel(
            "pipeline: zero-shot-classification needs labels of which one begins with "
            f"'{beginning}', got {list(names)}"
        )
    return found[0]


def sequence_tasks(
    options: TokenOptions, text: TextTokenizer, place: Place, signature: Signature
) -> Mapping[str, Any]:
    """The tasks of a kind."""
    classify = ClassifyTokens(options, text, place, signature)
    if options.kind == "reranking":
        return {"rerank": Rerank(options, text, signature), "classify": classify}
    if options.kind == "text-classification":
        return {"classify": classify}
    zero_shot = ZeroShot(options, text, classify.labels, signature)
    return {"zero-shot": zero_shot, "classify": classify}
