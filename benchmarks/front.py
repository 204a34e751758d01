"""CPU time of a request through the front, beside ASGI: what docs/performance.md says of it.

    python benchmarks/front.py [--rounds 5] [--seconds 2] [--clients 1,32,128] [--against COMMIT]
    python benchmarks/front.py --targets --rounds 3     # every figure of the targets, six minutes

All servers are up at once and are asked in turn by wrk; a round is one measurement of each. CPU time
is that of the server's process (user and system) over the requests that it answered, so that it says
something on a machine that does other work, too. `raw ASGI` is an empty ASGI callable under uvicorn,
`ours` the service, `ours, ASGI` the service with ``http.front = false``. With differing heads every
request has three more headers, one of them different each time, to all servers alike. With
``--targets`` the service is also asked for binary tensors (behind JSON) and over TLS, and the
weight-bound MLP for its share of what ONNX Runtime makes in a process of its own.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import load
import numpy as np
import servers
import workloads
from run import FOLDER
from workloads import named

LUA = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
local body = file:read("*all")
file:close()
local headers = {{{headers}}}
local path = "{path}"
local differing = {differing}
local ready, turn = nil, 0
function init(args)
  ready = wrk.format(nil, path, headers, body)
end
function request()
  if not differing then return ready end
  turn = turn + 1
  headers["X-Request-Id"] = string.format("%08x-%d", turn, turn)
  headers["User-Agent"] = "python-httpx/0.28.1"
  headers["Accept"] = "*/*"
  headers["Content-Length"] = nil
  return wrk.format(nil, path, headers, body)
end
"""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--clients", default="1,32,128")
    parser.add_argument("--workload", default="tiny")
    parser.add_argument("--binary", action="store_true", help="raw bodies, too")
    parser.add_argument("--against", help="a commit that is served besides")
    parser.add_argument("--targets", action="store_true", help="every figure of the targets")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        clients = [int(number) for number in arguments.clients.split(",")]
        kinds = _kinds(arguments, named(arguments.workload).rows()[0], stack)
        _compare(arguments, arguments.workload, kinds, clients, (False, True))
    if arguments.targets:
        _weight_bound(arguments)


def _weight_bound(arguments: argparse.Namespace) -> None:
    """Rows per second at 128 clients over the ceiling, which is measured before and after."""
    workload = named("mlp")
    servers.models.repository(FOLDER, workload.model)
    tops = [workloads.ceiling(workload, FOLDER).rate]
    row = workload.rows()[0]
    kinds = {"ours": servers.OURS, "ours, binary": _binary(row)}
    rates = _compare(arguments, "mlp", kinds, [128], (False,))
    tops.append(workloads.ceiling(workload, FOLDER).rate)
    ceiling = statistics.mean(tops)
    print("| mlp, 128 clients | req/s | of the ceiling |")
    print("|---|---|---|")
    print(f"| ONNX Runtime alone | {tops[0]:.0f}, {tops[1]:.0f} | 1 |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / ceiling:.2f} |")


def _compare(
    arguments: argparse.Namespace, work: str, kinds: dict[str, servers.Server],
    all_clients: list[int], heads: tuple[bool, ...],
) -> dict[str, float]:  # fmt: skip
    """Measure and print; the rates of the last cell."""
    workload = named(work)
    row = workload.rows()[0]
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(servers.running(server, workload.model, FOLDER, row))
            for name, server in kinds.items()
        }
        print("| server | heads | clients | CPU, us | req/s | p50 ms | p99 ms | rate / first | "
              "p50 / first | p99 / p50 |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|")
        for differing in heads:
            for clients in all_clients:
                found: dict[str, list[tuple[float, ...]]] = {name: [] for name in kinds}
                for turn in range(arguments.rounds + 1):
                    for name, server in kinds.items():
                        result = _measured(
                            running[name], server, server.request(workload.model, [row]),
                            (clients, arguments.seconds), differing=differing,
                        )  # fmt: skip
                        if turn:  # the first one warms up
                            found[name].append(result)
                _print(found, "differing" if differing else "same", clients)
    return {name: statistics.median([one[1] for one in found[name]]) for name in kinds}


