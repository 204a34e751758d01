"""p99 of one model's requests while another model of 100 MB is loaded over and over.

Loads and pauses of the same length take turns, so that what else the machine does disturbs both
alike. ``python -m benchmarks.during_load [--loads N]`` prints one line for each way to load.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WIDTH, _LAYERS = 1448, 12
_CLIENTS = 2
_TOKEN = "benchmark"  # noqa: S105


def large_model(path: Path) -> None:
    """A multi-layer perceptron of 100 MB."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(_LAYERS):
        weight = (random.standard_normal((_WIDTH, _WIDTH)) / 38).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
    shape = ["batch", _WIDTH]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        weights,
    )
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


class Clients:
    """Ask for the small model in a closed loop, and note when each answer came and its time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = False
        self.times: list[tuple[float, float]] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        body = json.dumps({"instances": [[0.0] * 64]})
        while not self._ended:
            started = time.perf_counter()
            connection.request("POST", "/v1/models/digits:predict", body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            now = time.perf_counter()
            self.times.append((now, now - started))
            time.sleep(0.004)

    def end(self) -> None:
        """Stop asking."""
        self._ended = True
        for thread in self._threads:
            thread.join()


def tell(port: int, what: str) -> None:
    """Load or unload the large model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    head = {"Authorization": f"Bearer {_TOKEN}"}
    connection.request("POST", f"/v2/repository/models/large/{what}", "{}", head)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text


def one_way(repository: Path, loads: int, *, helper: bool, kept: bool) -> str:
    """Serve, load over and over, and say what the small model's requests took."""
    cache = tempfile.mkdtemp()
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": cache,
        "INFERENCE_SERVICE_RUNTIME__HELPER_PROCESS": str(helper),
        "INFERENCE_SERVICE_ADMIN__REPOSITORY": "true",
        "INFERENCE_SERVICE_ADMIN__TOKEN": _TOKEN,
    }
    command = [sys.executable, "-m", "inference_service", "serve", str(repository), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    port = 0
    for line in server.stdout:
        if "listens on" in line:
            port = int(line.split(":")[-1])
        if "metrics http" in line:
            break
    threading.Thread(target=server.stdout.read, daemon=True).start()
    tell(port, "unload")
    clients = Clients(port)
    time.sleep(1)
    during: list[float] = []
    beside: list[float] = []
    lengths = []
    for _ in range(loads):
        if not kept:
            for file in Path(cache).rglob("*.*"):
                if file.is_file():
                    file.unlink()
        begun = time.perf_counter()
        tell(port, "load")
        ended = time.perf_counter()
        tell(port, "unload")
        time.sleep(max(0.5, ended - begun))
        during += [took for at, took in clients.times if begun < at - took and at < ended + took]
        beside += [took for at, took in clients.times if at - took > ended]
        clients.times.clear()
        lengths.append(ended - begun)
    clients.end()
    server.terminate()
    server.wait()
    p99 = [1e3 * float(np.quantile(times, 0.99)) for times in (beside, during)]
    p50 = [1e3 * float(np.quantile(times, 0.5)) for times in (beside, during)]
    return (
        f"helper={helper} kept={kept}: load {np.median(lengths):.2f} s; p50 {p50[0]:.2f} -> "
        f"{p50[1]:.2f} ms; p99 {p99[0]:.2f} -> {p99[1]:.2f} ms; longest {1e3 * max(beside):.0f} -> "
        f"{1e3 * max(during):.0f} ms ({len(beside)} and {len(during)} requests)"
    )


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loads", type=int, default=5)
    loads = parser.parse_args().loads
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        large_model(repository / "large" / "1" / "model.onnx")
        (repository / "digits").symlink_to(Path("models/digits").absolute())
        os.environ["INFERENCE_SERVICE_REPOSITORY__FOLLOW_LINKS"] = "true"
        for helper, kept in ((False, False), (True, False), (True, True)):
            print(one_way(repository, loads, helper=helper, kept=kept), flush=True)


if __name__ == "__main__":
    main()
