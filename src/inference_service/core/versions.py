"""Which versions of a model should be loaded."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

_MOST_DIGITS = 19
VERSION_FOLDER = re.compile(rf"(0|[1-9][0-9]{{0,{_MOST_DIGITS - 1}}})\Z")


def version_number(name: str) -> int:
    """The version that folders and paths name so. Raises ValueError that says why it is none."""
    if VERSION_FOLDER.match(name):
        return int(name)
    if not (name.isascii() and name.isdigit()):
        raise ValueError("is not a whole number")
    if name.startswith("0"):
        raise ValueError("begins with 0: versions are written without leading zeros")
    raise ValueError(f"has {len(name)} digits, and versions have at most {_MOST_DIGITS}")


@dataclass(frozen=True, slots=True)
class Latest:
    """The ``count`` highest versions."""

    kind: Literal["latest"] = "latest"
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")

    def aspired(self, available: Collection[int]) -> frozenset[int]:
        """The versions that should be loaded."""
        return frozenset(sorted(available, reverse=True)[: self.count])


@dataclass(frozen=True, slots=True)
class All:
    """Every version that is there."""

    kind: Literal["all"] = "all"

    def aspired(self, available: Collection[int]) -> frozenset[int]:
        """The versions that should be loaded."""
        return frozenset(available)


@dataclass(frozen=True, slots=True)
class Specific:
    """The listed versions, as far as they are there."""

    versions: frozenset[int]
    kind: Literal["specific"] = "specific"

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("versions must name at least one version")

    def aspired(self, available: Collection[int]) -> frozenset[int]:
        """The versions that should be loaded."""
        return self.versions & frozenset(available)


VersionPolicy: TypeAlias = Latest | All | Specific
