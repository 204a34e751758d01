"""What is asked of every server, and what ONNX Runtime alone makes of the same work."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import models
import numpy as np
import onnxruntime as ort

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_GROUP = 8


@dataclass(frozen=True)
class Workload:
    """A model, rows to send in turn, and numbers of clients."""

    name: str
    title: str
    model: str
    clients: tuple[int, ...]
    lengths: tuple[int, ...] = (32,)
    binary: bool = False

    def rows(self) -> list[np.ndarray]:
        """The rows, the same ones each time."""
        random = np.random.default_rng(11)
        return [models.row(self.model, random, length) for length in self.lengths]


def _skewed() -> tuple[int, ...]:
    """64 lengths from 8 to 128, short ones more often, as sentences are."""
    random = np.random.default_rng(3)
    return tuple(int(n) for n in np.clip(8 + random.exponential(28, 64), 8, 128))


WORKLOADS = (
    Workload("tiny", "MLP 64-128-10, JSON", "tiny", (1, 32, 128)),
    Workload("mlp", "MLP 1024-4096-4096-1000 (weight-bound), JSON", "mlp", (1, 32, 128)),
    Workload("transformer", "MiniLM-sized transformer, 32 tokens, JSON", "transformer", (1, 32)),
    Workload("mixed", "The same, 8 to 128 tokens", "transformer", (1, 32), lengths=_skewed()),
    Workload("resnet", "ResNet-50, JSON (1.1 MB)", "resnet", (1, 4)),
    Workload("resnet-binary", "ResNet-50, binary (0.6 MB)", "resnet", (1, 4), binary=True),
    Workload("trees", "200 trees of depth 7, JSON", "trees", (1, 32)),
)


def named(name: str) -> Workload:
    """The workload of this name."""
    return next(workload for workload in WORKLOADS if workload.name == name)


@dataclass(frozen=True)
class Ceiling:
    """Rows per second of ONNX Runtime in a process of its own, and what makes them."""

    rate: float
    batch: int
    instances: int
    threads: int
    alone: float  # milliseconds of a lone row


def reference(model: str, folder: Path, row: np.ndarray) -> np.ndarray:
    """The answer that every server must give."""
    return _session(model, folder, 1).run(None, {"x": row[None]})[0]


def _session(model: str, folder: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = folder / f"models-{model}" / model / "1" / "model.onnx"
    return ort.InferenceSession(str(path), options)


def ceiling(workload: Workload, folder: Path, seconds: float = 0.6) -> Ceiling:
    """The best of batch sizes and layouts. Mixed lengths: sorted, cut in groups, padded."""
    cores = len(os.sched_getaffinity(0))
    rows = workload.rows()
    found = []
    alone = float("inf")
    for instances, threads in {(1, 1), (1, cores), (cores, 1)}:
        session = _session(workload.model, folder, threads)
        for size in _BATCHES if len(rows) == 1 else (1, _GROUP):
            rate = _rate(session, _batches(rows, size), instances, seconds)
            found.append(Ceiling(rate, size, instances, threads, 0.0))
            if size == 1 and instances == 1:
                alone = min(alone, 1e3 / rate)
            if size / rate > 4 * seconds:
                break
    best = max(found, key=lambda one: one.rate)
    return Ceiling(best.rate, best.batch, best.instances, best.threads, alone)


def _batches(rows: list[np.ndarray], size: int) -> list[np.ndarray]:
    if len(rows) == 1:
        return [np.stack(rows * size)]
    rows = sorted(rows, key=len)
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [
        np.stack([np.pad(row, (0, len(group[-1]) - len(row))) for row in group]) for group in groups
    ]


def _rate(
    session: ort.InferenceSession, batches: list[np.ndarray], instances: int, seconds: float
) -> float:
    def work(_: int) -> float:
        done, spent, begun = 0, 0.0, time.perf_counter()
        while spent < seconds:
            for batch in batches:
                session.run(None, {"x": batch})
                done += len(batch)
            spent = time.perf_counter() - begun
        return done / spent

    session.run(None, {"x": batches[-1]})
    with ThreadPoolExecutor(instances) as pool:
        return sum(pool.map(work, range(instances)))
