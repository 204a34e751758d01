"""The part of the report about truths that differ from the table, and about families of loads."""

import random
from collections.abc import Iterator

from inference_service.simulation.arrivals import mmpp, poisson
from inference_service.simulation.families import FAMILIES, believing, run_family, run_truth
from inference_service.simulation.marks import EdfMax
from inference_service.simulation.server import Arrival
from inference_service.simulation.truths import (
    EXACT,
    NOISY,
    TABLES,
    Disturbance,
    capacity,
    warm_up,
)

LOADS = (0.5, 0.9, 1.3, 2.0, 4.0)
TIMEOUTS: dict[str, tuple[float, ...]] = {
    "3 S(1)": (3,), "10 S(1)": (10,), "mixed 2, 4, 8, 20 S(1)": (2, 4, 8, 20),
}  # fmt: skip
DISTURBANCES: dict[str, Disturbance] = {"exact": EXACT, "noise, stalls": NOISY}


def truth_section(count: int, seed: int) -> Iterator[str]:
    """Goodput against EDF-max that knows the truth; what became of the families."""
    yield "## Truths that differ from the table"
    yield ""
    loads = ", ".join(f"{load:g}" for load in LOADS)
    yield "The scheduler knows powers of two from its warm-up; the truth has knees between them,"
    yield "noise and stalls. Answers in time over those of EDF-max that knows the true costs,"
    yield f"Poisson and MMPP arrivals at {loads} times the capacity, {count} requests each:"
    yield ""
    yield f"| truth | runs | {' | '.join(TIMEOUTS)} |"
    yield f"|{'---|' * (2 + len(TIMEOUTS))}"
    for table in TABLES:
        for name, disturbance in DISTURBANCES.items():
            cells = (
                f"{_goodput(table, disturbance, factors, count, seed):.3f}"
                for factors in TIMEOUTS.values()
            )
            yield f"| {table} | {name} | {' | '.join(cells)} |"
    yield ""
    yield "### Families"
    yield ""
    yield "| load | requests | answered | p50 ms | p99 ms |"
    yield "|---|---|---|---|---|"
    for family in FAMILIES:
        for group, found in run_family(family, seed).items():
            yield (
                f"| {family.name}: {group} | {found.requests} | {found.answered:.0%} | "
                f"{found.p50 * 1e3:.3g} | {found.p99 * 1e3:.3g} |"
            )
    yield ""


def _goodput(
    table: str, disturbance: Disturbance, factors: tuple[float, ...], count: int, seed: int
) -> float:
    seconds, mine, best = TABLES[table], 0, 0
    for load in LOADS:
        rate = load * capacity(seconds)
        for times in (poisson(rate, count, seed), mmpp(rate, count, seed, 5.0)):
            rng = random.Random(seed)
            arrivals = [Arrival(t, timeout=rng.choice(factors) * seconds(1)) for t in times]
            for policy, own in ((believing(warm_up(seconds)), True), (EdfMax(seconds), False)):
                ended = run_truth(policy, seconds, arrivals, disturbance, seed)
                in_time = sum(arrival.in_time for arrival in ended)
                mine, best = (mine + in_time, best) if own else (mine, best + in_time)
    return mine / best
