"""Scopes, what they permit, and the client that has them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from inference_service.core.errors import Forbidden, InferenceServiceError, clipped

_LONGEST_GRANT = 256
"""Characters; the names of models are shorter."""


class Scope(StrEnum):
    """What a request needs. One of them never includes another."""

    INFER = "infer"
    READ = "read"
    METRICS = "metrics"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class InvalidGrant(InferenceServiceError):  # noqa: N818
    """A scope that does not exist, in a file of keys or a setting."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated client: its name and what it may do.

    ``models``: patterns of the models whose inference ``infer`` permits; None: all.
    """

    name: str
    scopes: frozenset[Scope]
    models: tuple[str, ...] | None = None

    def check_scope(self, scope: Scope) -> None:
        """Raises Forbidden without the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this needs the scope '{scope}', which '{self.name}' does not have")

    def check_model(self, model: str) -> None:
        """Raises Forbidden where inference with this model is not permitted."""
        if self.models is not None and not any(
            fnmatchcase(model, pattern) for pattern in self.models
        ):
            raise Forbidden(f"'{self.name}' has no scope 'infer:{clipped(model)}'")


@dataclass(slots=True)
class _Grants:
    scopes: set[Scope] = field(default_factory=set)
    models: list[str] = field(default_factory=list)
    all_models: bool = False


def principal_of(name: str, grants: Iterable[str]) -> Principal:
    """A client from texts such as ``infer``, ``infer:digits``, ``infer:team-a-*`` and ``read``.

    Raises InvalidGrant for a text that is none of them.
    """
    found = _Grants()
    for text in grants:
        word, colon, model = text.partition(":")
        if word not in ALL_SCOPES or (colon and (word != Scope.INFER or not model)):
            known = ", ".join(f"'{scope}'" for scope in Scope)
            raise InvalidGrant(
                f"scope '{clipped(text)}': expected {known} or 'infer:<model>' "
                "(the model may hold *)"
            )
        if len(text) > _LONGEST_GRANT:
            raise InvalidGrant(f"a scope has more than {_LONGEST_GRANT} characters")
        found.scopes.add(Scope(word))
        if model:
            found.models.append(model)
        elif word == Scope.INFER:
            found.all_models = True
    limited = Scope.INFER in found.scopes and not found.all_models
    return Principal(name, frozenset(found.scopes), tuple(found.models) if limited else None)
