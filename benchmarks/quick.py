"""The working tree against a commit, pair by pair, in less than two minutes.

Both are served at the same time and asked in turn, so that what else the machine does hits both.
A ratio of medians far from 1 is a change; ``--worse 3`` exits with 1 where the working tree is more
than 3 % slower somewhere.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import load
import servers
from run import FOLDER
from workloads import named

PLAN = (("tiny", 1), ("tiny", 32), ("mlp", 32))


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="HEAD", help="a commit; default: the last one")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement")
    parser.add_argument("--worse", type=float, help="per cent that fail the comparison")
    arguments = parser.parse_args()
    slower = 0.0
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "tree"
        git = ["git", "-C", str(servers.ROOT), "worktree"]
        subprocess.run(
            [*git, "add", "--quiet", "--detach", str(old), arguments.against], check=True
        )
        try:
            print(
                f"| workload | clients | now / {arguments.against} | quartiles |\n|---|---|---|---|"
            )
            for name, clients in PLAN:
                ratios = compare(name, clients, old, arguments.pairs, arguments.seconds)
                low, middle, high = statistics.quantiles(ratios, n=4)
                print(
                    f"| {name} | {clients} | **{middle:.3f}** | {low:.3f}-{high:.3f} |", flush=True
                )
                slower = max(slower, 100 * (1 - middle))
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    return int(arguments.worse is not None and slower > arguments.worse)


def compare(name: str, clients: int, old: Path, pairs: int, seconds: int) -> list[float]:
    """Ratios of rates, the working tree's over the other's."""
    workload = named(name)
    rows = workload.rows()
    request = servers.OURS.request(workload.model, rows)
    before = replace(servers.OURS, environment={"PYTHONPATH": str(old / "src")})
    with (
        servers.running(servers.OURS, workload.model, FOLDER, rows[0]) as new,
        servers.running(before, workload.model, FOLDER, rows[0]) as other,
    ):
        for one in (new, other):
            load.closed(one.port, request, clients, 1)
        ratios = []
        for pair in range(pairs):
            order = (new, other) if pair % 2 else (other, new)
            rates = {
                one.port: load.closed(one.port, request, clients, seconds).rate for one in order
            }
            ratios.append(rates[new.port] / rates[other.port])
    return ratios


if __name__ == "__main__":
    sys.exit(main())
