"""The pydantic models of text-embeddings-inference's own API.

Source: huggingface/text-embeddings-inference, router/src/http/types.rs.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel

from inference_service.protocols.first_fault import FirstFault

_Id = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
_Tokens = Annotated[list[_Id], FirstFault()]
_Inputs = str | _Tokens | Annotated[list[str | _Tokens], FirstFault()]


_Model = Annotated[str, Field(description="where several make vectors: one of them")]


def _capital(value: Any) -> Any:
    return value.capitalize() if value == "right" else value


class EmbedBody(BaseModel):
    """One text or several; a text may be given by its tokens."""

    model_config = ConfigDict(extra="ignore")

    inputs: _Inputs
    truncate: bool | None = Field(
        False, description="cut what is too long instead of refusing it; null: false"
    )
    truncation_direction: Annotated[Literal["Right"], BeforeValidator(_capital)] = "Right"
    normalize: bool = True
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="the first numbers of each vector alone"
    )
    prompt_name: str | None = Field(
        None, description="of the model's prompts, which are put in front of texts"
    )
    model: _Model = ""


class TokenizeBody(BaseModel):
    """One text or several."""

    model_config = ConfigDict(extra="ignore")

    inputs: str | Annotated[list[str], FirstFault()]
    add_special_tokens: bool = True
    model: _Model = ""


class Vectors(RootModel[list[list[float]]]):
    """A vector for each text."""


class TokenInfo(BaseModel):
    """A token and the characters that it stands for; a special one stands for none."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class TokenLists(RootModel[list[list[TokenInfo]]]):
    """The tokens of each text."""


class Info(BaseModel):
    """The model that makes vectors of text, and its limits."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_type: dict[str, Any]
    max_input_length: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool = False
    version: str


class TeiError(BaseModel):
    """Every error of these paths."""

    error: str
    error_type: str
