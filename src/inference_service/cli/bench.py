"""``inference-service bench``: a load on a model of one's own."""

import asyncio
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from inference_service.cli.asking import answer_of, server_of, target_of
from inference_service.cli.options import asks_server, authorization
from inference_service.cli.predict import TASK

_CLIENTS = 16
_PLOTS = (".svg", ".png", ".pdf")


@click.command(short_help="Load MODEL; tell latencies and rows in a run.")
@click.argument("model")
@click.argument("input", required=False)
@asks_server
@TASK
@click.option(
    "--clients", type=click.IntRange(1, 1000),
    help="Closed loop: this many requests are under way at any time.  [default: 16]",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0.01, 100_000),
    help="Open loop instead: requests a second, at random times.",
)  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="SVG, PNG or PDF.")
def bench(
    model: str, input: str | None, *, server: str, token: str | None,  # noqa: A002
    task: str | None, clients: int | None,
    rate: float | None, seconds: float, plot: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Load MODEL with one request over and over; tell latencies and how many rows share a run.

    MODEL and INPUT are as for predict. A latency of the open loop counts from the arrival, also
    while the server stalls. Exit status: 0 all answered, 1 some failed or none was answered.
    """
    if clients is not None and rate is not None:
        raise click.UsageError("--clients is a closed loop, --rate an open one: give one of them")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise click.UsageError(f"--plot: there is no folder {plot.parent}")
    if plot is not None and plot.suffix.lower() not in _PLOTS:
        raise click.UsageError(f"--plot: expected one of {', '.join(_PLOTS)}, got '{plot.name}'")
    if plot is not None and find_spec("matplotlib") is None:
        raise click.ClickException(
            "a plot needs matplotlib: in a clone of the repository, pip install '.[simulate]'"
        )
    from inference_service.bench import report
    from inference_service.bench.load import closed_loop, open_loop

    with server_of(model, server) as (base, name):
        target = target_of(base, name, task, input, authorization(token))
        status, body = answer_of(target)
        if status != 200:
            raise click.ClickException(f"{status} {body[:500].decode('utf-8', 'replace')}")
        if rate is None:
            outcome = asyncio.run(closed_loop(target, clients or _CLIENTS, seconds))
        else:
            outcome = asyncio.run(open_loop(target, rate, seconds))
    how = f"{clients or _CLIENTS} clients" if rate is None else f"{rate:g} requests a second"
    if as_json:
        told = {"url": target.url, "load": how, **report.summary(outcome)}
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"POST {target.url}, {how}")
        click.echo("\n".join(report.lines(outcome)))
    if plot is not None and outcome.latencies:
        try:
            report.plot(outcome, plot, f"{target.url}, {how}")
        except (ValueError, OSError) as error:
            raise click.ClickException(f"{plot}: {error}") from None
    sys.exit(1 if outcome.failures or not outcome.latencies else 0)
