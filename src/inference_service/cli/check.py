"""``inference-service check``."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from inference_service.cli.ending import end
from inference_service.core.errors import InferenceServiceError


@click.command(short_help="Try the models at PATH; tell how they are batched.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML settings.")
@click.option("--profile", is_flag=True, help="Also measure runs at growing batch sizes.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(
    path: Path | None, config: Path | None, *, profile: bool, as_json: bool, strict: bool
) -> None:
    """Load the model(s) at PATH without serving and report what would happen.

    Reports inputs and outputs, free axes, and whether requests can be batched: that is proven from
    the graph, and tried. The model is warmed up as for serving. The tasks of
    its pipeline are tried on the model's example. Exit status: 0 fine, 1 a model can't be served
    (or has warnings, with --strict), 2 PATH or the settings are wrong.
    """
    from inference_service.settings import load_settings

    try:
        settings = load_settings(config, models=path)
        reports = list(_reports(settings, profile=profile))
    except InferenceServiceError as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(reports, indent=2))
    else:
        for report in reports:
            _print(report)
    failed = [r for r in reports if r["error"] or (strict and r["warnings"])]
    end(1 if failed else 0)


def _reports(settings: Any, *, profile: bool) -> Iterator[dict[str, Any]]:
    from inference_service.daemon import in_daemon
    from inference_service.sources import entries, in_words

    for entry in entries(settings):
        if entry.problem:
            yield _failure(entry, None, entry.problem)
            continue
        for version in sorted(entry.versions):
            report = partial(_report, settings, entry, version, profile=profile)
            limit = settings.runtime.load_timeout
            try:
                found = in_daemon(partial(in_words, entry, report), f"check {entry.name}")
                yield found.result(limit)
            except InferenceServiceError as error:
                yield _failure(entry, version, str(error))
            except TimeoutError:
                why = f"it was not loaded within {limit:g} seconds (runtime.load_timeout)"
                yield _failure(entry, version, why)


def _failure(entry: Any, version: int | None, error: str) -> dict[str, Any]:
    return {"model": entry.name, "version": version, "error": error, "warnings": []}


def _report(settings: Any, entry: Any, version: int, *, profile: bool) -> dict[str, Any]:
    from inference_service.cli.task_trial import tried_tasks
    from inference_service.runtime import loader, warmup
    from inference_service.sources import (
        load_options,
        missing_versions,
        with_pipeline_if_it_fits,
    )

    options = load_options(settings, entry, version)

    def attempt(options: Any) -> Any:
        loaded = loader.inspect(options)
        return loaded, loader.warmed(loaded, options)[0]

    (loaded, info), why = with_pipeline_if_it_fits(entry, options, attempt)
    report = _failure(entry, version, "")
    signature = info.signature
    free = sorted(
        {
            f"{spec.name}.{symbol or axis}"
            for spec in signature.inputs
            for axis, (n, symbol) in enumerate(zip(spec.shape, spec.symbols, strict=True))
            if n is None
        }
    )
    report |= {
        "inputs": [str(spec) for spec in signature.inputs],
        "outputs": [str(spec) for spec in info.served.outputs],
        "dynamic_axes": free,
        "batching": signature.mode.value,
        "safety": asdict(info.safety),
        "max_batch_size": None if options.derive_max_batch_size else info.policy.max_batch_size,
        "warnings": [*info.warnings, *why, *missing_versions(entry)],
        "tasks": [asdict(task) for task in tried_tasks(info, loaded.model)],
    }
    broken = [task for task in report["tasks"] if task["error"]]
    if broken:
        report["error"] = f"the task '{broken[0]['name']}' fails: {broken[0]['error']}"
    if profile:
        report["profile"] = [_profile(found) for found in warmup.profile(loaded, options)]
    return report


def _profile(found: Any) -> dict[str, Any]:
    from inference_service.runtime.profile import knee_of

    layout = found.layout
    return {
        "layout": {"instances": layout.instances, "threads": layout.threads},
        "row_elements": found.row_elements,
        "knee": knee_of([found]),
        "table": [
            {
                "rows": rows,
                "milliseconds": round(seconds * 1e3, 4),
                "rows_per_second": round(rows * layout.instances / seconds),
            }
            for rows, seconds in found.points
        ],
    }


def _safety_lines(safety: dict[str, Any]) -> Iterator[str]:
    """The verdict of the analysis, why, and what may be written into model.toml."""
    because = ": ".join(part for part in (safety["node"], safety["reason"]) if part)
    yield f"verdict  {safety['verdict']}" + (f", {because}" if because else "")
    for condition in safety["conditions"]:
        yield f"where    {condition}; other requests run alone"
    if safety["equal"]:
        yield f"equal    {', '.join(safety['equal'])}: requests share a run if theirs are equal"
    if safety["refuted"]:
        yield f"tried    {safety['refuted']}"
    if safety["advice"]:
        yield f"advice   if its rows are known to be independent, model.toml: {safety['advice']}"


def _print(report: dict[str, Any]) -> None:
    version = f" version {report['version']}" if report["version"] is not None else ""
    click.secho(f"{report['model']}{version}", bold=True)
    if report["error"]:
        click.secho(f"  error    {report['error']}", fg="red")
        return
    click.echo(f"  inputs   {', '.join(report['inputs'])}")
    click.echo(f"  outputs  {', '.join(report['outputs'])}")
    click.echo(f"  dynamic  {', '.join(report['dynamic_axes']) or 'no axis'}")
    largest = report["max_batch_size"]
    limit = f"of up to {largest} rows" if largest else "of as many rows as measured costs advise"
    words = {"merge": f"yes, rows of several requests share a run {limit}",
             "split": "no, every row runs alone",
             "whole": "no, every request runs alone, as sent"}  # fmt: skip
    click.echo(f"  batching {words[report['batching']]}")
    for line in _safety_lines(report["safety"]):
        click.echo(f"  {line}")
    for task in report["tasks"]:
        click.echo(f"  task     POST {task['path']}: {task['summary']}")
        click.echo(f"           {task['tried']}")
    for warning in report["warnings"]:
        click.secho(f"  warning  {warning}", fg="yellow")
    for profile in report.get("profile", []):
        layout = profile["layout"]
        runs = "1 run" if layout["instances"] == 1 else f"{layout['instances']} runs"
        click.echo(
            f"  {runs} at a time, {layout['threads']} thread(s) each; rows/s level off at "
            f"{profile['knee']} rows"
        )
        for row in profile["table"]:
            click.echo(
                f"  {row['rows']:6d} rows  {row['milliseconds']:10.3f} ms  "
                f"{row['rows_per_second']:10d} rows/s"
            )
