"""``inference-service new``."""

import sys
from pathlib import Path

import click

from inference_service.core.errors import InferenceServiceError


@click.command()
@click.argument("name")
@click.option(
    "--models",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("models"),
    show_default=True,
    help="The model repository.",
)
@click.option(
    "--from",
    "graph",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An .onnx file to copy as version 1.",
)
def new(name: str, models: Path, graph: Path | None) -> None:
    """Make a model's folder MODELS/NAME with a commented model.toml.

    Where there is a graph (NAME/VERSION/model.onnx, or --from), model.toml is made from it: its
    inputs and outputs, an example row, and the sections that an owner may want, as comments.
    model.toml is never overwritten. `inference-service check` then says what is missing.
    """
    from inference_service.importing.scaffold import scaffold

    try:
        made = scaffold(models, name, graph)
    except (InferenceServiceError, OSError) as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        sys.exit(1)
    for path in made:
        click.echo(path)
    click.echo(f"\n  inference-service check {models / name}")
