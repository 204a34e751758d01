"""The section ``[security]`` of the settings, and the sections in it."""

from pathlib import Path
from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KeySetting(_Section):
    """A key, as `inference-service keys create --print` prints it."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created: NonNegativeInt = 0
    expires: NonNegativeInt = 0


class CertificateSetting(_Section):
    """A client that is known by its certificate."""

    name: str = Field(description="a name in it: URI, DNS or email of subjectAltName, or CN")
    scopes: tuple[str, ...]


class OidcSettings(_Section):
    """Tokens of an identity provider; needs the extra ``auth``."""

    issuer: str = Field("", description="the `iss` of tokens that are accepted; unset: none are")
    audience: str = Field("", description="their `aud`: this service's name at the provider")
    jwks: str = Field(
        "", description="URL or file of the provider's keys; unset: as the issuer's document says"
    )
    name_claim: str = Field("sub", description="claim that names the client")
    scope_claim: str = Field("scope", description="claim that holds scopes, roles or groups")
    scopes: dict[str, tuple[str, ...]] = Field(
        {}, description="the provider's words and our scopes for each; unset: they are ours"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer and not self.audience:
            raise ValueError("issuer needs audience: tokens for other services would be accepted")
        return self


class TlsSettings(_Section):
    """Encrypted transport of HTTP and gRPC."""

    certificate: Path | None = Field(None, description="PEM file of the certificate and its chain")
    key: Path | None = Field(None, description="PEM file of its private key")
    client_ca: Path | None = Field(None, description="PEM file of those that sign clients'")
    client_certificates: str = Field(
        "optional",
        pattern="^(optional|required)$",
        description="whether clients must have one, where client_ca is set: optional or required",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are needed both")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and key")
        return self


class QuotaSettings(_Section):
    """What each client may use."""

    requests_per_second: PositiveFloat | None = Field(None, description="of each client")
    rows_per_second: PositiveFloat | None = Field(None, description="of each client")
    bytes_per_second: PositiveFloat | None = Field(None, description="bodies of each client")
    burst: PositiveFloat = Field(2.0, description="seconds of a rate that may be used at once")
    concurrency: PositiveInt | None = Field(None, description="requests of each client in work")
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="of limits.max_in_flight_requests and _bytes, for each client; holds with "
        "access control or any quota",
    )

    @property
    def any(self) -> bool:
        """Whether one is set."""
        return any((
            self.requests_per_second, self.rows_per_second, self.bytes_per_second, self.concurrency
        ))  # fmt: skip


class SecuritySettings(_Section):
    """Who may do what (docs/security.md)."""

    anonymous: bool = Field(
        False, description="serve without access control on other addresses than loopback"
    )
    keys_file: Path | None = Field(
        None, description="file of API keys (`inference-service keys`); read again when it changes"
    )
    keys: tuple[KeySetting, ...] = Field((), description="API keys beside those of the file")
    pepper_file: Path | None = Field(
        None, description="secret that hashes are keyed with; unset: keys_file + .pepper"
    )
    pepper: SecretStr | None = Field(None, description="the same as text")
    certificates: tuple[CertificateSetting, ...] = Field(
        (), description="clients that are known by their certificates"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="names that requests may use (`*.example.com`); unset: on loopback numeric "
        "addresses and names without a dot, elsewhere any",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="networks whose Forwarded and X-Forwarded-* are believed"
    )
    oidc: OidcSettings = OidcSettings()
    tls: TlsSettings = TlsSettings()
    quotas: QuotaSettings = QuotaSettings()

    @property
    def access_control(self) -> bool:
        """Whether clients are told apart and permitted."""
        return bool(
            self.keys_file is not None or self.keys or self.oidc.issuer or self.certificates
        )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.keys and self.pepper is None and self.pepper_file is None and not self.keys_file:
            raise ValueError("keys need pepper or pepper_file: what their hashes are keyed with")
        if self.certificates and self.tls.client_ca is None:
            raise ValueError("certificates need tls.client_ca: what signs them")
        return self
