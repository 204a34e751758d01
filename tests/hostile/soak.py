"""``scripts/soak [minutes]``: valid and hostile requests, mixed, for a long time; a row each 30 s."""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from threading import Event, Thread

import numpy as np
import requests

from tests.conftest import RunningServer, serving
from tests.hostile.__main__ import SERVED, models, target_of
from tests.hostile.attacks import ATTACKS, TIMEOUT
from tests.hostile.measuring import family, resident

_ROW = 30.0
_VALID, _HOSTILE = 3, 1
"""Clients of each kind."""
_PAUSE = 0.02
_COLUMNS = ("minute", "right", "wrong", "refused", "lost", "hostile", "MiB", "processes", "files",
            "threads")  # fmt: skip


class Soak:
    """Clients of one server, and what has become of their requests."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._done = Event()
        self.counts: Counter[str] = Counter()

    def run(self, minutes: float) -> None:
        """Raises AssertionError for an answer that is wrong or lost."""
        threads = [Thread(target=self._valid, args=(one,), daemon=True) for one in range(_VALID)]
        threads += [
            Thread(target=self._hostile, args=(one,), daemon=True) for one in range(_HOSTILE)
        ]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        try:
            while (passed := time.monotonic() - begun) < minutes * 60:
                self._tell(passed / 60)
                time.sleep(min(_ROW, minutes * 60 - passed))
        finally:
            self._done.set()
            for thread in threads:
                thread.join(2 * TIMEOUT)
        self._tell((time.monotonic() - begun) / 60)
        assert self.counts["wrong"] == self.counts["lost"] == 0

    def _tell(self, minute: float) -> None:
        pid = self._server.process.pid
        pids = family(pid)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        counts = [self.counts[name] for name in ("right", "wrong", "refused", "lost", "hostile")]
        values = [f"{minute:.1f}", *counts, resident(pids) >> 20, len(pids), files, threads]
        sys.stdout.write("| " + " | ".join(map(str, values)) + " |\n")
        sys.stdout.flush()

    def _valid(self, number: int) -> None:
        """Sums of rows of any length: each answer is known."""
        random, session = Random(number), requests.Session()
        url = self._server.url + "/v1/models/any-length:predict"
        while not self._done.wait(_PAUSE):
            row = [random.randrange(100) for _ in range(random.randrange(1, 50))]
            try:
                answer = session.post(url, json={"instances": [row]}, timeout=TIMEOUT)
            except requests.RequestException:
                self.counts["lost"] += 1
                continue
            if answer.status_code == requests.codes.ok:
                right = bool(np.isclose(answer.json()["predictions"], sum(row)).all())
                self.counts["right" if right else "wrong"] += 1
            else:
                self.counts["refused"] += 1

    def _hostile(self, number: int) -> None:
        random = Random(1000 + number)
        while not self._done.wait(_PAUSE):
            attack = random.choice(ATTACKS)
            attack.send(target_of(self._server), random.choice(attack.small))
            self.counts["hostile"] += 1


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    sys.stdout.write("| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|\n")
    with tempfile.TemporaryDirectory() as folder, serving(models(Path(folder)), **SERVED) as one:
        Soak(one).run(minutes)


if __name__ == "__main__":
    main()
