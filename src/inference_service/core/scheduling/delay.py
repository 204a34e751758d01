"""Would it pay to wait for more, on an open load? The arrivals of late, replayed with every delay.

Where requests come in bursts with silence between them, the first of a burst starts a run alone and
the others wait for its end. A timer that knows the burst's pace takes more of them into the first
run. Nobody can know the pace beforehand, but the last arrivals tell it: they are replayed with each
of a few delays. The one that is best for the mean latency and for the p99 goes on trial.

That is a replay of what has come, whatever was answered when: it holds for open loads alone.
Clients in a closed loop come when they are answered; `judge` looks after those.
"""

import heapq
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

from inference_service.core.scheduling.hold import FOLLOWED, STEADY, Came, merging_pays
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch

DELAYS = (0.1, 0.25, 0.5)
"""In units of S(1), from the arrival of the first that waits."""

_REMEMBERED = 2048  # times at which requests came
_FIRST = 192  # requests before the first look
_GROWTH = 1.5  # from one look to the next, by requests
_FAREST = 8192  # requests between two looks: a replayed request per request that comes
_BETTER = 0.01  # by so much in the worse of mean and p99
_SLICE = 256  # arrivals between two yields: well below a millisecond
_COUNTED, _STRETCHES = 128, 6  # requests of a stretch of a trial, and how many there are
_CONTEXT = 64  # times of arrivals after a stretch: they share the runs of its last ones
_NEVER_ALONE = 1024  # requests without a moment in which nothing runs
_LONGEST = 65_536  # requests until the next look after trials that said no
_DONE = object()


class Latency(NamedTuple):
    """Of the requests of a replay, in seconds."""

    mean: float
    p99: float


def replayed(
    arrivals: Sequence[Came],
    seconds: Callable[[int], float],
    largest: int,
    delay: float,
    slots: int = 1,
) -> Iterator[Latency | None]:
    """These arrivals, batched with a ``delay``; None between slices of work, then the latencies.

    A free slot takes up to ``largest`` rows as soon as there are so many, or when the first has
    waited for ``delay`` seconds. A run of n rows takes ``seconds(n)``.
    Arrivals of 0 requests share runs with the others, but their latencies don't count.
    """
    found: list[tuple[float, int]] = []
    ends = [-1e300] * slots  # the times at which the slots get free
    first, taken = 0, 0  # the first arrival that waits, and the rows of it that run already
    count, seen = len(arrivals), 0
    while first < count:
        at = max(arrivals[first].time, ends[0])
        due = max(at, arrivals[first].time + delay)
        rows, last = -taken, first
        while last < count and rows < largest:
            time, _, more = arrivals[last]
            if time > due:
                break
            at = max(at, time)
            rows += more
            last += 1
        start = at if rows >= largest else due
        over = max(rows - largest, 0)  # of the last one, for the next run
        end = start + seconds(rows - over)
        heapq.heapreplace(ends, end)
        if over:
            last -= 1
            taken = arrivals[last].rows - over
        else:
            taken = 0
        found += [(end - came.time, came.requests) for came in arrivals[first:last]]
        seen += last - first + 1
        first = last
        if seen >= _SLICE:
            seen = 0
            yield None
    yield _latency(found)


def _latency(found: list[tuple[float, int]]) -> Latency:
    found.sort()
    requests = sum(count for _, count in found)
    mean = sum(seconds * count for seconds, count in found) / requests
    above = requests - int(0.99 * requests)
    for seconds, count in reversed(found):
        above -= count
        if above <= 0:
            return Latency(mean, seconds)
    return Latency(mean, found[0][0])


@dataclass(slots=True)
class _Stretch:
    """From the end of one run on, with or without the delay.

    ``queued`` rows wait when it begins. ``answered`` are requests that came within it, and
    ``waited`` are the seconds until they were answered, together.
    """

    delayed: bool
    begun: float
    queued: int
    answered: int = 0
    waited: float = 0.0


