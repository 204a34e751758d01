"""The command ``inference-service``: parse, call, print."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from inference_service._version import __version__
from inference_service.cli.backup import backup_command, restore_command
from inference_service.cli.bench import bench
from inference_service.cli.check import check
from inference_service.cli.import_model import import_command
from inference_service.cli.keys import keys
from inference_service.cli.lock import lock
from inference_service.cli.new import new
from inference_service.cli.predict import predict
from inference_service.cli.repository import list_models, load, promote, rollback, unload
from inference_service.cli.serve import serve
from inference_service.cli.simulate import simulate, tune
from inference_service.cli.top import top


class _Commands(click.Group):
    """Words for mistakes: a model in the place of a command, output that can't be written."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command and its arguments."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if Path(args[0]).exists() or args[0].endswith(".onnx"):
                meant = f"inference-service serve {shlex.quote(args[0])}"
                raise click.UsageError(f"{error.message} Did you mean '{meant}'?", ctx) from None
            raise

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command. A disk that is full is told in words, as every mistake is."""
        try:
            return super().main(*args, **options)
        except OSError as error:  # but for a broken pipe, at which click ends quietly
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - or the end would try again
            click.secho(f"Error: the output can't be written: {error.strerror}", err=True)
            sys.exit(1)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="inference-service")
def main() -> None:
    """Serve ONNX models over HTTP with dynamic batching.

    Put models into a folder as NAME/VERSION/model.onnx, or take a single .onnx file, and run:

        inference-service serve models/
    """


main.add_command(serve)
for command in (list_models, load, unload, promote, rollback):
    main.add_command(command)
main.add_command(check)
main.add_command(import_command)
main.add_command(new)
main.add_command(predict)
main.add_command(bench)
main.add_command(top)
main.add_command(keys)
main.add_command(lock)
main.add_command(backup_command)
main.add_command(restore_command)
main.add_command(simulate)
main.add_command(tune)
