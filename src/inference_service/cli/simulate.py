"""``inference-service simulate`` and ``inference-service tune``."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from inference_service.core.errors import InferenceServiceError

_COSTS = "Cost tables: the output of `inference-service check MODEL --profile --json`."


@click.command(short_help="Compare the scheduler with other policies.")
@click.option("--costs", type=click.Path(path_type=Path, exists=True, dir_okay=False), help=_COSTS)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("simulation"),
    show_default=True,
    help="Folder of the report.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A recorded load, to be run as well.",
)
@click.option("--made-up", is_flag=True, help="With --costs: the made-up tables, too.")
@click.option("--quick", is_flag=True, help="Fewer arrivals and loads: about a minute.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random arrivals.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=lambda: len(os.sched_getaffinity(0)),
    show_default="the cores",
    help="Tables to simulate at a time.",
)
def simulate(
    costs: Path | None,
    out: Path,
    trace: Path | None,
    *,
    made_up: bool,
    quick: bool,
    seed: int,
    jobs: int,
) -> None:
    """Compare the scheduler with other batching policies on a virtual clock.

    It is the very code that serves. Without --costs it runs on three made-up tables.
    """
    from inference_service.simulation.costs import read_costs
    from inference_service.simulation.report import Plan, write_report
    from inference_service.simulation.study import affine
    from inference_service.simulation.trace import read_trace

    try:
        models = [affine(0.02), affine(0.1), affine(0.5)] if made_up or not costs else []
        models += read_costs(costs) if costs else []
        recorded = read_trace(trace) if trace else []
        times = [arrival.time for arrival in recorded for _ in range(arrival.rows)]
        plan = Plan(seed=seed, trace=times, jobs=min(jobs, len(models)))
        if quick:
            plan = replace(plan, count=750, draws=2, loads=(0.3, 0.9))
        path = write_report(models, plan, out, lambda name: click.echo(f"  {name}", err=True))
    except InferenceServiceError as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        sys.exit(2)
    click.echo(path)


@click.command(short_help="Recommend settings for a load and a latency.")
@click.option(
    "--costs", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
    help=_COSTS,
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Requests per second.")
@click.option(
    "--trace", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A recorded load, instead of --rate.",
)  # fmt: skip
@click.option(
    "--slo", type=click.FloatRange(min=0, min_open=True), required=True,
    help="What the p99 latency should be, in milliseconds.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tune(costs: Path, rate: float | None, trace: Path | None, slo: float, *, as_json: bool) -> None:
    """Recommend a configuration for a load and a latency objective, with its predicted p99.

    Predictions are for the model's runs and the queue; reading and writing HTTP comes on top. Exit
    status 1: the objective can't be met.
    """
    from inference_service.simulation.arrivals import arrivals, poisson
    from inference_service.simulation.costs import read_costs
    from inference_service.simulation.trace import read_trace
    from inference_service.simulation.tuning import advise

    if (rate is None) == (trace is None):
        raise click.UsageError("give either --rate or --trace")
    met = True
    found = []
    try:
        for model in read_costs(costs):
            load = (
                read_trace(trace, model.name)
                if trace is not None
                else arrivals(poisson(rate or 1.0, 4000, 1))
            )
            advice = advise(model, load, slo / 1e3)
            met = met and advice.met
            result = advice.result
            found.append(
                {
                    "model": model.name,
                    "met": advice.met,
                    "replicas": advice.replicas,
                    "max_batch_size": advice.model.largest,
                    "predicted_p50_ms": round(result.p50 * 1e3, 3),
                    "predicted_p99_ms": round(result.p99 * 1e3, 3),
                    "mean_batch_rows": round(result.batch, 2),
                    "capacity_rows_per_second": round(advice.model.capacity),
                }
            )
    except InferenceServiceError as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        sys.exit(2)
    click.echo(json.dumps(found, indent=2) if as_json else "\n\n".join(map(_words, found)))
    sys.exit(0 if met else 1)


def _words(found: dict[str, object]) -> str:
    verdict = "" if found["met"] else "\n# the objective is NOT met; this is the closest"
    return (
        f"# {found['model']}: p50 {found['predicted_p50_ms']} ms, p99 {found['predicted_p99_ms']} "
        f"ms, {found['mean_batch_rows']} rows a batch, {found['replicas']} replica(s), "
        f"{found['capacity_rows_per_second']} rows/s each{verdict}\n"
        f"[batching]\nmax_batch_size = {found['max_batch_size']}"
    )
