"""``inference-service keys``: create, list and revoke API keys in a file."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from inference_service.core.errors import InferenceServiceError
from inference_service.security.key_file import (
    changing,
    make_pepper,
    pepper_beside,
    read_keys,
    rendered,
)
from inference_service.security.keys import KeyEntry, create

_FILE = "INFERENCE_SERVICE_SECURITY__KEYS_FILE"
_PEPPER = "INFERENCE_SERVICE_SECURITY__PEPPER_FILE"
_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}

_file = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=_FILE,
    default="keys.toml",
    show_default=True,
    help=f"The file of keys (or ${_FILE}).",
)
_pepper = click.option(
    "--pepper-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=_PEPPER,
    help="The secret that hashes are keyed with.  [default: <file>.pepper, made if missing]",
)


@click.group()
def keys() -> None:
    """API keys: only their hashes are kept (docs/security.md)."""


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> int:
    if text is None:
        return 0
    found = re.fullmatch(r"([1-9][0-9]{0,5})([hdwy])", text)
    if found is None:
        raise click.BadParameter("expected a time such as 12h, 90d, 4w or 1y")
    return int(found[1]) * _UNITS[found[2]]


@keys.command(name="create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="infer, infer:MODEL, read, metrics or admin; may be given several times.",
)
@click.option("--expires", callback=_seconds, help="Time until it ends: 12h, 90d, 4w, 1y.")
@click.option("--print", "prints", is_flag=True, help="Print the entry; leave the file alone.")
@_file
@_pepper
def create_key(
    name: str, *, scopes: tuple[str, ...], expires: int, prints: bool, file: Path,
    pepper_file: Path | None,
) -> None:  # fmt: skip
    """Make a key for the client NAME. It is shown this once."""
    now = int(time.time())
    pepper = pepper_file or pepper_beside(file)
    try:
        create(name, scopes, b"", now)  # no pepper is written for what is refused
        key, entry = create(name, scopes, make_pepper(pepper), now)
        entry = KeyEntry(
            entry.id, name, entry.scopes, entry.hash, now, now + expires if expires else 0
        )
        if prints:
            click.echo(rendered([entry]))
        else:
            with changing(file) as entries:
                entries.append(entry)
    except InferenceServiceError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"key {entry.id} of '{name}', which is not shown again:", err=True)
    click.echo(key)


@keys.command(name="list")
@_file
def list_keys(file: Path) -> None:
    """The keys of the file: ids, names and scopes."""
    try:
        entries = read_keys(file)
    except InferenceServiceError as error:
        raise click.ClickException(str(error)) from error
    for entry in entries:
        until = f"until {_day(entry.expires)}" if entry.expires else ""
        columns = (
            entry.id,
            f"{entry.name:<20}",
            _day(entry.created),
            ",".join(entry.scopes),
            until,
        )
        click.echo("  ".join(columns).rstrip())


@keys.command(short_help="Take a key, or all keys of a client, out of the file.")
@click.argument("which")
@_file
def revoke(which: str, file: Path) -> None:
    """Take the key with the id WHICH, or all keys of the client WHICH, out of the file.

    A running service refuses them within two seconds.
    """
    try:
        read_keys(file)  # a file that is not there is told, and not made
        with changing(file) as entries:
            gone = [entry for entry in entries if which in {entry.id, entry.name}]
            entries[:] = [entry for entry in entries if entry not in gone]
            if not gone:
                raise click.ClickException(f"there is no key '{which}' in {file}")
    except InferenceServiceError as error:
        raise click.ClickException(str(error)) from error
    for entry in gone:
        click.echo(f"key {entry.id} of '{entry.name}' is revoked")


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
