"""``inference-service lock``."""

from pathlib import Path

import click

from inference_service.core.errors import InferenceServiceError


@click.command(short_help="Write the digests of a repository's files.")
@click.argument(
    "path",
    default=Path("models"),
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of an Ed25519 private key; its public key goes to repository.public_key.",
)
def lock(path: Path, key: Path | None) -> None:
    """Write PATH/models.lock: the SHA-256 of every file of the model repository PATH.

    A service refuses models whose files are others. sha256sum -c models.lock checks it, too.
    """
    from inference_service.repository.lock import (
        LOCK_FILE,
        SIGNATURE_FILE,
        digests,
        rendered,
        sign,
        write,
    )

    try:
        content = rendered(digests(path))
        write(path / LOCK_FILE, content)
        if key is not None:
            write(path / SIGNATURE_FILE, sign(content, key.read_bytes()))
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed; install the extra 'auth'"
        ) from error
    except InferenceServiceError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{path / LOCK_FILE}: {len(content.splitlines())} files")
