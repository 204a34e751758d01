"""``inference-service backup`` and ``restore``: a repository to and from a folder or a store."""

from pathlib import Path

import click

from inference_service.core.errors import InferenceServiceError
from inference_service.stores import backup as backups
from inference_service.stores.clouds import open_store

_DATE = click.option("--date", help="Such as 20261126T031500Z.  [default: the newest]")


@click.command(name="backup", short_help="Copy the repository MODELS to a folder or store.")
@click.argument("models", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("url")
@click.option("--keep", type=click.IntRange(min=1), default=30, show_default=True,
              help="Backups that stay; older ones are removed.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Read the whole backup again afterwards.")
def backup_command(models: Path, url: str, *, keep: int, verify: bool) -> None:
    """Back the repository MODELS up to URL: a folder, s3://, gs://, az:// or oss://.

    Only contents that are not there yet are stored. Run it from a schedule, one at a time.
    """
    try:
        store = open_store(url)
        report = backups.back_up(models, store, keep)
        if verify:
            backups.verify(store, report.date)
    except (InferenceServiceError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"backup {report.date}: {report.files} files, {report.stored} new contents stored"
        f"{', verified' if verify else ''}; {report.removed} old backups removed"
    )


@click.command(name="restore", short_help="Restore a backup to the new folder MODELS.")
@click.argument("url")
@click.argument("models", type=click.Path(path_type=Path), required=False)
@click.option("--list", "lists", is_flag=True, help="Print the dates of the backups.")
@_DATE
def restore_command(url: str, models: Path | None, date: str | None, *, lists: bool) -> None:
    """Restore a backup at URL to the new folder MODELS; every content is verified."""
    try:
        store = open_store(url)
        if lists or models is None:
            found = backups.dates(store)
            click.echo("\n".join(found) if found else "there are no backups")
            return
        done = backups.restore(store, models, date)
    except (InferenceServiceError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"backup {done} is restored to {models}")
