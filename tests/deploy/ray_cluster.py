"""A Ray cluster of several nodes on this machine, with deploy/ray on it. Run by scripts/ray-tests.

It needs Ray's environment and a network namespace of its own (Ray advertises the machine's address
even where it is told 127.0.0.1). Prints one JSON object with what was found.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

ROOT = Path(__file__).parent.parent.parent
PORT, PLAIN_PORT = 8000, 8001
PREDICT = "/v1/models/digits:predict"
BODY = json.dumps({"instances": [[0.0] * 64]}).encode()
LONGEST = 120.0


@dataclass
class Load:
    """A closed loop of clients that go on until they are told to stop."""

    port: int
    clients: int
    counts: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    stopped: bool = False

    async def client(self) -> None:
        while not self.stopped:
            try:
                await self._connection()
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.counts[type(error).__name__] += 1
                await asyncio.sleep(0.05)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while not self.stopped:
                begun = monotonic()
                status = await asyncio.wait_for(ask(reader, writer), 30)
                self.latencies.append(monotonic() - begun)
                self.counts[status] += 1
        finally:
            writer.close()

    async def run(self, work) -> object:
        tasks = [asyncio.create_task(self.client()) for _ in range(self.clients)]
        try:
            return await work
        finally:
            self.stopped = True
            await asyncio.gather(*tasks)

    def summary(self, seconds: float) -> dict[str, object]:
        ordered = sorted(self.latencies)
        return {
            "rate": round(len(ordered) / seconds, 1),
            "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
            "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1e3, 2),
            "counts": dict(self.counts),
        }


async def ask(reader, writer) -> str:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if "content-length:" in answer:
        await reader.readexactly(int(answer.split("content-length:")[1].split("\r\n")[0]))
    else:
        while await reader.readuntil(b"\r\n") != b"0\r\n":
            pass
        await reader.readuntil(b"\r\n")
    return answer.split(" ")[1]


async def measured(port: int, clients: int, seconds: float) -> dict[str, object]:
    load = Load(port, clients)
    await load.run(asyncio.sleep(seconds))
    return load.summary(seconds)


def configuration() -> ServeDeploySchema:
    """deploy/ray/serve.yaml, with what a test needs otherwise."""
    config = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    config["proxy_location"] = "HeadOnly"
    config["http_options"] = {"host": "127.0.0.1", "port": PORT}
    application = config["applications"][0]
    application["runtime_env"]["env_vars"]["INFERENCE_SERVICE_MODELS"] = str(ROOT / "models/digits")
    deployment = application["deployments"][0]
    deployment["ray_actor_options"]["num_cpus"] = 1
    deployment["health_check_period_s"] = 1
    deployment["autoscaling_config"] |= {
        "max_replicas": 3, "upscale_delay_s": 2, "metrics_interval_s": 1, "look_back_period_s": 2,
    }  # fmt: skip
    return ServeDeploySchema.model_validate(config)


def replicas() -> dict[str, str]:
    """Running replicas and the nodes that they are on."""
    details = _get_global_client().get_serve_details()
    application = details["applications"].get("inference-service", {"deployments": {}})
    # Not known before it is deployed, and for a moment while an update begins.
    found = application["deployments"].get("InferenceService", {"replicas": []})
    return {r["replica_id"]: r["node_id"] for r in found["replicas"] if r["state"] == "RUNNING"}


async def until(condition, what: str) -> float:
    begun = monotonic()
    while not condition():
        if monotonic() - begun > LONGEST:
            raise TimeoutError(
                f"{what}: not within {LONGEST:.0f} s: {_get_global_client().get_serve_details()}"
            )
        await asyncio.sleep(0.1)
    return round(monotonic() - begun, 1)


async def killed_under_load(cluster: Cluster, nodes: list) -> dict[str, object]:
    """A node with a replica is killed (SIGKILL) while clients ask."""
    load = Load(PORT, 8)

    async def work() -> dict[str, object]:
        await asyncio.sleep(3)
        before = replicas()
        victim = next(node for node in nodes if node.node_id in before.values())
        lost = {name for name, node in before.items() if node == victim.node_id}
        await asyncio.to_thread(cluster.remove_node, victim, allow_graceful=False)
        gone = await until(lambda: not lost & set(replicas()), "the lost replica is noticed")
        restored = await until(lambda: len(replicas()) >= len(before), "the replicas are restored")
        counts = Counter(load.counts)
        await asyncio.sleep(3)
        return {
            "before": len(before), "lost": len(lost), "noticed_s": gone, "restored_s": gone + restored,
            "counts": dict(counts), "afterwards": dict(load.counts - counts),
        }  # fmt: skip

    return await load.run(work())


async def updated(config: ServeDeploySchema) -> dict[str, object]:
    """All replicas are replaced, for a changed setting, while clients ask."""
    load = Load(PORT, 8)
    before = set(replicas())
    variables = config.applications[0].runtime_env["env_vars"]
    variables["INFERENCE_SERVICE_LIMITS__REQUEST_TIMEOUT"] = "59"
    _get_global_client().deploy_apps(config)
    seconds = await load.run(
        until(
            lambda: len(set(replicas()) - before) >= 2 and not before & set(replicas()),
            "new replicas",
        )
    )
    return {"replaced": len(before), "seconds": seconds, "counts": dict(load.counts)}


async def plain(seconds: float) -> dict[str, object]:
    """The service without Ray, for comparison: one process with as many cores as two replicas."""
    environment = {**os.environ, "INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK": "0"}
    command = [sys.executable, "-m", "inference_service", "serve", str(ROOT / "models/digits")]
    process = subprocess.Popen([*command, "--port", str(PLAIN_PORT)], env=environment)
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    if (await measured(PLAIN_PORT, 1, 0.2))["counts"].get("200"):
                        break
                except (OSError, IndexError):
                    await asyncio.sleep(0.1)
        return {str(c): await measured(PLAIN_PORT, c, seconds) for c in (1, 16)}
    finally:
        process.terminate()
        process.wait(30)


async def main(seconds: float) -> dict[str, object]:
    found: dict[str, object] = {"plain": await plain(seconds)}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
        },
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(4)]
    ray.init(address=cluster.address, log_to_driver=False)
    config = configuration()
    serve.start(proxy_location=config.proxy_location, http_options=config.http_options.model_dump())
    _get_global_client().deploy_apps(config)
    found["started_s"] = await until(lambda: len(replicas()) >= 2, "two replicas run")
    found["nodes"] = len(set(replicas().values()))
    found["ray"] = {"1": await measured(PORT, 1, seconds)}
    busy = Load(PORT, 32)
    found["scaled_s"] = await busy.run(until(lambda: len(replicas()) == 3, "a third replica"))
    found["scaling"] = dict(busy.counts)
    found["ray"]["16"] = await measured(PORT, 16, seconds)
    found["killed"] = await killed_under_load(cluster, nodes)
    found["updated"] = await updated(config)
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))))
