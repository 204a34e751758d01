"""The whole suite, in processes that a model may hang or crash without the others.

What came of each case is written to a journal as it comes, so a run that was broken off goes on
where it stopped. A journal holds for the state of the sources and packages that it was made with.
"""

import asyncio
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep

from tests.conformance.cases import Case
from tests.conformance.trial import Result, try_all

PACKAGES = ("onnx", "onnxruntime", "numpy")
CHUNK = 100  # cases that one process serves at the same time
STALL = 120.0
"""Seconds without progress after which a process is taken to hang."""

_FORK = multiprocessing.get_context("fork")  # the cases need not be sent to the processes


def fingerprint(root: Path) -> str:
    """Of the sources that answers may depend on, and of the packages' versions."""
    digest = hashlib.sha256()
    for folder in ("src", "tests/conformance"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    for package in PACKAGES:
        digest.update(version(package).encode())
    return digest.hexdigest()[:16]


@dataclass
class Journal:
    """A file of results, one line each."""

    path: Path

    def read(self) -> dict[str, Result]:
        """By name of the case. A last line that was broken off is passed over."""
        found = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    result = Result.of(json.loads(line))
                except ValueError:
                    continue
                found[result.name] = result
        return found

    def add(self, result: Result) -> None:
        """One write for each line: several processes may do so.

        The line break in front ends a line that was broken off.
        """
        line = f"\n{json.dumps(result.plain())}\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


@dataclass
class _Worker:
    """A process with a chunk of the cases. ``at`` is touched whenever something goes on."""

    cases: list[Case]
    process: BaseProcess
    at: Path
    seen: tuple[str, int] = ("", 0)
    since: float = field(default_factory=monotonic)

    def stalled(self) -> bool:
        """Whether nothing has gone on for too long."""
        now = (self.at.read_text(), self.at.stat().st_size) if self.at.exists() else ("", 0)
        if now != self.seen:
            self.seen, self.since = now, monotonic()
        return monotonic() - self.since > STALL


def run(cases: Sequence[Case], folder: Path, processes: int) -> dict[str, Result]:
    """What came of all cases; those in the journal in ``folder`` are not tried again."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "results.jsonl")
    known = journal.read()
    left = [case for case in cases if case.name not in known]
    chunks = [left[i : i + CHUNK] for i in range(0, len(left), CHUNK)]
    workers: list[_Worker] = []
    try:
        while chunks or workers:
            while chunks and len(workers) < processes:
                workers.append(
                    _start(chunks.pop(), folder, journal, len(chunks))
                )  # large ones first
            sleep(0.1)
            for worker in list(workers):
                stalled = worker.stalled()
                if worker.process.is_alive() and not stalled:
                    continue
                workers.remove(worker)
                chunks += _finish(worker, journal, hung=stalled)
                _say(f"{len(journal.read())} of {len(cases)}")
    finally:
        for worker in workers:
            worker.process.kill()
    known = journal.read()
    return {case.name: known[case.name] for case in cases}


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201 - a command's progress


def _start(cases: list[Case], folder: Path, journal: Journal, number: int) -> _Worker:
    at = folder / f"at-{os.getpid()}-{number}-{cases[0].name}"
    process = _FORK.Process(target=_child, args=(cases, folder, journal, at), daemon=True)
    process.start()
    return _Worker(cases, process, at)


def _child(cases: list[Case], folder: Path, journal: Journal, at: Path) -> None:
    """In the process of its own."""
    warnings.simplefilter("ignore")
    log = os.open(folder / "stderr.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 2)

    def progress(names: Sequence[str]) -> None:
        at.write_text("\n".join(names))

    async def all_of_them() -> None:
        repository = _repository(at)
        repository.mkdir()
        async for result in try_all(cases, repository, progress):
            journal.add(result)

    asyncio.run(all_of_them())


def _repository(at: Path) -> Path:
    """Where a process keeps its cases' models; its parent removes them, since it may be killed."""
    return at.with_name(f"{at.name}-models")


def _finish(worker: _Worker, journal: Journal, *, hung: bool) -> list[list[Case]]:
    """The chunks that are to be tried again: the suspect alone, and the others."""
    worker.process.kill()
    worker.process.join(30)
    suspects = worker.at.read_text().splitlines() if worker.at.exists() else []
    worker.at.unlink(missing_ok=True)
    shutil.rmtree(_repository(worker.at), ignore_errors=True)
    known = journal.read()
    left = [case for case in worker.cases if case.name not in known]
    if not left:
        return []
    if len(worker.cases) == 1:
        (case,) = left
        words = f"no progress for {STALL:.0f} s" if hung else f"exit {worker.process.exitcode}"
        journal.add(Result(case.name, case.kind, case.operator, "died", words))
        return []
    suspect = suspects[0].partition("-")[0] if suspects else ""
    alone = [case for case in left if case.name == suspect] or left[:1]
    return [alone, rest] if (rest := [case for case in left if case not in alone]) else [alone]
