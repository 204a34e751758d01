"""What each mechanism of the scheduler is worth: the scheduler against itself without it, in simulation.

    python benchmarks/ablation.py [--seeds 3] [--jobs 2] [NAME ...]

The loads are none that constants were chosen on (docs/simulation): other cost tables, mixtures of classes, keys and
sizes, clients that think for unlike times. Both schedulers get the same arrivals and the same noise. Shown is by how
many per cent the scheduler does worse without the mechanism, for the loads where that is most and least: answers in
time with deadlines, else mean and p99 latency, and answers per second in a closed loop.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from inference_service.core.scheduling import deadlines
from inference_service.core.scheduling.buckets import quantised
from inference_service.core.scheduling.cost import CostModel, CostTable
from inference_service.core.scheduling.entries import Batch, Priority
from inference_service.core.scheduling.forming import Former
from inference_service.core.scheduling.hold import Hold
from inference_service.core.scheduling.hold.evidence import Returns
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.turns import Turns
from inference_service.simulation.arrivals import OPEN
from inference_service.simulation.server import Arrival, VirtualServer
from inference_service.simulation.truths import EXACT, Disturbance

LARGEST = 48
SIZES = (1, 2, 4, 8, 16, 32, 48)
COUNT = 1500
"""Requests of an open load."""

TABLES: dict[str, Callable[[int], float]] = {
    "root": lambda n: 8e-4 + 6e-4 * n**0.7,
    "tiles of 12": lambda n: 1.5e-3 + 2.2e-3 * math.ceil(n / 12),
    "cache": lambda n: 1e-3 + 1.2e-4 * n + (2.5e-3 if n > 20 else 0.0),
    "saw": lambda n: 3e-3 + 6e-5 * n + (0.0 if n % 4 == 0 or n < 4 else 1.2e-3),
    "rows": lambda n: 3e-4 + 9e-4 * n,
    "fixed": lambda n: 6e-3 + 1e-5 * n,
    "steep": lambda n: 1e-3 + 1e-4 * n + 8e-6 * n * n,
    "cliff": lambda n: 2e-3 + 5e-5 * n + (4e-3 if n > 16 else 0.0),
}
NOISES = {"": EXACT, ", noise": Disturbance(noise=0.2, stalls=0.006, stall=6.0)}
SPELL = Disturbance(noise=0.05, spell=(0.3, 1.5), slow=4.0)

Scores = dict[str, float]
"""Figures of a run, each the better the higher."""
Load = Callable[[int, dict[str, Any]], Scores]
"""A run with a seed, and with changed options of the policy."""


def capacity(table: Callable[[int], float]) -> float:
    return max(n / table(n) for n in range(1, LARGEST + 1))


def serve(
    table: Callable[[int], float], arrivals: list[Arrival], options: dict[str, Any], seed: int,
    disturbance: Disturbance = EXACT, known: list[tuple[int, float]] | None = None,
    again: Callable[[Arrival, float], Arrival | None] = lambda *_: None, usual: int = 0, slots: int = 1,
) -> tuple[list[Arrival], float]:  # fmt: skip
    """The arrivals as they have ended, and when the last one has."""
    rng = Random(seed)  # noqa: S311
    policy = replace(BatchPolicy(LARGEST), **options)
    points = known or [(n, table(n)) for n in SIZES]
    scheduler: Scheduler[Any] = Scheduler(policy, CostModel(points, usual or 1, policy), slots)

    def service(batch: Batch[Any]) -> float:
        rows = float(batch.rows)
        if batch.length:
            rows *= quantised(max(part.entry.item.length for part in batch.parts)) / usual
        return table(max(1, round(rows))) * disturbance.factor(server.now, rng)

    ended: list[Arrival] = []

    def end(arrival: Arrival) -> None:
        ended.append(arrival)
        following = again(arrival, server.now)
        if following is not None:
            server.add(following)

    server = VirtualServer(scheduler, service, slots, end)
    for arrival in arrivals:
        server.add(arrival)
    server.run()
    return ended, server.now


def latencies(ended: list[Arrival]) -> Scores:
    found = sorted(one.latency for one in ended if one.outcome == "ok")
    answered = len(found) / len(ended)
    return {
        "answered": answered,
        "1/mean": 1 / statistics.fmean(found),
        "1/p99": 1 / found[int(0.99 * (len(found) - 1))],
    }


def in_time(ended: list[Arrival]) -> Scores:
    return {"in time": sum(one.in_time for one in ended) / len(ended)}


def times(kind: str, table: str, load: float, seed: int, count: int = COUNT) -> list[float]:
    return OPEN[kind](load * capacity(TABLES[table]), count, seed)


def open_load(
    table: str, kind: str, load: float, noise: Disturbance, seed: int, options: dict[str, Any]
) -> Scores:
    arrivals = [Arrival(time) for time in times(kind, table, load, seed)]
    ended, _ = serve(TABLES[table], arrivals, options, seed, noise)
    return latencies(ended)


def with_deadlines(
    table: str, kind: str, load: float, noise: Disturbance, seed: int, options: dict[str, Any], *, mixed: bool = False,
    keys: int = 1, large: bool = False,
) -> Scores:  # fmt: skip
    """Of 2.5 to 25 S(1); ``mixed``: a third has none and three classes; ``large``: a tenth has 2 to 60 rows."""
    rng, one = Random(seed), TABLES[table](1)  # noqa: S311
    arrivals = []
    for time in times(kind, table, load / (4 if large else 1), seed):
        best_effort = mixed and rng.random() < 1 / 3
        arrivals.append(Arrival(
            time, rows=rng.randint(2, 60) if large and rng.random() < 0.1 else 1, key=rng.randrange(keys),
            timeout=math.inf if best_effort else one * 2.5 * 10 ** rng.random(),
            priority=rng.choice(list(Priority)) if mixed else Priority.NORMAL, client=rng.randrange(3),
        ))  # fmt: skip
    ended, _ = serve(TABLES[table], arrivals, options, seed, noise)
    scores = in_time([one for one in ended if one.timeout < math.inf])
    if mixed:
        scores |= {f"best effort {name}": score
                   for name, score in latencies([one for one in ended if one.timeout == math.inf]).items()}  # fmt: skip
    return scores


def closed(
    table: str, clients: int, think: str, noise: Disturbance, seed: int, options: dict[str, Any]
) -> Scores:
    """``think``: none, short and even, uneven, or for long now and then; 12 seconds."""
    rng, one = Random(seed + 1), TABLES[table](1)  # noqa: S311

    def pause() -> float:
        if think == "none":
            return 2e-5 * rng.random()
        if think == "even":
            return 0.4 * one * (0.9 + 0.2 * rng.random())
        if think == "uneven":
            return rng.expovariate(1 / one)
        return one * (15 if rng.random() < 0.05 else 0.3)

    def again(arrival: Arrival, now: float) -> Arrival | None:
        return Arrival(now + pause(), client=arrival.client) if now < 12.0 else None

    arrivals = [Arrival(1e-4 * client, client=client) for client in range(clients)]
    ended, now = serve(TABLES[table], arrivals, options, seed, noise, again=again)
    scores = latencies(ended)
    del scores["answered"]
    return {"rate": len(ended) / now, **scores}


def lengths(
    table: str, load: float, spread: float, seed: int, options: dict[str, Any], *, due: bool
) -> Scores:
    rng, usual = Random(seed), 48  # noqa: S311
    arrivals = [
        Arrival(
            time, length=min(max(round(rng.lognormvariate(math.log(usual), spread)), 1), 512), row_elements=1,
            timeout=TABLES[table](8) * (3 + 20 * rng.random()) if due else math.inf,
        )
        for time in times("poisson", table, load, seed)
    ]  # fmt: skip
    ended, _ = serve(TABLES[table], arrivals, options, seed, usual=usual)
    return in_time(ended) if due else latencies(ended)


def disturbed_start(table: str, load: float, seed: int, options: dict[str, Any]) -> Scores:
    """The warm-up measured each size wrong by a factor of its own; sometimes nothing is known."""
    rng = Random(seed)  # noqa: S311
    known = [(n, TABLES[table](n) * rng.lognormvariate(0, 0.8)) for n in SIZES]
    arrivals = [Arrival(time) for time in times("mmpp-5", table, load, seed, 2 * COUNT)]
    ended, _ = serve(TABLES[table], arrivals, options, seed, Disturbance(noise=0.1), known)
    return latencies(ended)


def small_start(table: str, load: float, seed: int, options: dict[str, Any]) -> Scores:
    """max_batch_size 8 was derived, and more would pay."""
    arrivals = [Arrival(time) for time in times("poisson", table, load, seed, 2 * COUNT)]
    more = {"max_batch_size": 8, "max_growth": LARGEST, **options}
    ended, _ = serve(TABLES[table], arrivals, more, seed, Disturbance(noise=0.1))
    return latencies(ended)


def loads() -> Iterator[tuple[str, Load]]:
    for table, (words, noise) in itertools.product(TABLES, NOISES.items()):
        for kind, load in itertools.product(("poisson", "mmpp-20"), (0.4, 0.85)):
            yield (
                f"open, {table}, {kind} {load}{words}",
                partial(open_load, table, kind, load, noise),
            )
        for load in (0.7, 1.2, 2.5):
            yield (
                f"deadlines, {table} {load}{words}",
                partial(with_deadlines, table, "mmpp-5", load, noise),
            )
        yield (f"deadlines and best effort, {table} 1.0{words}",
               partial(with_deadlines, table, "poisson", 1.0, noise, mixed=True, keys=2))  # fmt: skip
        yield (f"large requests, {table} 0.9{words}",
               partial(with_deadlines, table, "poisson", 0.9, noise, large=True, mixed=True))  # fmt: skip
    for table, clients, think in itertools.product(
        ("root", "cache", "fixed", "rows"), (3, 14, 40), ("none", "even", "uneven", "long")
    ):
        yield (
            f"closed, {table}, {clients} think {think}",
            partial(closed, table, clients, think, Disturbance(noise=0.05)),
        )
    for table in ("root", "saw", "fixed"):
        yield f"a slow spell, {table}", partial(with_deadlines, table, "poisson", 0.5, SPELL)
        yield f"a slow spell, open, {table}", partial(open_load, table, "poisson", 0.3, SPELL)
    for table, spread, due in itertools.product(
        ("root", "rows", "cache"), (0.4, 1.0), (False, True)
    ):
        yield f"lengths, {table}, {spread} {due=}", partial(lengths, table, 0.7, spread, due=due)
    for table in ("root", "tiles of 12", "cache", "saw"):
        yield f"a disturbed start, {table}", partial(disturbed_start, table, 0.8)
        yield f"a small start, {table}", partial(small_start, table, 0.9)


@contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(patch.object(owner, name, value))
        yield


def _none(*_: Any, **__: Any) -> None:
    return None


Changes = tuple[tuple[Any, str, Any], ...]


def _without_best_effort_in_runs() -> Changes:
    original = Former.deadlines

    def plain(self: Any, group: Any, choice: Any, now: float) -> Any:
        return original(self, group, choice._replace(latest_end=now), now)

    return ((Former, "deadlines", plain),)


def _own_key_only() -> Changes:
    original = Turns.best_effort_first

    def plain(self: Any, choice: Any, now: float) -> bool:
        return original(self, choice._replace(all_in_time=False), now)

    return ((Turns, "best_effort_first", plain),)


WITHOUT: dict[str, tuple[dict[str, Any], Changes]] = {
    "hold": ({"hold": False}, ()),
    "trial: an early end": ({"trial_loss": math.inf}, ()),
    "trial: 0 as challenger": ({}, ((Hold, "_challengers", lambda self: [x for x in self._policy.hold_limits if x != self._in_use]),)),
    "trial: more than one limit": ({"hold_limits": (0.375,)}, ()),
    "hold: another load ends it": ({"more_clients": math.inf}, ()),
    "hold: unsteady ends it": ({"unsteady": 0.0}, ()),
    "hold: steady": ({"steady": 0.0}, ()),
    "hold: merging_gain": ({"merging_gain": -math.inf}, ()),
    "hold: together": ({}, ((Returns, "together", lambda *_: True),)),
    "hold: nearly_all": ({"nearly_all": 2.0}, ()),
    "hold: overdue": ({"overdue": math.inf}, ()),
    "hold: other_clients": ({"other_clients": math.inf}, ()),
    "split": ({"split_gain": 0.0}, ()),
    "full size": ({"full_gain": math.inf}, ()),
    "growth": ({"max_growth": 0}, ()),
    "retry of a size": ({"retry_every": 10**9}, ()),
    "believed": ({}, ((CostTable, "believed", lambda *_: True),)),
    "least of the last runs": ({}, ((CostTable, "least", CostTable.seconds),)),
    "a cap of what was never run": ({}, ((CostTable, "_cap_from", _none),)),
    "new sizes": ({"new_size_error": math.inf}, ()),
    "neighbours of a size": ({}, ((CostTable, "_move_neighbours", _none),)),
    "speed": ({}, ((CostModel, "_middle", lambda self: 1.0),)),
    "the first runs of a spell": ({}, ((CostModel, "_against_before", lambda self, size, rows, seconds, ratio: ratio),)),
    "speed for good (lasting)": ({"lasting": 10**9}, ()),
    "margin": ({"largest_margin": 1.0}, ()),
    "look ahead": ({"look_ahead": 1}, ()),
    "the safest": ({}, ((deadlines, "_safest", lambda lists, members, *_: members),)),
    "best effort in runs": ({}, _without_best_effort_in_runs()),
    "best effort of another key first": ({}, _own_key_only()),
    "put_off": ({"put_off": 0.0}, ()),
    "length cut": ({}, ((Former, "_cut", _none),)),
    "large_weight": ({"large_weight": 1.0}, ()),
    "known_keys": ({"known_keys": 1}, ()),
}  # fmt: skip


def _scores(job: tuple[str, str, int]) -> Scores:
    load, without, seed = job
    options, changes = WITHOUT.get(without, ({}, ()))
    with replaced(*changes):
        return dict(loads())[load](seed, options)


def compared(names: list[str], seeds: int, jobs: int, only: tuple[str, ...]) -> None:
    known = [name for name, _ in loads() if not only or name.startswith(only)]
    with ProcessPoolExecutor(jobs) as pool:

        def run(without: str) -> dict[str, list[Scores]]:
            todo = [(load, without, seed) for load in known for seed in range(101, 101 + seeds)]
            found = iter(list(pool.map(_scores, todo, chunksize=4)))
            return {load: [next(found) for _ in range(seeds)] for load in known}

        base = run("")
        print(f"{len(known)} loads, {seeds} seeds", flush=True)
        for name in names:
            losses = []
            for load, runs in run(name).items():
                for figure in runs[0]:
                    ours = statistics.fmean(scores[figure] for scores in base[load])
                    theirs = statistics.fmean(scores[figure] for scores in runs)
                    if ours > 0:
                        losses.append((100 * (1 - theirs / ours), f"{load}: {figure}"))
            losses.sort()
            more = sum(loss > 2 for loss, _ in losses), sum(loss < -2 for loss, _ in losses)
            print(
                f"{name:34} mean {statistics.fmean(x for x, _ in losses):+.2f} %; worse by 2 %: {more[0]}, better: {more[1]}"
            )
            for loss, load in [*losses[:-4:-1], *losses[:2]]:
                print(f"    {loss:+7.1f} %  {load}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WITHOUT))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--loads",
        action="append",
        default=[],
        metavar="TEXT",
        help="only loads whose names begin so; may be repeated",
    )
    given = parser.parse_args()
    compared(given.names or list(WITHOUT), given.seeds, given.jobs, tuple(given.loads))
