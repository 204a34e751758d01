"""``list``, ``load``, ``unload``, ``promote`` and ``rollback`` against a running server."""

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import click

from inference_service.cli.options import asks_server, authorization, unreached

_TIMEOUT = 600.0
"""Seconds: a load takes as long as it takes, and the server bounds it (runtime.load_timeout)."""
_LOOK = 0.5
_COLOURS = {"READY": "green", "UNAVAILABLE": "red", "LOADING": "yellow", "UNLOADING": "yellow"}


class _Server:
    """A running service. Raises ClickException with what it answers."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = f"{url}/v2/repository"
        self.headers = {"Content-Type": "application/json", **authorization(token)}

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        request = Request(self.url + path, json.dumps(body).encode(), self.headers)  # noqa: S310
        try:
            with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 # what the user says
                return json.load(answer)
        except HTTPError as error:
            raise click.ClickException(_words(error)) from None
        except (URLError, OSError, ValueError) as error:
            raise unreached(self.url, error) from None

    def change(self, model: str, action: str, body: Mapping[str, Any]) -> Any:
        """Do it, and tell which versions are being loaded meanwhile."""
        done = threading.Event()
        telling = threading.Thread(target=self._tell, args=(model, done), daemon=True)
        telling.start()
        try:
            return self.post(f"/models/{quote(model, safe='')}/{action}", body)
        finally:
            done.set()
            telling.join(_LOOK)

    def _tell(self, model: str, done: threading.Event) -> None:
        told: set[str] = set()
        while not done.wait(_LOOK):
            try:
                entries = self.post("/index", {})
            except click.ClickException:
                continue
            for one in entries:
                loading = one["name"] == model and one.get("state") == "LOADING"
                if loading and one["version"] not in told:
                    told.add(one["version"])
                    click.echo(f"loading version {one['version']} ...", err=True)


def _words(error: HTTPError) -> str:
    text = error.read(100_000).decode("utf-8", "replace")
    try:
        told = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        told = f"{error.code} {text[:500]}"
    return f"{told}; give it by --token or $INFERENCE_SERVICE_TOKEN" if error.code == 401 else told


@click.command(name="list", short_help="List the models of a running service.")
@click.option("--json", "as_json", is_flag=True, help="Print the repository index as it is.")
@asks_server
def list_models(server: str, token: str | None, *, as_json: bool) -> None:
    """The models of a running service: versions, states, shares of the traffic, reasons."""
    entries = _Server(server, token).post("/index", {})
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    click.echo(table(entries))


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The index in columns."""
    lines = [("MODEL", "VERSION", "STATE", "TRAFFIC", "REASON")]
    for one in entries:
        state, reason = one.get("state", "not loaded"), one.get("reason", "")
        version, share = str(one.get("version", "-")), _share(one.get("traffic"))
        lines.append((one["name"], version, state, share, reason))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(_line(line, widths) for line in lines)


def _share(traffic: float | None) -> str:
    if not traffic:
        return ""
    return "all" if traffic == 1 else f"{traffic * 100:.3g} %"


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
    colour = _COLOURS.get(line[2])
    if colour is not None:
        cells[2] = click.style(cells[2], fg=colour)
    return "  ".join([*cells, line[4]]).rstrip()


_FORCE = click.option(
    "--force", is_flag=True, help="Without a comparison with the version that is served."
)


@click.command()
@click.argument("model")
@_FORCE
@asks_server
def load(model: str, server: str, token: str | None, *, force: bool) -> None:
    """Serve what is in the repository now as MODEL."""
    _Server(server, token).change(model, "load", {"parameters": {"force": True}} if force else {})
    click.echo(f"{model} is loaded")


@click.command()
@click.argument("model")
@asks_server
def unload(model: str, server: str, token: str | None) -> None:
    """Answer what was accepted, then serve MODEL no more."""
    _Server(server, token).change(model, "unload", {})
    click.echo(f"{model} is unloaded")


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@_FORCE
@asks_server
def promote(model: str, version: int, server: str, token: str | None, *, force: bool) -> None:
    """Let VERSION of MODEL answer the requests that name none."""
    body: dict[str, Any] = {"version": version}
    if force:
        body["parameters"] = {"force": True}
    _Server(server, token).change(model, "promote", body)
    click.echo(f"version {version} of {model} answers")


@click.command()
@click.argument("model")
@asks_server
def rollback(model: str, server: str, token: str | None) -> None:
    """Let the version of MODEL answer again that was replaced last."""
    click.echo(_Server(server, token).change(model, "rollback", {})["result"])