class DelayTrial:
    """Stretches without and with a delay, in turns, on the live load.

    The replay knows what runs cost, but not what else makes them slow: the event loop on the same
    cores, caches gone cold in the silence before a burst. Loads are never twice the same, so the
    latencies of each stretch are compared with what a replay of its own arrivals says: both sides
    without a delay and with the same costs. After the last stretch comes one that doesn't count,
    in which its last requests are answered.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._stretches: list[_Stretch] = []
        self._vain = 0  # requests since a stretch could last end

    @property
    def current(self) -> float:
        """The delay of this stretch."""
        return self.delay if self._stretches and self._stretches[-1].delayed else 0.0

    def add(self, batch: Batch[Any], now: float, *, queued: int, alone: bool) -> bool | None:
        """A batch has run and so many rows are queued; ``alone``: nothing else runs.

        True: all stretches are there. False: other slots never rest, so none can begin or end.
        """
        self._vain = 0 if alone else self._vain + len(batch.parts)
        if self._vain > _NEVER_ALONE:
            return False
        arrivals = [part.ticket.arrival for part in batch.parts if part.stop == part.ticket.rows]
        for arrival in arrivals:
            self._answered(arrival, now)
        if not alone:
            return None
        stretches = self._stretches
        if len(stretches) <= _STRETCHES and (not stretches or stretches[-1].answered >= _COUNTED):
            stretches.append(_Stretch(len(stretches) % 2 == 1, now, queued))
        over = queued == 0 or min(arrivals, default=now) >= stretches[-1].begun
        return True if over and len(stretches) > _STRETCHES else None

    def verdict(self, arrivals: Sequence[Came], replay: "Replay") -> Generator[None, None, bool]:
        """Whether answers come sooner with the delay.

        Stretches that began before the first of the ``arrivals`` don't count.
        """
        waited, planned = [0.0, 0.0], [0.0, 0.0]
        for stretch, after in pairwise(self._stretches):
            own = [came for came in arrivals if stretch.begun <= came.time < after.begun]
            if own and arrivals[0].time <= stretch.begun:
                # Those before and after share runs with them, but don't count.
                before = [Came(stretch.begun, 0, stretch.queued)] if stretch.queued else []
                later = [Came(c.time, 0, c.rows) for c in arrivals if c.time >= after.begun]
                plain = yield from replay([*before, *own, *later[:_CONTEXT]], 0.0)
                waited[stretch.delayed] += stretch.waited
                planned[stretch.delayed] += plain.mean * stretch.answered
        return waited[1] * planned[0] < waited[0] * planned[1]

    def _answered(self, arrival: float, now: float) -> None:
        for stretch in reversed(self._stretches):
            if stretch.begun <= arrival:
                stretch.answered += 1
                stretch.waited += now - arrival
                return


Replay = Callable[[Sequence[Came], float], Generator[None, None, Latency]]
"""A replay of arrivals with a delay, in slices."""


class DelayJudge:
    """Sets a scheduler's delay. `work` is a little of a replay, to be called while it is due.

    ``shortest`` seconds is the shortest delay that the clock's alarms can keep.
    """

    def __init__(self, scheduler: Scheduler[Any], shortest: float = 0.0) -> None:
        self._scheduler = scheduler
        self._shortest = shortest
        self._work: Iterator[None] | None = None
        self._trial: DelayTrial | None = None
        self._key: Hashable = None
        self.forget()
        self._listen()

    @property
    def due(self) -> bool:
        """Whether `work` has something to do."""
        return self._work is not None

    def forget(self) -> None:
        """The load is none that a delay is for: no delay, and begin anew."""
        hold = self._scheduler.hold
        if hold.arrivals:
            hold.arrivals.clear()
        hold.delay = 0.0
        self._work = self._trial = None
        self._seen, self._next, self._pause = 0, _FIRST, _FIRST
        self._present, self._ends, self._most = 0, 0, 1

    def completed(self, batch: Batch[Any], now: float) -> None:
        """A batch has run and its requests are finished: goes on with a trial, or begins a look."""
        scheduler = self._scheduler
        if scheduler.hold.arrivals is None:  # most models: nothing is noted of their requests
            self._seen += len(batch.parts)
            if self._seen >= self._next:
                self._next = self._seen + _FAREST
                self._listen()
            return
        requests, key = len(batch.parts), batch.parts[0].ticket.key
        if key != self._key:  # unlike requests share nothing: the replay knows no such loads
            if self._key is not None:
                self.forget()
            self._key = key
        self._seen += requests
        present = requests + scheduler.requests
        self._present += present
        self._ends += 1
        self._most = max(self._most, present)
        if self._work is not None:
            return
        if self._trial is not None:
            queued = scheduler.rows - scheduler.hold.fresh_rows
            alone = not scheduler.load.running
            complete = self._trial.add(batch, now, queued=queued, alone=alone)
            scheduler.hold.delay = self._trial.current
            if complete is not None:
                self._work = self._decide(self._trial, batch.volume, complete=complete)
        elif self._seen >= self._next:
            self._next = min(int(_GROWTH * self._seen), self._seen + _FAREST)
            if self._open and not batch.length:
                self._work = self._look(batch.volume)
            else:
                scheduler.hold.delay = 0.0
            self._present, self._ends, self._most = 0, 0, 1

    def work(self) -> None:
        """A slice of the replays; at their end a trial may begin, or has been decided."""
        if self._work is not None and next(self._work, _DONE) is _DONE:
            self._work = None

    def _listen(self) -> None:
        """Note arrivals from now on, if a delay could pay."""
        policy = self._scheduler.policy
        allowed = policy.hold and policy.max_queue_delay == 0 and self._delays(0)
        self._scheduler.hold.arrivals = deque(maxlen=_REMEMBERED) if allowed else None

    def _delays(self, volume: int) -> list[float]:
        """Delays in seconds that could pay: none where a run costs little, or its rows much."""
        seconds = partial(self._scheduler.load.seconds, volume=volume)
        if not merging_pays(seconds):
            return []
        one = seconds(1)
        return [share * one for share in DELAYS if share * one >= self._shortest]

    @property
    def _open(self) -> bool:
        """Whether the requests have nothing to do with the answers, as far as can be seen."""
        echo = self._scheduler.hold.echo
        steady = self._present / self._ends / self._most > STEADY
        return not (
            steady and echo.fraction > FOLLOWED and echo.together(self._scheduler.load.seconds)
        )

    def _replay(self, volume: int) -> Replay:
        load, largest = self._scheduler.load, self._scheduler.policy.max_batch_size
        seconds = cache(partial(load.seconds, volume=volume))

        def replay(arrivals: Sequence[Came], delay: float) -> Generator[None, None, Latency]:
            for latency in replayed(arrivals, seconds, largest, delay, load.slots):
                if latency is not None:
                    return latency
                yield
            raise ValueError("nothing to replay")  # pragma: no cover - there are arrivals

        return replay

    def _look(self, volume: int) -> Iterator[None]:
        hold = self._scheduler.hold
        arrivals, worth = list(hold.arrivals or ()), self._delays(volume)
        if not worth or sum(came.requests for came in arrivals) < _FIRST // 2:
            hold.delay = 0.0
            if not worth:
                self._listen()
            return
        delays = [0.0, *worth]
        replay = self._replay(volume)
        found: list[Latency] = []
        for delay in delays:
            found += [(yield from replay(arrivals, delay))]
        current = min(range(len(delays)), key=lambda n: abs(delays[n] - hold.delay))
        best = _best(found, current)
        if best != current:
            hold.delay = 0.0
            self._trial = DelayTrial(delays[best]) if best else None

    def _decide(self, trial: DelayTrial, volume: int, *, complete: bool) -> Iterator[None]:
        hold = self._scheduler.hold
        hold.delay = 0.0
        arrivals = list(hold.arrivals or ())
        if complete and (yield from trial.verdict(arrivals, self._replay(volume))):
            hold.delay, self._pause = trial.delay, _FIRST
        else:
            self._pause = min(2 * self._pause, _LONGEST)
        self._trial = None
        self._next = max(self._next, self._seen + self._pause)


def _best(found: Sequence[Latency], current: int) -> int:
    """The index of the best one; the ``current`` one if that is hardly worse."""
    mean, p99 = min(f.mean for f in found), min(f.p99 for f in found)
    excess = [max(f.mean / mean, f.p99 / p99) for f in found]
    best = min(range(len(found)), key=excess.__getitem__)
    return best if excess[best] + _BETTER < excess[current] else current
