"""``inference-service import``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inference_service.core.errors import InferenceServiceError

if TYPE_CHECKING:
    from inference_service.importing.importer import Report

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("import")
@click.argument("source")
@click.option("--name", help="The model's name; default: made of the source's name.")
@click.option(
    "--version", type=click.IntRange(0, 2**31 - 1), help="Default: the next that is free."
)
@click.option(
    "--models",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("models"),
    show_default=True,
    help="The model repository.",
)
@click.option("--allow-pickle", is_flag=True, help="Read a pickle, which runs the code in it.")
@click.option("--inputs", type=_FILE, help="Rows to compare on too: .npz, .npy or .json.")
@click.option(
    "--example-inputs",
    help="For PyTorch: shapes of one batch, as 'x=float32[2,3,224,224]'; several with ';'.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=1e-4,
    show_default=True,
    help="Largest difference from the original, as a share of the largest value.",
)
@click.option("--optimize", is_flag=True, help="Fuse nodes of transformers (ONNX Runtime).")
@click.option("--quantize", type=click.Choice(["int8", "fp16"]), help="Shrink the weights.")
@click.option(
    "--max-accuracy-loss",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Largest difference that --quantize may make; also the share of labels that may change.",
)
@click.option("--allow-slower", is_flag=True, help="Keep a variant that is slower here.")
@click.option("--python", help="An interpreter that has the framework; default: this one.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=1800.0,
    show_default=True,
    help="Seconds for each step of the framework.",
)
def import_command(source: str, models: Path, **options: Any) -> None:
    """Import a trained model as MODELS/NAME/VERSION.

    SOURCE is a file or folder of Keras, TensorFlow, PyTorch, scikit-learn, XGBoost, LightGBM or
    Hugging Face, an .onnx file, or a function that makes a PyTorch model, as module:factory. It is
    converted, its batch axis is made free where that is provably right, and its answers are
    compared with the original's before anything is written. Exit status: 0 imported, 1 refused.
    """
    from inference_service.importing.importer import ImportRequest, import_model

    options["seconds"] = options.pop("timeout")
    options["accuracy_loss"] = options.pop("max_accuracy_loss")
    try:
        report = import_model(ImportRequest(source, models, tell=_tell, **options))
    except (InferenceServiceError, OSError) as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        sys.exit(1)
    _print(report, models)


def _tell(doing: str) -> None:
    click.echo(f"{doing} …", err=True)


def _print(report: "Report", models: Path) -> None:
    click.secho(f"{report.name} version {report.version}: {report.folder}", bold=True)
    for one in report.differences:
        click.echo(f"  compared {one}")
    for change in report.changes:
        click.echo(f"  changed  {change}")
    click.echo(f"  batching {report.batching}")
    for variant in report.shrunk:
        click.echo(f"  smaller  {variant}")
    for note in report.notes:
        click.secho(f"  note     {note}", fg="yellow")
    if not report.is_new:
        click.echo(
            f"  note     model.toml of {report.name} was left as it is; what this import would "
            f"have written is in {report.folder}/suggested-model.toml"
        )
    click.echo(
        f"\n  inference-service serve {models}\n"
        f"  curl localhost:8000/v1/models/{report.name}:predict -d @{report.folder}/example.json"
    )
