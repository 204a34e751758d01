"""Encrypted transport: one context for new connections, replaced when its files change."""

import ssl
from collections.abc import Sequence
from pathlib import Path

from inference_service.core.errors import InferenceServiceError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, those with forward secrecy and authenticated encryption (RFC 9325, 4.2); those of
TLS 1.3 all are."""
HSTS = ("strict-transport-security", "max-age=31536000")
"""A year. Whether subdomains are meant is for the operator's proxy to say."""


class InvalidCertificate(InferenceServiceError):  # noqa: N818
    """A certificate or key can't be used; the message says which file."""


class Certificates:
    """The service's certificate and key, and those that sign clients' (mutual TLS).

    ``context`` is for the next handshake. Replacing files that don't fit each other yet raises in
    `reload`, and the former context stays.
    """

    def __init__(
        self, certificate: Path, key: Path, client_ca: Path | None = None, *, required: bool = False
    ) -> None:
        """Raises InvalidCertificate."""
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._required = required
        self.context: ssl.SSLContext
        self.version = 0
        self.reload()

    @property
    def files(self) -> Sequence[Path]:
        """Those that are read."""
        return [self._certificate, self._key, *filter(None, [self._client_ca])]

    @property
    def required(self) -> bool:
        """Whether clients must have a certificate."""
        return self._client_ca is not None and self._required

    def reload(self) -> None:
        """Read the files again. Raises InvalidCertificate; then nothing has changed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            names = f"{self._certificate.name} and {self._key.name}"
            raise InvalidCertificate(f"{names} can't be used: {_reason(error)}") from None
        if self._client_ca is not None:
            try:
                context.load_verify_locations(self._client_ca)
            except (OSError, ValueError) as error:
                raise InvalidCertificate(
                    f"{self._client_ca.name} can't be used: {_reason(error)}"
                ) from None
            context.verify_mode = ssl.CERT_REQUIRED if self._required else ssl.CERT_OPTIONAL
        self.context = context
        self.version += 1

    def pem(self) -> tuple[bytes, bytes, bytes | None]:
        """Key, certificate and clients' authority as gRPC wants them. Raises OSError."""
        authority = self._client_ca.read_bytes() if self._client_ca is not None else None
        return self._key.read_bytes(), self._certificate.read_bytes(), authority


def _no_password() -> str:
    """Called for an encrypted key; without it OpenSSL asks at the terminal."""
    raise ValueError("the key is encrypted, which is not supported")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return getattr(error, "strerror", None) or str(error)
