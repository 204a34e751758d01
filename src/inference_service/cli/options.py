"""What the commands that ask a running service have in common: where it is, and the key."""

from typing import Any

import click

URL_VARIABLE = "INFERENCE_SERVICE_URL"
TOKEN_VARIABLE = "INFERENCE_SERVICE_TOKEN"  # noqa: S105 - its name
_SCHEMES = ("http://", "https://")


def _address(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    """The service's address as the beginning of its paths: host:port will do."""
    url = given if "://" in given else f"http://{given}"
    if not url.startswith(_SCHEMES):
        raise click.BadParameter(f"expected http://HOST:PORT, got '{given}'")
    return url.rstrip("/")


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
