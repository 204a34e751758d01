"""API keys: made once, kept as keyed hashes, found by their public part. Pure, but for randomness.

A key is ``isk_<id>_<secret>``. The secret has 256 random bits, so a fast keyed hash is enough: a
slow one protects passwords, which can be guessed. Without the pepper a stolen file of keys does not
even allow to test a guess.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from inference_service.core.errors import InferenceServiceError
from inference_service.security.grants import Principal, principal_of

PREFIX = "isk_"
_HASH = "hmac-sha256:"
_ID_BYTES = 5
_SECRET_BYTES = 32
_ID = re.compile(r"[0-9a-f]{10}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/-]{0,127}")
_NOBODY = _HASH + "0" * 64
MOST_KEYS = 100_000


class InvalidKeys(InferenceServiceError):  # noqa: N818
    """A file of keys, or a setting of keys, can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is kept of a key. ``created`` and ``expires`` are seconds of Unix time; 0: never."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created: int = 0
    expires: int = 0

    def principal(self) -> Principal:
        """Raises InvalidGrant or InvalidKeys for what makes no client."""
        if not _ID.fullmatch(self.id):
            raise InvalidKeys(f"'{self.id[:40]}' is no id of a key: expected 10 hexadecimal digits")
        if not _NAME.fullmatch(self.name):
            raise InvalidKeys(
                f"key {self.id}: the name has to be of letters, digits and ._@:/-, at most 128"
            )
        if not re.fullmatch(_HASH + "[0-9a-f]{64}", self.hash):
            raise InvalidKeys(f"key {self.id}: expected '{_HASH}' and 64 hexadecimal digits")
        return principal_of(self.name, self.scopes)


def create(name: str, scopes: Iterable[str], pepper: bytes, now: int) -> tuple[str, KeyEntry]:
    """A fresh key, to be shown once, and what is kept of it. Raises InvalidGrant or InvalidKeys."""
    identifier = secrets.token_hex(_ID_BYTES)
    key = f"{PREFIX}{identifier}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    entry = KeyEntry(identifier, name, tuple(scopes), keyed_hash(key, pepper), now)
    entry.principal()
    return key, entry


def keyed_hash(key: str, pepper: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) of the whole key under the pepper, with its name in front."""
    digest = hmac.new(pepper, key.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return _HASH + digest.hexdigest()


class KeyRing:
    """Keys that are accepted. It never changes: another one replaces it."""

    def __init__(self, entries: Iterable[KeyEntry], pepper: bytes) -> None:
        """Raises InvalidKeys or InvalidGrant, with the key's id."""
        self._pepper = pepper
        self._entries: dict[str, tuple[KeyEntry, Principal]] = {}
        for entry in entries:
            if entry.id in self._entries:
                raise InvalidKeys(f"key {entry.id} is there twice")
            if len(self._entries) >= MOST_KEYS:
                raise InvalidKeys(f"there are more than {MOST_KEYS} keys")
            self._entries[entry.id] = entry, entry.principal()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str, now: float) -> Principal | None:
        """The client whose key this is. The hashes are compared in constant time."""
        identifier, _, _ = key.removeprefix(PREFIX).partition("_")
        found = self._entries.get(identifier)
        kept = found[0].hash if found is not None else _NOBODY
        same = hmac.compare_digest(keyed_hash(key, self._pepper), kept)
        if found is None or not same or (found[0].expires and now >= found[0].expires):
            return None
        return found[1]


class Tokens:
    """Secrets of the settings as they are (``admin.token``): kept as hashes, and few."""

    def __init__(self, tokens: Iterable[tuple[str, Principal]]) -> None:
        self._pepper = secrets.token_bytes(32)
        self._kept = [(keyed_hash(token, self._pepper), principal) for token, principal in tokens]

    def find(self, token: str) -> Principal | None:
        """The client whose token this is. All are compared, each in constant time."""
        given = keyed_hash(token, self._pepper)
        found = None
        for kept, principal in self._kept:
            if hmac.compare_digest(given, kept):
                found = principal
        return found
