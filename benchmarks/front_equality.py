"""The shortcut for hot requests against the ASGI way: random exchanges, compared byte for byte.

    python benchmarks/front_equality.py [EXCHANGES] [SEED]

Both kinds of connections are fed in process, without sockets, with the traffic of
tests/web/traffic.py: valid, odd and broken requests, split anywhere, in pipelines. Prints how many
were sent and took the shortcut; ends with 1 and the exchange where the answers differ by more than
date and durations.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.web.test_front import MODELS, difference, repository, served
from tests.web.traffic import Traffic

_STEP = 1000


async def main() -> int:
    """Compare; the exit status."""
    exchanges = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        repository(Path(folder))
        async with served(Path(folder), default_model="doubler") as site:
            traffic = Traffic(seed, MODELS)
            for done in range(_STEP, exchanges + _STEP, _STEP):
                found = await difference(site, traffic, _STEP)
                print(
                    f"{done:,} exchanges, {site.desk.begun:,} requests by the shortcut", flush=True
                )
                if found:
                    print(found)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
