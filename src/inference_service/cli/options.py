"""What the commands that ask a running service have in common: where it is, and the key."""

from typing import Any
from urllib.parse import urlsplit

import click

URL_VARIABLE = "INFERENCE_SERVICE_URL"
TOKEN_VARIABLE = "INFERENCE_SERVICE_TOKEN"  # noqa: S105 - its name
_SCHEMES = {"http", "https"}


def _address(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    """The service's address as the beginning of its paths: host:port will do."""
    url = given if "://" in given else f"http://{given}"
    if not is_url(url):
        raise click.BadParameter(f"expected http://HOST:PORT, got '{given}'")
    return url.rstrip("/")


def is_url(text: str) -> bool:
    """Whether a request can be sent there."""
    try:
        parts = urlsplit(text)
        complete = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False
    return complete and text.isprintable() and " " not in text


def unreached(url: str, error: Exception) -> click.ClickException:
    """What to tell where a request to this URL was not answered."""
    parts, reason = urlsplit(url), getattr(error, "reason", error)
    where = f"{parts.scheme}://{parts.netloc}"
    if isinstance(reason, ConnectionRefusedError):
        return click.ClickException(
            f"no service listens at {where}: start one with 'inference-service serve PATH', or say "
            "where it is with --server"
        )
    return click.ClickException(f"no answer from {where}: {reason}")


_server: Any = click.option(
    "--server", envvar=URL_VARIABLE, default="http://127.0.0.1:8000", show_default=True,
    callback=_address, help=f"Where the service listens (or ${URL_VARIABLE}).",
)  # fmt: skip
_token: Any = click.option(
    "--token", envvar=TOKEN_VARIABLE,
    help=f"An API key, or the admin's token (or ${TOKEN_VARIABLE}).",
)  # fmt: skip


def asks_server(function: Any) -> Any:
    """The options ``--server`` and ``--token``."""
    return _server(_token(function))


def authorization(token: str | None) -> dict[str, str]:
    """The header of a request with the key."""
    return {"Authorization": f"Bearer {token}"} if token else {}
