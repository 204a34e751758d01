"""Clients whose answers are known, in threads beside a fault: what is right, wrong, refused, lost."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import requests

_PAUSE = 0.002


class Clients(ABC):
    """Clients in threads, and how many of their answers were what."""

    ends_within = 60.0  # seconds, for each of them

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._done = threading.Event()

    @abstractmethod
    def _client(self, seed: int) -> None:
        """One of them, until ``_done``."""

    @contextmanager
    def running(self, clients: int = 4) -> Iterator[None]:
        """That number of clients for as long as the block takes."""
        threads = [threading.Thread(target=self._client, args=(one,)) for one in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join(self.ends_within)


class Load(Clients):
    """Asks ``doubler`` for other numbers each time."""

    def __init__(self, url: str, model: str = "doubler/versions/1") -> None:
        super().__init__()
        self.url = f"{url}/v1/models/{model}:predict"

    def ask(self, session: requests.Session, number: float) -> str:
        """Once: ``right``, ``wrong``, ``lost``, or the status of a refusal."""
        body = {"instances": [[number, number + 1, number + 2]]}
        try:
            answer = session.post(self.url, json=body, timeout=30)
        except requests.RequestException:
            return "lost"
        if answer.status_code != 200:
            return str(answer.status_code)
        expected = {"predictions": [[2 * (number + place) for place in range(3)]]}
        return "right" if answer.json() == expected else "wrong"

    def _client(self, seed: int) -> None:
        random = Random(seed)
        with requests.Session() as session:
            while not self._done.wait(_PAUSE):
                self.counts[self.ask(session, random.randrange(1000))] += 1

    def only_right(self) -> bool:
        """Whether there were answers, and each of them was right."""
        return set(self.counts) == {"right"}
