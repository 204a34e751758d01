"""Measure servers on the same work, in one run on one machine. ``scripts/bench --help``.

Every result is a line of JSON; ``report.py`` makes tables and plots of them.
"""

import argparse
import json
import os
import platform
import sys
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import load
import numpy as np
import onnxruntime as ort
import servers
import workloads
from servers import OTHERS, OURS, OURS_BINARY, RAW, ROOT, Running, Server
from workloads import WORKLOADS, Ceiling, Workload

FOLDER = ROOT / ".benchmarks"
RESULTS = FOLDER / "results.jsonl"
_WARM = 1.0
_DEADLINE = 0.25
_OVERLOAD = 2.0
_SHARES = (0.2, 0.4, 0.6, 0.8, 0.9)


class Log:
    """Where results go: a file, and a line for people."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a" if append else "w")

    def add(self, kind: str, **values: Any) -> None:
        """One result."""
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")
        self._file.flush()
        text = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in values.items()
        )
        print(f"{kind}: {text}", flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        "kernel": platform.system(),
    }


def choose(names: str, all_: Iterable[Any], what: str) -> list[Any]:
    """Those with the names, or all. Exits on a name that isn't known."""
    known = {one.name: one for one in all_}
    if not names:
        return list(known.values())
    chosen = []
    for name in names.split(","):
        if name not in known:
            raise SystemExit(f"unknown {what} '{name}'; known: {', '.join(known)}")
        chosen.append(known[name])
    return chosen


def same(answer: bytes, wanted: np.ndarray) -> bool:
    """Whether the numbers of an answer are those of the model."""
    value = json.loads(answer)
    if isinstance(value, dict) and "outputs" in value and isinstance(value["outputs"], list):
        value = value["outputs"][0]["data"]
    elif isinstance(value, dict):
        value = value.get("predictions")
    found = np.array(value, float).ravel()
    return found.size == wanted.size and bool(np.allclose(found, wanted.ravel(), 1e-3, 1e-3))


def rows_per_run(running: Running) -> tuple[float, float]:
    """Rows and batches that ours has run so far."""
    url = f"http://127.0.0.1:{running.port}/metrics"
    text = urllib.request.urlopen(url).read().decode()
    sums = {"sum": 0.0, "count": 0.0}
    for line in text.splitlines():
        for key in sums:
            if line.startswith(f"inference_batch_rows_{key}{{"):
                sums[key] += float(line.rsplit(" ", 1)[1])
    return sums["sum"], sums["count"]


def measure_closed(
    log: Log, workload: Workload, server: Server, running: Running, seconds: float, repeat: int
) -> None:
    """All numbers of clients, one after the other."""
    request = server.request(workload.model, workload.rows())
    idle = running.memory()
    for clients in workload.clients:
        load.closed(running.port, request, clients, _WARM)
        cpu, begun = running.cpu(), time.perf_counter()
        before = rows_per_run(running) if server in (OURS, OURS_BINARY) else None
        result = load.closed(running.port, request, clients, seconds)
        spent = running.cpu() - cpu
        values = {**asdict(result), "cpu_share": spent / (time.perf_counter() - begun)}
        if before is not None:
            after = rows_per_run(running)
            values["rows_per_run"] = (after[0] - before[0]) / max(after[1] - before[1], 1)
        log.add(
            "closed", workload=workload.name, server=server.name, clients=clients, repeat=repeat,
            **values, idle_mib=idle, loaded_mib=running.memory(),
            seconds_to_answer=running.seconds_to_answer,
        )  # fmt: skip


def measure_open(
    log: Log, workload: Workload, server: Server, running: Running, most: float, seconds: float
) -> None:
    """Poisson arrivals at shares of what ours answers at most, then far too much."""
    request = server.request(workload.model, workload.rows())
    for share in _SHARES:
        result, _ = load.open_loop(running.port, request, share * most, seconds)
        log.add(
            "open", workload=workload.name, server=server.name, share=share,
            offered=share * most, **asdict(result),
        )  # fmt: skip
    if workload.name == "tiny":  # the client can't send so much
        return
    headers = {**request.headers, "X-Request-Timeout": str(_DEADLINE)}
    pressing = load.Request(request.path, request.bodies, headers)
    result, goodput = load.open_loop(
        running.port, pressing, _OVERLOAD * most, seconds, within=_DEADLINE + 0.02
    )
    log.add(
        "overload", workload=workload.name, server=server.name, offered=_OVERLOAD * most,
        capacity=most, deadline=_DEADLINE, goodput=goodput, **asdict(result),
    )  # fmt: skip


