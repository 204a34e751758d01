"""``inference-service serve``."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from inference_service.cli.ending import end, end_within
from inference_service.core.errors import InferenceServiceError
from inference_service.progress import Loaded

_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses to listen on that a browser can't open."""


@click.command(no_args_is_help=False)
@click.argument("path", required=False)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0: any free.  [default: 8000]")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of settings (docs/configuration.md).",
)
@click.option("--default-model", help="The model of POST /predict.  [default: the only one]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]"
)
@click.option(
    "--allow-anonymous",
    is_flag=True,
    help="Serve without access control on an address that other machines can reach.",
)
def serve(path: str | None, config: Path | None, *, allow_anonymous: bool, **options: Any) -> None:
    """Serve PATH: a model repository, also an object store's (s3://, gs://, az://, oss://), or one
    .onnx file.  [default: models]

    Every option can also be set in the environment (INFERENCE_SERVICE_PORT=9000) or in the --config
    file; the command line wins over the environment, the environment over the file.
    """
    from inference_service.logs.setup import logging_to_stderr
    from inference_service.process import tuned_process
    from inference_service.security.setup import check_exposure
    from inference_service.server import DrainingServer
    from inference_service.service import Service
    from inference_service.settings import load_settings

    nothing_served = False

    def loaded(service: Service) -> None:
        nonlocal nothing_served
        nothing_served = not service.engine.models()
        server.should_exit = server.should_exit or nothing_served
        if not nothing_served:
            freeze()
            _announce(service, server.port)

    with tuned_process() as freeze, ExitStack() as logs:
        try:
            settings = load_settings(config, models=path, **options)
            logs.enter_context(logging_to_stderr(settings.log_level, settings.log.format))
            exposed = check_exposure(settings, allowed=allow_anonymous)
            if exposed:
                click.secho(f"warning: {exposed}", fg="yellow", err=True)
            service = Service(settings, loaded, _tell)
            server = DrainingServer(service)
        except InferenceServiceError as error:
            raise click.ClickException(str(error)) from error
        shutdown = settings.shutdown
        server.on_leaving = partial(end_within, shutdown.lame_duck + shutdown.grace_period)
        click.echo(f"loading models from {settings.repository.store or settings.models} …")
        server.run()
    if nothing_served:
        _report_failures(service)
    end(1 if nothing_served else 0)


def _announce(service: Any, port: int) -> None:
    host = service.settings.host
    shown = _reachable(host)
    scheme = "https" if service.security.certificates else "http"
    base = f"{scheme}://{shown}:{port}"
    everywhere = " and all other addresses of this machine" if host in _ANY else ""
    click.echo(f"\ninference-service listens on {base}{everywhere}\n")
    for info in service.engine.models():
        signature = info.signature
        click.echo(
            f"  {info.name} version {info.version}  POST {base}/v1/models/{info.name}:predict"
        )
        click.echo(f"    takes   {', '.join(map(str, signature.inputs))}")
        click.echo(f"    gives   {', '.join(map(str, info.served.outputs))}")
        click.echo(f"    batches {_batching(info)}")
        for name, task in info.tasks.items():
            click.echo(f"    {name:<7} POST {base}/models/{info.name}/{name}: {task.summary}")
        if info.text is not None:
            click.echo(
                f"    texts   POST {base}/v1/embeddings, of up to {info.text.max_tokens} tokens"
            )
        for warning in info.warnings:
            click.secho(f"    warning {warning}", fg="yellow")
    _report_failures(service)
    if service.grpc is not None:
        click.echo(f"\n  gRPC    {shown}:{service.grpc_port}", nl=False)
    if service.security.admin_port is not None:
        click.echo(f"\n  admin   {scheme}://{shown}:{service.security.admin_port}", nl=False)
    click.echo(f"\n  try it  {base}\n  docs    {base}/docs\n  metrics {base}/metrics\n")


def _reachable(host: str) -> str:
    """An address as it stands in a URL: one that can be opened where all are listened on."""
    host = _ANY.get(host, host)
    return f"[{host}]" if ":" in host else host


def _tell(loaded: Loaded) -> None:
    how = "failed after" if loaded.failed else "ready in"
    click.echo(
        f"  {loaded.number} of {loaded.total}: {loaded.name} version {loaded.version} "
        f"{how} {loaded.seconds:.1f} s"
    )


def _batching(info: Any) -> str:
    mode = info.signature.mode.value
    if mode == "merge":
        how = f"up to {info.policy.max_batch_size} rows of any requests in one run"
    else:
        how = "no: every row runs alone" if mode == "split" else "no: every request runs alone"
    return f"{how} ({info.safety.verdict})" if info.safety.verdict else how


def _report_failures(service: Any) -> None:
    for status in service.engine.statuses():
        if status.error:
            message = f"  {status.name} version {status.version} FAILED: {status.error}"
            click.secho(message, fg="red", err=True)
