"""Swap versions under load: failed requests, answers of a wrong version, latency.

A server in a process of its own serves a model whose version n multiplies by n. Clients ask it all
the time for the version that answers requests without one, while new versions are copied into its
folder; each fifth is broken. An answer is wrong if its factor is not the version that it names, or
a version that never was good.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tests import onnx_models

_BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}
).encode()
_HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
_REQUEST = _HEAD + b"content-length: %d\r\n\r\n" % len(_BODY) + _BODY


class Load:
    """What the clients have seen."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stop = False
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.newest = 0
        self.broken: set[int] = set()
        self.took: list[float] = []
        """Seconds from the copy of a good version to the first answer of it."""

    async def client(self) -> None:
        """Ask again and again on one connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while not self.stop:
            started = time.perf_counter()
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            length = next(int(x[15:]) for x in lines if x.startswith("content-length:"))
            body = await reader.readexactly(length)
            self.seconds.append(time.perf_counter() - started)
            if " 200 " not in lines[0]:
                self.failed.append(f"{lines[0]}: {body.decode()[:200]}")
                continue
            answer = json.loads(body)
            version, factor = int(answer["model_version"]), answer["outputs"][0]["data"][0]
            self.newest = max(self.newest, version)
            if version != factor or version in self.broken:
                self.wrong.append(f"version {version} answered {factor}")
        writer.close()

    async def refused(self, version: int) -> bool:
        """Whether the repository index says why a version isn't served."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            b"POST /v2/repository/index HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )
        answer = await reader.read()
        writer.close()
        index = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        return any(one["version"] == str(version) and one["reason"] for one in index)


def put(models: Path, version: int, *, broken: bool) -> None:
    """Copy a version as rsync does: hidden, then renamed; a broken one is cut in the middle."""
    folder = models / "m" / str(version)
    folder.mkdir(parents=True)
    content = onnx_models.multiplier(version).SerializeToString()
    beside = folder / ".model.onnx.Xk2f9"
    beside.write_bytes(content[: len(content) // 2] if broken else content)
    beside.rename(folder / "model.onnx")


async def run(port: int, models: Path, clients: int, swaps: int) -> Load:
    """Load, and swap."""
    load = Load(port)
    tasks = [asyncio.create_task(load.client()) for _ in range(clients)]
    for version in range(2, swaps + 2):
        broken = version % 5 == 0
        if broken:
            load.broken.add(version)
        put(models, version, broken=broken)
        copied = time.perf_counter()
        async with asyncio.timeout(120):
            if broken:
                while not await load.refused(version):
                    await asyncio.sleep(0.05)
                continue
            while load.newest != version:
                await asyncio.sleep(0.01)
        load.took.append(time.perf_counter() - copied)
    load.stop = True
    await asyncio.gather(*tasks)
    return load


def main() -> None:
    """Print the figures; exit with 1 where a request has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--swaps", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        put(models, 1, broken=False)
        environment = {
            **os.environ,
            "INFERENCE_SERVICE_REPOSITORY__WATCH_INTERVAL": "0.2",
            "INFERENCE_SERVICE_RUNTIME__PROFILE_CACHE": str(Path(place) / "cache"),
        }
        command = [sys.executable, "-m", "inference_service", "serve", str(models), "--port", "0"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        try:
            port = 0
            for line in server.stdout or ():
                if "listens on" in line:
                    port = int(line.split("listens on")[1].split()[0].rstrip("/").split(":")[-1])
                if "metrics http" in line:
                    break
            load = asyncio.run(run(port, models, given.clients, given.swaps))
        finally:
            server.terminate()
            server.wait(60)
    p50, p99 = np.percentile(np.array(load.seconds) * 1e3, [50, 99])
    print(
        f"{given.swaps} versions ({len(load.broken)} broken), {given.clients} clients: "
        f"{len(load.seconds)} requests, {len(load.failed)} failed, {len(load.wrong)} wrong; "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms; a new version answers "
        f"{np.median(load.took):.1f} s after it was copied (longest {max(load.took):.1f} s)"
    )
    for text in [*load.failed[:5], *load.wrong[:5]]:
        print(text)
    sys.exit(bool(load.failed or load.wrong))


if __name__ == "__main__":
    main()
