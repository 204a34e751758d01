"""Clients in a closed loop on a weight-bound model, with nothing configured: do batches find them?

Usage: ``python benchmarks/lockstep.py [--starts 3] [--seconds 6]``. The service is started anew several
times, with and without holds in turns, as what it measures at its start differs. Each load runs twice as
long as it is counted: what is learned is learned in the first half. Needs wrk.
"""

import argparse
import json
import statistics
import urllib.request
from dataclasses import dataclass

import load
import servers
from run import FOLDER, rows_per_run
from workloads import named

MODEL = "mlp"
CLIENTS = (1, 2, 16, 128)


@dataclass(frozen=True)
class Outcome:
    """Of one load: rows a batch, answers per second, the p50; and what the service has learned.

    Times are in milliseconds: ``one`` is S(1).
    """

    rows: float
    rate: float
    p50: float
    largest: int
    one: float
    layout: str
    limit: float


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    arguments = parser.parse_args()
    found: dict[tuple[int, bool], list[Outcome]] = {}
    for _ in range(arguments.starts):
        for hold in (True, False):
            for clients, outcome in started(arguments.seconds, hold=hold):
                found.setdefault((clients, hold), []).append(outcome)
                print(f"<!-- {clients} clients, hold {hold}: {outcome} -->", flush=True)
    print("| clients | hold | rows a batch | answers/s | p50 ms |\n|---|---|---|---|---|")
    for (clients, hold), outcomes in sorted(found.items()):
        cells = (
            _range([getattr(outcome, name) for outcome in outcomes])
            for name in ("rows", "rate", "p50")
        )
        print(f"| {clients} | {'yes' if hold else 'no'} | {' | '.join(cells)} |")


def started(seconds: float, *, hold: bool) -> list[tuple[int, Outcome]]:
    """All loads on one start of the service."""
    rows = named(MODEL).rows()
    request = servers.OURS.request(MODEL, rows)
    settings = {"INFERENCE_SERVICE_BATCHING__HOLD": str(hold).lower()}
    with servers.running(servers.OURS, MODEL, FOLDER, rows[0], environment=settings) as server:
        outcomes = []
        for clients in CLIENTS:
            load.closed(server.port, request, clients, seconds)
            before = rows_per_run(server)
            result = load.closed(server.port, request, clients, seconds)
            answered, batches = (b - a for a, b in zip(before, rows_per_run(server), strict=True))
            url = f"http://127.0.0.1:{server.port}/v2/models/{MODEL}/scheduler"
            with urllib.request.urlopen(url) as answer:
                known = json.load(answer)
            layout = known["layout"]
            outcomes.append((clients, Outcome(
                answered / batches, result.rate, result.p50, known["max_batch_size"],
                known["cost"]["tables"][0]["table"][0]["ms"],
                f"{layout['instances']} x {layout['threads']}", known["hold"]["limit"],
            )))  # fmt: skip
        return outcomes


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.1f} ({low:.1f}-{high:.1f})"


if __name__ == "__main__":
    main()
