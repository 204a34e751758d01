"""``inference-service top``: the stats feed of a running service in a terminal.

It writes ANSI escape sequences (ECMA-48) itself: no package is needed for one table.
"""

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import click

from inference_service.cli.options import asks_server, authorization, unreached

_HOME, _TO_END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_NO_CURSOR, _CURSOR = "\x1b[?25l", "\x1b[?25h"
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LONGEST_LINE = 1 << 22  # bytes of an event; a service of a thousand models sends 200 kB
_SILENCE = 15.0  # seconds without a sample, which comes every second
_NOTHING: dict[str, Any] = {
    "requests": 0, "errors": 0, "p50_ms": None, "p99_ms": None, "batch_rows": {}, "queue_rows": 0,
    "busy": 0,
}  # fmt: skip


@click.command()
@asks_server
@click.option("--once", is_flag=True, help="Print one sample and leave.")
def top(server: str, token: str | None, *, once: bool) -> None:
    """Watch what a running service does, each second.

    Requests, latencies, rows in a run, queue and busy slots, for each model. End it with Ctrl-C.
    """
    models: list[dict[str, Any]] = []
    rates: deque[float] = deque(maxlen=60)
    screen = not once and sys.stdout.isatty()
    try:
        with _opened(f"{server}/stats", token) as stream:
            if screen:
                click.clear()
                click.echo(_NO_CURSOR, nl=False)
            for event, data in events(stream):
                if event == "models":
                    models = data
                elif event == "sample":
                    rates.append(data["requests"])
                    columns, rows = shutil.get_terminal_size()
                    shown = lines(models, data, rates, columns)
                    _show(fitting(shown, rows) if screen else shown, screen)
                    if once:
                        return
        raise click.ClickException("the service has ended the feed: it is shutting down")
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # who reads what is printed has gone, as head has
        raise
    except OSError as error:
        raise unreached(server, error) from None
    finally:
        if screen:
            click.echo(_CURSOR, nl=False)


def _opened(url: str, token: str | None) -> Any:
    headers = {"Accept": "text/event-stream", **authorization(token)}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        return urllib.request.urlopen(request, timeout=_SILENCE)  # noqa: S310
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace")
        raise click.ClickException(f"{url} answers {error.code}: {said}") from error


def events(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Server-sent events (WHATWG HTML, 9.2.6) whose data is one line of JSON, as the feed's is."""
    event = ""
    while line := stream.readline(_LONGEST_LINE):
        field, _, value = line.rstrip(b"\r\n").partition(b": ")
        if field == b"event":
            event = value.decode()
        elif field == b"data" and event:
            yield event, json.loads(value)


def lines(
    models: Sequence[dict[str, Any]],
    sample: dict[str, Any],
    rates: Sequence[float],
    width: int,
) -> list[str]:
    """The screen: a summary and a line for each model version, the busiest first."""
    state = f"not ready: {sample['problem']}" if sample["problem"] else "ready"
    found = {(one["name"], one["version"]): one for one in sample["models"]}
    shown = [(one, found.get((one["name"], one["version"]), _NOTHING)) for one in models]
    shown.sort(key=lambda pair: -pair[1]["requests"])
    longest = max([len(one["name"]) for one in models] + [5])
    head = (
        f"{'model':<{longest}} {'v':>3} {'state':<8} {'req/s':>8} {'err/s':>7} {'p50 ms':>8} "
        f"{'p99 ms':>8} {'rows/run':>8} {'queue':>6} {'busy':>5}"
    )
    return [
        line[: max(width, 20)]
        for line in (
            f"inference-service, {state}   {sample['in_flight']} in flight, "
            f"{sample['streams']} streams",
            f"{sample['requests']:>9.1f} requests/s  p50 {_ms(sample['p50_ms'])} ms  "
            f"p99 {_ms(sample['p99_ms'])} ms  "
            f"busy {sample['busy']:.1f} of {sample['slots']} slots  "
            f"{sample['queue_rows']} rows wait",
            sparkline(rates),
            "",
            head,
            *(_row(one, now, longest) for one, now in shown),
        )
    ]


def fitting(screen_lines: Sequence[str], rows: int) -> list[str]:
    """As many of the lines as a terminal has rows, but for the last one, where the cursor is."""
    room = max(rows - 1, 1)
    if len(screen_lines) <= room:
        return list(screen_lines)
    left = len(screen_lines) - room + 1
    return [*screen_lines[: room - 1], f"… and {left} more"]


def _row(model: dict[str, Any], now: dict[str, Any], longest: int) -> str:
    runs = sum(now["batch_rows"].values())
    rows = sum(int(rows) * count for rows, count in now["batch_rows"].items())
    mean = f"{rows / runs:.1f}" if runs else "-"
    return (
        f"{model['name']:<{longest}} {model['version']:>3} {model['state']:<8} "
        f"{now['requests']:>8.1f} {now['errors']:>7.1f} {_ms(now['p50_ms']):>8} "
        f"{_ms(now['p99_ms']):>8} {mean:>8} {now['queue_rows']:>6} {now['busy']:>5.1f}"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def sparkline(values: Sequence[float]) -> str:
    """A character for each value, as high as its share of the largest."""
    largest = max([*values, 1e-9])
    return "".join(_BLOCKS[round(value / largest * (len(_BLOCKS) - 1))] for value in values)


def _show(screen_lines: Sequence[str], screen: bool) -> None:
    if screen:
        text = "".join(f"{line}{_TO_END_OF_LINE}\n" for line in screen_lines)
        click.echo(_HOME + text + _BELOW, nl=False)
    else:
        click.echo("\n".join(screen_lines))
