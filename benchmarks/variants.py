"""What single choices are worth: the service against itself with one thing changed.

Usage: ``python benchmarks/variants.py [--pairs 6] [NAME ...]``. Both are served at the same time and asked in turn;
a ratio above 1 says that the service as it is answers more. Needs wrk.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

Rival = Callable[[], None]
"""Changes the service before it starts, in its process."""


def h11() -> None:
    """HTTP parsed in Python instead of by httptools."""
    _uvicorn(http="h11")


def plain_asyncio() -> None:
    """asyncio's own event loop instead of uvloop."""
    _uvicorn(loop="asyncio")


def _uvicorn(**changes: object) -> None:
    import uvicorn

    original = uvicorn.Config.__init__

    def changed(self: object, *arguments: object, **keywords: object) -> None:
        original(self, *arguments, **{**keywords, **changes})

    uvicorn.Config.__init__ = changed


def pythons_gc() -> None:
    """The garbage collector as Python has it."""
    gc.freeze = lambda: None
    gc.set_threshold = lambda *_: None


def short_switches() -> None:
    """Threads take turns every 0.5 ms instead of every 5."""
    sys.setswitchinterval(0.0005)


def no_metrics() -> None:
    """Nobody is told what happens."""
    from inference_service.telemetry.statistics import Observers

    for name in ("finished", "batched"):
        setattr(Observers, name, lambda *_: None)


def through_fastapi() -> None:
    """All requests through FastAPI's middleware and routing."""
    from inference_service.web.hot_paths import HotPaths

    HotPaths.__call__ = lambda self, scope, receive, send: self._app(scope, receive, send)


def never_inline() -> None:
    """Every run in a thread."""
    from inference_service.runtime import runner, warmup

    warmup.INLINE_BELOW = runner.INLINE_BELOW = 0.0


def spinning() -> None:
    """ONNX Runtime's threads spin while they wait."""
    os.environ["INFERENCE_SERVICE_RUNTIME__ALLOW_SPINNING"] = "true"


def no_hold() -> None:
    """A free slot never waits for requests that are about to come."""
    from inference_service.core.scheduling.hold import Hold

    Hold.waits = lambda *_: False


def one_layout() -> None:
    """One run at a time on all cores."""
    os.environ["INFERENCE_SERVICE_RUNTIME__SLOTS"] = "1"


def one_thread_each() -> None:
    """A run on each core, and never one on all of them."""
    os.environ["INFERENCE_SERVICE_RUNTIME__SLOTS"] = "2"
    os.environ["INFERENCE_SERVICE_RUNTIME__INTRA_OP_THREADS"] = "1"


def pydantic_envelope() -> None:
    """The plainest envelope validated by pydantic, too."""
    from inference_service.protocols.tfserving import codec

    source = codec.decode_predict

    def decode(value: object, signature: object, **keywords: object) -> object:
        return source({**value, "signature_name": ""}, signature, **keywords)

    codec.decode_predict = decode


RIVALS: dict[str, tuple[Rival, str, int]] = {
    rival.__name__: (rival, workload, clients)
    for rival, workload, clients in (
        (through_fastapi, "tiny", 32),
        (pydantic_envelope, "tiny", 32),
        (no_metrics, "tiny", 32),
        (pythons_gc, "tiny", 32),
        (h11, "tiny", 32),
        (plain_asyncio, "tiny", 32),
        (never_inline, "tiny", 32),
        (short_switches, "mlp", 128),
        (spinning, "mlp", 32),
        (no_hold, "mlp", 128),
        (one_layout, "mlp", 128),
        (one_thread_each, "mlp", 128),
    )
}


def compare(name: str, pairs: int) -> list[float]:
    """Ratios of rates: as it is, over the rival."""
    import load
    import servers
    from run import FOLDER
    from workloads import named

    _, workload_name, clients = RIVALS[name]
    workload = named(workload_name)
    rows = workload.rows()
    request = servers.OURS.request(workload.model, rows)

    def command(model: str, folder: Path, port: int) -> list[str]:
        repository = str(folder / f"models-{model}")
        return [sys.executable, __file__, "--serve", name, repository, "--port", str(port)]

    changed = replace(servers.OURS, name=name, command=command)
    with (
        servers.running(servers.OURS, workload.model, FOLDER, rows[0]) as ours,
        servers.running(changed, workload.model, FOLDER, rows[0]) as rival,
    ):
        for one in (ours, rival):
            load.closed(one.port, request, clients, 2)
        ratios = []
        for pair in range(pairs):
            order = (ours, rival) if pair % 2 else (rival, ours)
            rates = {one.port: load.closed(one.port, request, clients, 2).rate for one in order}
            ratios.append(rates[ours.port] / rates[rival.port])
    return ratios


def bindings() -> None:
    """``session.run`` against IOBinding with bound outputs, in this process."""
    from run import FOLDER
    from workloads import _session, named

    print("\n| model | rows | run us | IOBinding us |\n|---|---|---|---|")
    for name in ("tiny", "mlp"):
        workload = named(name)
        for rows in (1, 32):
            batch = np.stack(workload.rows() * rows)
            session = _session(workload.model, FOLDER, 1)
            binding = session.io_binding()

            def bound(session=session, binding=binding, batch=batch) -> None:
                binding.bind_cpu_input("x", batch)
                binding.bind_output("y")
                session.run_with_iobinding(binding)
                binding.get_outputs()[0].numpy()

            def plain(session=session, batch=batch) -> None:
                session.run(["y"], {"x": batch})

            print(f"| {name} | {rows} | {_best(plain):.1f} | {_best(bound):.1f} |")


def _best(call: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(30):
        begun = perf_counter()
        for _ in range(20):
            call()
        best = min(best, (perf_counter() - begun) / 20)
    return best * 1e6


def main(names: Sequence[str], pairs: int) -> None:
    """Compare, and print a table."""
    print("| without it | workload | clients | as it is / without | range |\n|---|---|---|---|---|")
    for name in names or RIVALS:
        rival, workload, clients = RIVALS[name]
        ratios = sorted(compare(name, pairs))
        text = (rival.__doc__ or "").rstrip(".")
        print(
            f"| {text} | {workload} | {clients} | **{np.median(ratios):.2f}** | "
            f"{ratios[0]:.2f}-{ratios[-1]:.2f} |",
            flush=True,
        )
    if not names:
        bindings()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        RIVALS[sys.argv[2]][0]()
        from inference_service.cli import main as serve

        sys.argv[1:] = ["serve", *sys.argv[3:]]
        serve()
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RIVALS))
        parser.add_argument("--pairs", type=int, default=6)
        given = parser.parse_args()
        main(given.names, given.pairs)
