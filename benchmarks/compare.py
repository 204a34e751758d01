"""Our service against a naive FastAPI service and ONNX Runtime alone, in one run on one machine.

Usage: ``python benchmarks/compare.py [--seconds 3] [--repeats 3]``. Needs wrk (Debian: apt install
wrk). Prints a markdown table; medians of the repeats, which alternate between the two services.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

ROOT = Path(__file__).parent.parent
MODELS = ("digits", "flight-delay")
CLIENTS = (1, 32, 128)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Load:
    """What wrk measured."""

    rate: float
    p50: float
    p99: float


def body_of(model: str) -> bytes:
    example = tomllib.loads((ROOT / "models" / model / "model.toml").read_text())["example"]
    return json.dumps({"instances": [example]}).encode()


def ceiling(model: str, seconds: float) -> tuple[float, int]:
    """Rows per second of ONNX Runtime alone: the best batch size and number of threads."""
    row = json.loads(body_of(model))["instances"][0]
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}
    best = (0.0, 0)
    for threads in (1, len(os.sched_getaffinity(0))):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        path = ROOT / "models" / model / "1" / "model.onnx"
        session = ort.InferenceSession(str(path), options)
        for size in BATCHES:
            inputs = {
                spec.name: np.array([row[spec.name]] * size, types[spec.type])
                for spec in session.get_inputs()
            }
            session.run(None, inputs)
            runs, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds / len(BATCHES):
                session.run(None, inputs)
                runs += 1
            best = max(best, (runs * size / (time.perf_counter() - started), size))
    return best


def wrk(url: str, body: bytes, clients: int, seconds: float) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{body.decode()}]==]\n"
        )
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{seconds}s",
            "--latency",
            "-s",
            script.name,
            url,
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"errors from {url}:\n{out}")

    def quantile(name: str) -> float:
        value, unit = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)\b", out).groups()
        return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]

    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    return Load(rate, quantile("50"), quantile("99"))


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: list[str], url: str, body: bytes, **environment: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, cwd=ROOT / "benchmarks",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    headers = {"Content-Type": "application/json"}
    for _ in range(300):
        try:
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return process
    raise SystemExit(f"{command} did not come up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed: apt install wrk")
    print(
        "| model | clients | ours req/s | p50 / p99 ms | naive req/s | p50 / p99 ms | ratio (range) |"
    )
    print("|---|---|---|---|---|---|---|")
    footers = []
    for model in MODELS:
        body = body_of(model)
        ours_port, naive_port = port(), port()
        ours = f"http://127.0.0.1:{ours_port}/v1/models/{model}:predict"
        naive = f"http://127.0.0.1:{naive_port}/predict"
        file = ROOT / "models" / model
        processes = [
            start([sys.executable, "-m", "inference_service", "serve", str(file), "--port", str(ours_port)], ours, body),
            start([sys.executable, "-m", "uvicorn", "naive_fastapi:app", "--port", str(naive_port), "--log-level", "error", "--no-access-log"], naive, body, MODEL=str(file / "1" / "model.onnx")),
        ]  # fmt: skip
        try:
            for clients in CLIENTS:
                pairs = [
                    (
                        wrk(ours, body, clients, options.seconds),
                        wrk(naive, body, clients, options.seconds),
                    )
                    for _ in range(options.repeats)
                ]
                print(line(model, clients, pairs), flush=True)
        finally:
            for process in processes:
                process.terminate()
                process.wait()
        rate, size = ceiling(model, options.seconds)
        footers.append(f"ONNX Runtime alone, {model}: {rate:,.0f} rows/s at batches of {size}.")
    print("", *footers, sep="\n")


def line(model: str, clients: int, pairs: list[tuple[Load, Load]]) -> str:
    ratios = [ours.rate / naive.rate for ours, naive in pairs]

    def cells(loads: list[Load]) -> str:
        rate, p50, p99 = (
            statistics.median(getattr(load, name) for load in loads)
            for name in ("rate", "p50", "p99")
        )
        return f"{rate:,.0f} | {p50:.1f} / {p99:.1f}"

    ours, naive = zip(*pairs, strict=True)
    ratio = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"
    return f"| {model} | {clients} | {cells(ours)} | {cells(naive)} | {ratio} |"


if __name__ == "__main__":
    main()
