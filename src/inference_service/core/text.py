"""What the protocols know of a model whose input is text and whose answer is a vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from inference_service.core.errors import InvalidInput
from inference_service.core.padding import PaddedAxis
from inference_service.core.tensors import Array, Signature, Tensors

FORMS = "a string, a list of strings, a list of tokens, or a list of lists of tokens"
"""What requests may give as texts."""


class Token(NamedTuple):
    """A token and the characters that it stands for, from ``start`` to ``stop``."""

    id: int
    text: str
    special: bool
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenised texts: the ids of each, special ones included, and which had to be cut."""

    ids: tuple[tuple[int, ...], ...]
    truncated: tuple[bool, ...]

    @property
    def count(self) -> int:
        """All tokens together."""
        return sum(len(ids) for ids in self.ids)


class TextEmbedder(Protocol):
    """Text to vectors around one model's run. Pure functions; they may be called in threads."""

    @property
    def max_tokens(self) -> int:
        """The longest text that the model takes, in tokens, special ones included."""

    @property
    def pooling(self) -> str:
        """How the tokens' vectors become one: mean, cls, last …, or none where the graph does."""

    @property
    def padding(self) -> Mapping[str, PaddedAxis]:
        """How rows of unlike length share a run, by input; the graph may have some of them."""

    def check(self, signature: Signature) -> None:
        """Raises InvalidModel where the graph is not made for this."""

    def dimensions(self, signature: Signature) -> int | None:
        """Numbers in a vector, where the graph says so."""

    def tokenize(
        self, texts: Sequence[str | Sequence[int]], *, truncate: bool = False,
        prompt: str | None = None,
    ) -> Tokens:  # fmt: skip
        """Texts, or ids made elsewhere, to tokens.

        ``prompt`` is the name of what is put in front of texts, where that is not the model's
        usual one. Raises InvalidInput for a text without tokens, an unknown id, and for a text that
        is too long unless it may be cut (``truncate``): its path begins with the text's number. For
        an unknown prompt it has none.
        """

    def explain(self, text: str, *, special: bool = True) -> Sequence[Token]:
        """The tokens of a text one by one, however many."""

    def tensors(self, tokens: Tokens, signature: Signature) -> Tensors:
        """The model's inputs, padded to the longest text."""

    def vectors(
        self,
        outputs: Tensors,
        tokens: Tokens,
        *,
        normalise: bool,
        dimensions: int | None = None,
    ) -> Array:
        """One float32 vector for each text.

        Of its first ``dimensions`` numbers alone, where that is given: they are cut before they
        are made 1 long. Raises InvalidInput as `check_dimensions` does.
        """


def check_dimensions(wanted: int | None, size: int | None) -> None:
    """Raises InvalidInput for a length to which vectors of ``size`` numbers can't be cut.

    ``size`` is None where only the run will tell it.
    """
    if wanted is not None and (wanted < 1 or (size is not None and wanted > size)):
        most = "on" if size is None else f"to {size}, the numbers of the model's vectors"
        raise InvalidInput(f"expected a whole number from 1 {most}, got {wanted}", ("dimensions",))
