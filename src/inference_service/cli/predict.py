"""``inference-service predict``: one request from the shell."""

import json
import sys

import click

from inference_service.cli.asking import answer_of, server_of, target_of
from inference_service.cli.options import asks_server, authorization

TASK = click.option("--task", help="What to ask for, such as classify.  [default: the first task]")


@click.command()
@click.argument("model")
@click.argument("input", required=False)
@asks_server
@TASK
def predict(
    model: str, input: str | None, server: str, token: str | None, task: str | None,  # noqa: A002
) -> None:  # fmt: skip
    """Ask MODEL once and print the answer.

    MODEL is the name of a model that is served, the URL of a path, or a file or folder, which is
    then served for as long as it takes. INPUT is JSON, a text, a file, or - for what is piped in;
    without it the model's example is sent. Exit status: 0 answered, 1 refused or not reached.
    """
    with server_of(model, server) as (base, name):
        status, body = answer_of(target_of(base, name, task, input, authorization(token)))
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        text = body.decode("utf-8", "replace")
    click.echo(text, err=status != 200)
    sys.exit(0 if status == 200 else 1)
