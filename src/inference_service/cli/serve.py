"""``inference-service serve``."""

import asyncio
import os
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inference_service.cli.ending import end, end_within
from inference_service.cli.signals import signals_first
from inference_service.core.errors import InferenceServiceError
from inference_service.core.lifecycle import State

if TYPE_CHECKING:
    from inference_service.progress import Loaded

_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses to listen on that a browser can't open."""


@click.command(no_args_is_help=False, short_help="Serve models over HTTP and gRPC.")
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
@signals_first()
def serve(path: str | None, config: Path | None, *, allow_anonymous: bool, **options: Any) -> None:
    """Serve PATH: a model repository, also an object store's (s3://, gs://, az://, oss://), or one
    .onnx file.  [default: models]

    Every option can also be set in the environment (INFERENCE_SERVICE_PORT=9000) or in the --config
    file; the command line wins over the environment, the environment over the file.
    """
    from inference_service.logs.setup import logging_to_stderr
    from inference_service.platforms import systemd
    from inference_service.process import tuned_process
    from inference_service.security.setup import check_exposure
    from inference_service.server import DrainingServer
    from inference_service.service import Service
    from inference_service.settings import load_settings

    nothing_served = False
    tasks: list[asyncio.Future[None]] = []  # the loop itself keeps weak references

    def loaded(service: Service) -> None:
        nonlocal nothing_served
        nothing_served = not service.engine.models()
        server.should_exit = server.should_exit or nothing_served
        if not nothing_served:
            freeze()
            _announce(service, server.port)
            systemd.notify("READY=1", os.environ)
            tasks.append(asyncio.ensure_future(systemd.watchdog(os.environ)))

    with tuned_process() as freeze, ExitStack() as logs:
        try:
            settings = load_settings(config, models=path, **options)
            logs.enter_context(logging_to_stderr(settings.log_level, settings.log.format))
            exposed = check_exposure(settings, allowed=allow_anonymous)
            if exposed:
                _say(f"warning: {exposed}", fg="yellow", err=True)
            service = Service(settings, loaded, _tell)
            listener = systemd.inherited_listener(os.environ)
            server = DrainingServer(service, listener, shared=listener is not None)
        except InferenceServiceError as error:
            raise click.ClickException(str(error)) from error
        shutdown = settings.shutdown
        server.on_leaving = partial(_leave, shutdown.lame_duck + shutdown.grace_period)
        _say(f"loading models from {settings.repository.store or settings.models} …")
        server.run()
    if nothing_served:
        _report_failures(service)
    end(1 if nothing_served else 0)


def _say(text: str, *, nl: bool = True, err: bool = False, fg: str | None = None) -> None:
    """Tell the operator; a full disk or a reader that has gone is no reason to stop."""
    try:
        click.secho(text, nl=nl, err=err, fg=fg)
    except OSError:
        nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
        if err:
            sys.stderr = nowhere
        else:
            sys.stdout = nowhere


def _leave(seconds: float) -> None:
    """In the signal handler: what is written there must not wait for what it has interrupted."""
    from inference_service.platforms import systemd

    text = f"shutting down: requests in work are answered, for up to {seconds:g} s"
    with suppress(OSError, ValueError):
        os.write(sys.stdout.fileno(), f"{text}; Ctrl-C twice: at once\n".encode())
    systemd.notify("STOPPING=1", os.environ)
    end_within(seconds)


def _announce(service: Any, port: int) -> None:
    host = service.settings.host
    shown = _reachable(host)
    scheme = "https" if service.security.certificates else "http"
    base = f"{scheme}://{shown}:{port}"
    everywhere = " and all other addresses of this machine" if host in _ANY else ""
    _say(f"\ninference-service listens on {base}{everywhere}\n")
    for info in service.engine.models():
        signature = info.signature
        _say(f"  {info.name} version {info.version}  POST {base}/v1/models/{info.name}:predict")
        _say(f"    takes   {', '.join(map(str, signature.inputs))}")
        _say(f"    gives   {', '.join(map(str, info.served.outputs))}")
        _say(f"    batches {_batching(info)}")
        for name, task in info.tasks.items():
            _say(f"    {name:<7} POST {base}/models/{info.name}/{name}: {task.summary}")
        if info.text is not None:
            _say(f"    texts   POST {base}/v1/embeddings, of up to {info.text.max_tokens} tokens")
        for warning in info.warnings:
            _say(f"    warning {warning}", fg="yellow")
    _report_failures(service)
    if service.grpc is not None:
        _say(f"\n  gRPC    {shown}:{service.grpc_port}", nl=False)
    if service.security.admin_port is not None:
        _say(f"\n  admin   {scheme}://{shown}:{service.security.admin_port}", nl=False)
    _say(f"\n  try it  {base}\n  docs    {base}/docs\n  metrics {base}/metrics\n")


def _reachable(host: str) -> str:
    """An address as it stands in a URL: one that can be opened where all are listened on."""
    host = _ANY.get(host, host)
    return f"[{host}]" if ":" in host else host


def _tell(loaded: "Loaded") -> None:
    how = "failed after" if loaded.failed else "ready in"
    _say(
        f"  {loaded.number} of {loaded.total}: {loaded.name} version {loaded.version} "
        f"{how} {loaded.seconds:.1f} s"
    )


def _batching(info: Any) -> str:
    mode = info.signature.mode.value
    rows = info.policy.max_batch_size
    if mode == "merge":
        how = f"up to {rows} rows of any requests in one run" if rows > 1 else "one row in a run"
    else:
        how = "no: every row runs alone" if mode == "split" else "no: every request runs alone"
    return f"{how} ({info.safety.verdict})" if info.safety.verdict else how


def _report_failures(service: Any) -> None:
    for status in service.engine.statuses():
        if status.state is State.FAILED:
            message = f"  {status.name} version {status.version} FAILED: {status.error}"
            _say(message, fg="red", err=True)