def _binary(row: np.ndarray) -> servers.Server:
    """The service, asked for a tensor in bytes behind JSON, and for bytes."""
    entry = {"name": "x", "shape": [1, *row.shape], "datatype": "FP32",
             "parameters": {"binary_data_size": row.nbytes}}  # fmt: skip
    parameters = {"binary_data_output": True}
    text = json.dumps({"inputs": [entry], "parameters": parameters}).encode()
    headers = {**servers.OURS_BINARY.headers, "Inference-Header-Content-Length": str(len(text))}
    return replace(servers.OURS_BINARY, headers=headers, encode=lambda one: text + one.tobytes())


def _encrypted(stack: ExitStack) -> servers.Server:
    """The service with a certificate of its own."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    files = {"CERTIFICATE": folder / "server.pem", "KEY": folder / "server.key"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-out", str(files["CERTIFICATE"]),
         "-keyout", str(files["KEY"])],
        check=True, capture_output=True,
    )  # fmt: skip
    environment = {
        f"INFERENCE_SERVICE_SECURITY__TLS__{name}": str(path) for name, path in files.items()
    }
    return replace(servers.OURS, environment=environment, scheme="https")


def _kinds(
    arguments: argparse.Namespace, row: np.ndarray, stack: ExitStack
) -> dict[str, servers.Server]:
    raw = replace(
        servers.RAW,
        command=lambda model, folder, port: [
            sys.executable, str(servers.ROOT / "benchmarks" / "peers" / "raw_asgi.py")
        ],
    )  # fmt: skip
    slow = replace(servers.OURS, environment={"INFERENCE_SERVICE_HTTP__FRONT": "false"})
    kinds = {"raw ASGI": raw, "ours": servers.OURS}
    if arguments.targets:
        kinds |= {"ours, binary": _binary(row), "ours, TLS": _encrypted(stack)}
    else:
        kinds["ours, ASGI"] = slow
    if arguments.binary:
        kinds["ours, raw body"] = servers.OURS_BINARY
    if arguments.against:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        old = Path(folder) / "tree"
        git = ["git", "-C", str(servers.ROOT), "worktree"]
        subprocess.run(
            [*git, "add", "--quiet", "--detach", str(old), arguments.against], check=True
        )
        stack.callback(subprocess.run, [*git, "remove", "--force", str(old)], check=True)
        kinds[arguments.against] = replace(
            servers.OURS, environment={"PYTHONPATH": str(old / "src")}
        )
    return kinds


def _measured(
    running: servers.Running, server: servers.Server, request: load.Request,
    effort: tuple[int, int], *, differing: bool,
) -> tuple[float, float, float, float]:  # fmt: skip
    """CPU in microseconds a request, requests a second, p50 and p99 in milliseconds. ``effort`` is
    the number of clients, and how many seconds they ask."""
    clients, seconds = effort
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        body.write_bytes(request.bodies[0])
        headers = ", ".join(f'["{key}"] = "{value}"' for key, value in request.headers.items())
        script = Path(folder) / "load.lua"
        script.write_text(
            LUA.format(body=body, headers=headers, path=request.path,
                       differing="true" if differing else "false")
        )  # fmt: skip
        before = running.cpu()
        run = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency",
             "-s", str(script), f"{server.scheme}://127.0.0.1:{running.port}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        out = run.stdout
        if run.returncode:
            raise RuntimeError(run.stderr)
        spent = running.cpu() - before
    answered = int(re.search(r"(\d+) requests in", out)[1])
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    return 1e6 * spent / answered, rate, _quantile(out, "50"), _quantile(out, "99")


def _quantile(out: str, name: str) -> float:
    found = re.search(rf"\s{name}%\s+([\d.]+)(us|ms|s|m)\b", out)
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[found[2]]


def _print(found: dict[str, list[tuple[float, ...]]], heads: str, clients: int) -> None:
    first = next(iter(found.values()))
    for name, results in found.items():
        cpu, rate, p50, p99 = (statistics.median(column) for column in zip(*results, strict=True))
        rates, waits = (
            statistics.median(
                [mine[at] / its[at] for mine, its in zip(results, first, strict=True)]
            )
            for at in (1, 2)
        )
        print(
            f"| {name} | {heads} | {clients} | {cpu:.0f} | {rate:.0f} | {p50:.2f} | {p99:.1f} "
            f"| {rates:.2f} | {waits:.2f} | {p99 / p50:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
