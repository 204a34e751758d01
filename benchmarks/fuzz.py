"""Millions of wrong bodies for the request decoders.

    python benchmarks/fuzz.py [CASES_PER_DECODER] [SEED]

Prints what was accepted and refused and the slowest case; ends with 1 and the case's traceback where
a decoder did anything else. tests/protocols/fuzzing.py says what the cases are.
"""

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.protocols.fuzzing import DECODERS, Found, Mutator, run


def one(name: str, cases: int, seed: int) -> tuple[str, Found, int]:
    found = run(name, Mutator(seed), cases)
    return name, found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print("| decoder | cases | accepted | refused | slowest ms | memory MiB |")
    print("|---|---|---|---|---|---|")
    total = 0
    with ProcessPoolExecutor() as pool:
        for name, found, memory in pool.map(partial(one, cases=cases, seed=seed), sorted(DECODERS)):
            total += found.cases
            print(
                f"| {name} | {found.cases:,} | {found.accepted:,} | {found.refused:,} "
                f"| {found.slowest * 1e3:.1f} | {memory} |",
                flush=True,
            )
    print(f"\n{total:,} cases")


if __name__ == "__main__":
    main()