def contenders(workload: Workload, chosen: list[Server]) -> list[Server]:
    """Who takes part: the raw server only where HTTP is all there is to do."""
    if workload.binary:
        return [OURS_BINARY] if OURS in chosen else []
    return [one for one in chosen if one is not RAW or workload.name == "tiny"]


def one_server(
    log: Log, workload: Workload, server: Server, seconds: float, repeat: int,
    wanted: np.ndarray,
) -> None:  # fmt: skip
    """Start it, check its answer, measure."""
    rows = workload.rows()
    try:
        with servers.running(server, workload.model, FOLDER, rows[0]) as running:
            if server is not RAW and not workload.binary and not same(running.answer, wanted):
                raise RuntimeError(f"a wrong answer: {running.answer[:200]!r}")
            measure_closed(log, workload, server, running, seconds, repeat)
    except (RuntimeError, ValueError) as error:
        log.add(
            "failed", workload=workload.name, server=server.name, repeat=repeat,
            error=str(error)[:400],
        )  # fmt: skip


def full(arguments: argparse.Namespace) -> None:
    """Everything."""
    log = Log(Path(arguments.results), append=not arguments.closed)
    if arguments.closed:
        log.add("machine", **machine())
    everybody = [OURS, RAW, *OTHERS]
    chosen = [s for s in choose(arguments.servers, everybody, "server") if servers.installed(s)]
    for missing in {s.name for s in everybody} - {s.name for s in chosen}:
        print(f"not taking part: {missing} (scripts/install-peers installs the peers)")
    for workload in choose(arguments.workloads, WORKLOADS, "workload") if arguments.closed else ():
        servers.models.repository(FOLDER, workload.model)
        top: Ceiling = workloads.ceiling(workload, FOLDER)
        log.add("ceiling", workload=workload.name, title=workload.title, **asdict(top))
        wanted = workloads.reference(workload.model, FOLDER, workload.rows()[0])
        for repeat in range(arguments.repeats):
            for server in contenders(workload, chosen):
                one_server(log, workload, server, arguments.seconds, repeat, wanted)
    if arguments.open:
        open_loops(log, arguments, chosen)


def open_loops(log: Log, arguments: argparse.Namespace, chosen: list[Server]) -> None:
    """The open loop, for a few servers."""
    for workload in choose(arguments.workloads, WORKLOADS, "workload"):
        if workload.name not in {"tiny", "mlp", "transformer"}:
            continue
        rows = workload.rows()
        with servers.running(OURS, workload.model, FOLDER, rows[0]) as running:
            request = OURS.request(workload.model, rows)
            load.closed(running.port, request, workload.clients[-1], _WARM)
            most = load.closed(running.port, request, workload.clients[-1], arguments.seconds).rate
            measure_open(log, workload, OURS, running, most, arguments.seconds)
        for server in chosen:
            if server.name not in {"naive FastAPI", "Triton (pytriton)", "mosec"}:
                continue
            try:
                with servers.running(server, workload.model, FOLDER, rows[0]) as running:
                    measure_open(log, workload, server, running, most, arguments.seconds)
            except RuntimeError as error:
                log.add(
                    "failed", workload=workload.name, server=server.name, error=str(error)[:400]
                )


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default="", help="names, by commas; default: all installed")
    parser.add_argument("--workloads", default="", help="names, by commas; default: all")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", default=str(RESULTS), help="file of JSON lines")
    parser.add_argument("--no-open", dest="open", action="store_false", help="closed loops only")
    parser.add_argument(
        "--no-closed", dest="closed", action="store_false",
        help="open loops only; adds to the results",
    )  # fmt: skip
    full(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
