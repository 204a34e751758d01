"""``scripts/conformance``: serve the suite and write the page."""

import argparse
import os
import sys
from pathlib import Path

from tests.conformance.cases import KINDS, collect
from tests.conformance.report import page, summary
from tests.conformance.run import fingerprint, run

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """The exit status is 1 where an answer was wrong, missing, or our fault."""
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the page with the tables here")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--match", default="", help="only tests with this in their names")
    parser.add_argument("--work", type=Path, default=ROOT / ".build" / "conformance")
    parser.add_argument("--fresh", action="store_true", help="try everything again")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    folder = options.work / fingerprint(ROOT)
    if options.fresh and (folder / "results.jsonl").exists():
        (folder / "results.jsonl").unlink()
    cases = [case for case in collect(options.kinds) if options.match in case.name]
    results = list(run(cases, folder, options.processes).values())
    if options.out:
        options.out.write_text(page(results))
    print(summary(results))  # noqa: T201 - a command's answer
    print(f"\njournal: {folder}")  # noqa: T201
    return int(any(result.faults or result.outcome == "died" for result in results))


if __name__ == "__main__":
    sys.exit(main())
