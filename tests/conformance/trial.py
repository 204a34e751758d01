"""One model put to the test: every protocol, then two clients at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from inference_service.core.lifecycle import State
from tests.conformance.cases import Case
from tests.conformance.comparison import difference, same_kind
from tests.conformance.forms import BINARY, FORMS, Form
from tests.conformance.reference import Reference, Unanswered, freed, leading, others, rows_of
from tests.conformance.serving import Client, Refused, serving

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]

RIGHT, REFUSED, WRONG, FAULT, INEXPRESSIBLE = "right", "refused", "wrong", "fault", "inexpressible"
FREE = "-free"
_DELAY = 0.005  # seconds, for requests at the same time to be found by one run


@dataclass
class Found:
    """What came of one request: `verdict` is one of the constants above."""

    verdict: str
    words: str = ""


@dataclass
class Result:
    """What came of one case.

    ``outcome``: ``served``; ``not loaded`` (with the service's words); ``not run`` (ONNX Runtime
    alone can't either); ``died`` (it took the process along, or hung).
    """

    name: str
    kind: str
    operator: str
    outcome: str
    words: str = ""
    deviates: str = ""
    random: bool = False
    forms: dict[str, Found] = field(default_factory=dict)
    beside: dict[str, Found] = field(default_factory=dict)
    merged: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Result":
        """The other way round."""
        kept = dict(value)
        for key in ("forms", "beside"):
            kept[key] = {name: Found(**found) for name, found in value[key].items()}
        return cls(**kept)

    @property
    def faults(self) -> list[tuple[str, Found]]:
        """What must not be."""
        return [
            (name, found)
            for name, found in (*self.forms.items(), *self.beside.items())
            if found.verdict in {WRONG, FAULT}
        ]


async def try_all(
    cases: Sequence[Case], folder: Path, progress: Callable[[Sequence[str]], None] = lambda _: None
) -> AsyncIterator[Result]:
    """Serve all cases at once from a repository in ``folder``, and try one after the other.

    ``progress`` is told the names of the models that are being worked on.
    """
    trials = [_Trial(case) for case in cases]
    for trial in trials:
        progress([trial.case.name])
        trial.prepare(folder)
    async with serving(folder, progress) as client:
        for trial in trials:
            progress([trial.case.name])
            yield await trial.result(client)


class _Trial:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.free: Reference | None = None
        self.reference: Reference | None = None
        self.problem = ""

    def prepare(self, folder: Path) -> None:
        """Write the models that it needs into the repository."""
        case = self.case
        _save(case.model, folder / case.name)
        try:
            self.reference = Reference(case.model)
            self.expected = self.reference.run(case.inputs or {}) if case.inputs is not None else {}
        except Unanswered as error:
            self.problem = str(error)
            return
        model = freed(case.model, case.inputs) if case.inputs else None
        if model is not None and case.unserved is None and not self._random():
            try:
                self.free = Reference(model)
                self.free.run(case.inputs or {})
            except Unanswered:
                self.free = None
            else:
                _save(model, folder / f"{case.name}{FREE}")

    def _random(self) -> bool:
        """Whether two answers to the same request differ."""
        assert self.reference is not None
        again = self.reference.run(self.case.inputs or {})
        return difference(again, self.expected, 0, 0) is not None

    async def result(self, client: Client) -> Result:
        case = self.case
        result = Result(case.name, case.kind, case.operator, "served")
        state, words = client.state(case.name)
        unrunnable = self.reference is None or (bool(self.problem) and case.unserved is None)
        if unrunnable:
            result.outcome, result.words = "not run", self.problem
        if state is not State.READY:
            if not unrunnable:
                result.outcome, result.words = "not loaded", words
            return result
        if case.inputs is None or self.problem:
            if case.inputs and self.problem:
                await self._ask_in_vain(client, result)
            return result
        result.random = self._random()
        result.deviates = "" if result.random else self._deviation()
        for form in FORMS:
            result.forms[form.name] = await self._ask(client, form)
        if not result.random:
            await self._beside(client, result)
        return result

    async def _ask_in_vain(self, client: Client, result: Result) -> None:
        """What ONNX Runtime doesn't answer is refused in words."""
        answer = await client.ask(BINARY, self.case.name, self.case.inputs or {}, {})
        if isinstance(answer, Refused) and answer.ours:
            result.forms[BINARY.name] = Found(FAULT, f"{answer.status}: {answer.words}")

    def _deviation(self) -> str:
        """How ONNX Runtime's answer differs from the suite's."""
        wanted = dict(zip(self.expected, self.case.expected, strict=False))
        known = {name: array for name, array in wanted.items() if array is not None}
        got = {name: self.expected[name] for name in known}
        return difference(got, known, self.case.rtol, self.case.atol) or ""

    async def _ask(self, client: Client, form: Form) -> Found:
        case = self.case
        answer = await client.ask(form, case.name, case.inputs or {}, self.expected)
        return self._judged(answer, self.expected, exact=not self._random())

    def _judged(
        self, answer: dict[str, Array] | Refused | None, expected: Tensors, *, exact: bool = True
    ) -> Found:
        if answer is None:
            return Found(INEXPRESSIBLE)
        if isinstance(answer, Refused):
            return Found(FAULT if answer.ours else REFUSED, f"{answer.status}: {answer.words}")
        if exact:
            words = difference(answer, expected, self.case.rtol, self.case.atol)
        else:
            words = same_kind(answer, expected)
        return Found(WRONG, words) if words else Found(RIGHT)

    async def _beside(self, client: Client, result: Result) -> None:
        """The same requests alone and beside another client's: equal answers."""
        assert self.reference is not None
        inputs = dict(self.case.inputs or {})
        if not inputs:
            return
        other = _answered(self.reference, others(inputs))
        requests = [(inputs, self.expected), *([other] if other else [])] * 2
        await self._at_once(client, self.case.name, requests, result, "whole requests")
        parts = self._rows(inputs, self.expected)
        if other and parts:
            parts += self._rows(*other)
        if parts:
            await self._at_once(client, self.case.name, parts, result, "rows", may_refuse=True)
        if self.free is not None and client.state(self.case.name + FREE)[0] is State.READY:
            await self._freed(client, result, inputs)

    async def _freed(self, client: Client, result: Result, inputs: Tensors) -> None:
        """The same graph with a free batch axis, and requests of unequal numbers of rows."""
        assert self.free is not None
        names = rows_of(inputs)
        one_row = {name: a[:1] if name in names else a for name, a in inputs.items()}
        twice = {
            name: np.concatenate([a, a[::-1]]) if name in names else a for name, a in inputs.items()
        }
        requests = []
        for asked in (inputs, *others(inputs)[:2], one_row, twice, inputs):
            try:
                requests.append((asked, self.free.run(asked)))
            except Unanswered:
                requests.append((asked, None))
        await self._at_once(
            client, self.case.name + FREE, requests, result, "free batch axis", may_refuse=True
        )

    def _rows(self, inputs: Tensors, expected: Tensors) -> list[tuple[Tensors, Tensors | None]]:
        """Requests of one row each for a graph with a fixed number of rows."""
        count = leading(inputs)
        if count < 2 or len(rows_of(inputs)) < len(inputs):
            return []
        if any(not a.ndim or len(a) != count for a in expected.values()):
            return []
        return [
            ({n: a[i : i + 1] for n, a in inputs.items()}, {n: a[i : i + 1] for n, a in expected.items()})
            for i in range(min(count, 3))
        ]

    async def _at_once(
        self,
        client: Client,
        model: str,
        requests: Sequence[tuple[Tensors, Tensors | None]],
        result: Result,
        title: str,
        *,
        may_refuse: bool = False,
    ) -> None:
        """All requests at the same time. Expected None: there is no answer to it alone."""
        _, runs = await client.executions(model)
        answers = await asyncio.gather(
            *(client.ask(BINARY, model, asked, {}) for asked, _ in requests)
        )
        _, after = await client.executions(model)
        answered = sum(not isinstance(answer, Refused) for answer in answers)
        result.merged |= after - runs < answered
        found = Found(RIGHT)
        for answer, (_, expected) in zip(answers, requests, strict=True):
            if expected is None:
                if not isinstance(answer, Refused):
                    found = Found(WRONG, "answered beside others, though not alone")
                continue
            judged = self._judged(answer, expected)
            if judged.verdict != RIGHT and found.verdict in {RIGHT, REFUSED}:
                found = judged
        if found.verdict == REFUSED and not may_refuse:
            first = result.forms[BINARY.name].verdict
            found = Found(REFUSED if first == REFUSED else WRONG, found.words)
        result.beside[title] = found


def _answered(reference: Reference, requests: Sequence[Tensors]) -> tuple[Tensors, Tensors] | None:
    """The first request that ONNX Runtime answers."""
    for asked in requests:
        try:
            return asked, reference.run(asked)
        except Unanswered:
            continue
    return None


def _save(model: onnx.ModelProto, folder: Path) -> None:
    place = folder / "1"
    place.mkdir(parents=True)
    onnx.save(model, place / "model.onnx")
    (folder / "model.toml").write_text(f"[batching]\nmax_queue_delay = {_DELAY}\n")
