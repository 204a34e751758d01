"""CPU time of a request through the front, beside ASGI: what docs/performance.md says of it.

    python benchmarks/front.py [--rounds 5] [--seconds 2] [--clients 1,32,128] [--against COMMIT]

All servers are up at once and are asked in turn by wrk; a round is one measurement of each. CPU time
is that of the server's process (user and system) over the requests that it answered, so that it says
something on a machine that does other work, too. `raw ASGI` is an empty ASGI callable under uvicorn,
`ours` the service, `ours, ASGI` the service with ``http.front = false``. With differing heads every
request has three more headers, one of them different each time, to all servers alike.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import servers
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
    arguments = parser.parse_args()
    with ExitStack() as stack:
        kinds = _kinds(arguments, stack)
        workload = named(arguments.workload)
        row = workload.rows()[0]
        running = {
            name: stack.enter_context(servers.running(server, workload.model, FOLDER, row))
            for name, server in kinds.items()
        }
        print("| server | heads | clients | CPU, us | req/s | p50 ms | p99 ms | rate / raw ASGI |")
        print("|---|---|---|---|---|---|---|---|")
        for differing in (False, True):
            for clients in map(int, arguments.clients.split(",")):
                found = {name: [] for name in kinds}
                for turn in range(arguments.rounds + 1):
                    for name, server in kinds.items():
                        request = server.request(workload.model, [row])
                        result = _measured(
                            running[name], request, clients, arguments.seconds, differing
                        )
                        if turn:  # the first one warms up
                            found[name].append(result)
                _print(found, "differing" if differing else "same", clients)


def _kinds(arguments: argparse.Namespace, stack: ExitStack) -> dict[str, servers.Server]:
    raw = replace(
        servers.RAW,
        command=lambda model, folder, port: [
            sys.executable, str(servers.ROOT / "benchmarks" / "peers" / "raw_asgi.py")
        ],
    )  # fmt: skip
    slow = replace(servers.OURS, environment={"INFERENCE_SERVICE_HTTP__FRONT": "false"})
    kinds = {"raw ASGI": raw, "ours": servers.OURS, "ours, ASGI": slow}
    if arguments.binary:
        kinds["ours, binary"] = servers.OURS_BINARY
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
    running: servers.Running, request: object, clients: int, seconds: int, differing: bool
) -> tuple[float, float, float, float]:
    """CPU in microseconds a request, requests a second, p50 and p99 in milliseconds."""
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
             "-s", str(script), f"http://127.0.0.1:{running.port}"],
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
    for name, results in found.items():
        cpu, rate, p50, p99 = (statistics.median(column) for column in zip(*results, strict=True))
        ratio = statistics.median(
            [mine[1] / raw[1] for mine, raw in zip(results, found["raw ASGI"], strict=True)]
        )
        print(
            f"| {name} | {heads} | {clients} | {cpu:.0f} | {rate:.0f} | {p50:.2f} | {p99:.1f} "
            f"| {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
