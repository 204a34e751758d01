"""The pydantic models of OpenAI's embeddings API.

Source: https://platform.openai.com/docs/api-reference/embeddings/create.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inference_service.protocols.first_fault import FirstFault

_Id = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
_Texts = Annotated[list[str], FirstFault()]
_Tokens = Annotated[list[_Id], FirstFault()]


class EmbeddingsBody(BaseModel):
    """One text, texts, the tokens of one, or of several."""

    model_config = ConfigDict(extra="ignore")

    input: str | _Texts | _Tokens | Annotated[list[_Tokens], FirstFault()]
    model: str | None = Field(None, description="none: the only one that there is")
    encoding_format: Literal["float", "base64"] | None = Field("float", description="null: float")
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="the first numbers of each vector alone"
    )
    user: str | None = Field(None, description="no part of the answer depends on it")


class EmbeddingItem(BaseModel):
    """The vector of one text: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens, special ones included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """A vector for each text."""

    object: Literal["list"] = "list"
    model: str
    data: list[EmbeddingItem]
    usage: Usage


class OpenAIError(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class FailureBody(BaseModel):
    """Every error of these paths."""

    error: OpenAIError
