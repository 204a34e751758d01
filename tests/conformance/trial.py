"""One model put to the test: every protocol, then several clients at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from inference_service.core.lifecycle import State
from tests.conformance.cases import Case
from tests.conformance.comparison import difference, rounding, same_kind
from tests.conformance.forms import BINARY, FORMS, Form
from tests.conformance.reference import Reference, Unanswered
from tests.conformance.serving import Client, Refused, serving
from tests.conformance.variants import WHOLE, Question, Variant, variants

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]

RIGHT, REFUSED, WRONG, FAULT, INEXPRESSIBLE = "right", "refused", "wrong", "fault", "inexpressible"
_SMALL = "[batching]\nmax_queue_delay = 0.01\n"  # for a run to find what comes at the same time
_LARGE = "[batching]\nmax_batch_size = 1\n"

_DRAWS = 4  # the second answer of a random operator may well equal the first


@dataclass
class Found:
    """What came of one request: ``verdict`` is one of the constants above."""

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
    cases: Sequence[Case],
    folder: Path,
    progress: Callable[[Sequence[str]], None] = lambda _: None,
    at_once: Callable[[Case], bool] = lambda _: True,
) -> AsyncIterator[Result]:
    """Serve all cases at once from a repository in ``folder``, and try one after the other.

    ``progress`` is told the names of the models that are being worked on; ``at_once`` says which
    cases are asked by several clients at the same time, too.
    """
    trials = []
    for case in cases:
        progress([case.name])
        trials.append(_Trial(case, folder, at_once=at_once(case)))
    async with serving(folder, progress) as client:
        for trial in trials:
            progress([trial.case.name])
            yield await trial.result(client)


class _Trial:
    """Puts what a case needs into the model repository; asks when it is served."""

    def __init__(self, case: Case, folder: Path, *, at_once: bool) -> None:
        self.case = case
        self._problem: str | None = None
        self._expected: Tensors = {}
        self._random = False
        self._variants: list[Variant] = []
        large = case.kind == "light"  # dear to load, and to run six times
        _save(case.model, folder / case.name, _LARGE if large else _SMALL)
        try:
            reference = Reference(case.model)
            if case.inputs is None or case.unserved:
                return
            self._expected = reference.run(case.inputs)
            again = [reference.run(case.inputs) for _ in range(_DRAWS)]
        except Unanswered as error:
            self._problem = str(error)
            return
        self._random = any(difference(one, self._expected, 0, 0) for one in again)
        if at_once and not self._random:
            found = variants(case.model, reference, case.inputs, self._expected)
            self._variants += islice(found, 1) if large else found
        for variant in self._variants:
            if variant.model is not None:
                _save(variant.model, folder / self._served_as(variant))

    def _served_as(self, variant: Variant) -> str:
        return self.case.name if variant.model is None else f"{self.case.name}-{variant.title}"

    async def result(self, client: Client) -> Result:
        """Everything that came of it."""
        case = self.case
        result = Result(case.name, case.kind, case.operator, "served", random=self._random)
        state, words = client.state(case.name)
        if self._problem is not None:
            result.outcome, result.words = "not run", self._problem
            if state is State.READY and case.inputs is not None:
                await self._ask_in_vain(client, result)
            return result
        if state is not State.READY:
            result.outcome, result.words = "not loaded", words
            return result
        if not self._random:
            result.deviates = self._deviation()
        for form in FORMS:
            result.forms[form.name] = await self._ask(client, form)
        before = await client.executions(case.name)
        for variant in self._variants:
            ran = await self._at_once(client, variant, result, before)
            before = before + ran if variant.model is None else before
        return result

    async def _ask_in_vain(self, client: Client, result: Result) -> None:
        """What ONNX Runtime doesn't answer is refused in words."""
        answer = await client.ask(BINARY, self.case.name, self.case.inputs or {}, {})
        if isinstance(answer, Refused) and answer.ours:
            result.forms[BINARY.name] = Found(FAULT, f"{answer.status}: {answer.words}")

    def _deviation(self) -> str:
        """How ONNX Runtime's answer differs from the suite's."""
        wanted = dict(zip(self._expected, self.case.expected, strict=False))
        known = {name: array for name, array in wanted.items() if array is not None}
        got = {name: self._expected[name] for name in known}
        return difference(got, known, self.case.rtol, self.case.atol) or ""

    async def _ask(self, client: Client, form: Form) -> Found:
        case = self.case
        answer = await client.ask(form, case.name, case.inputs or {}, self._expected)
        return self._judged(answer, self._expected, case.atol)

    def _judged(
        self, answer: dict[str, Array] | Refused | None, expected: Tensors, atol: float
    ) -> Found:
        if answer is None:
            return Found(INEXPRESSIBLE)
        if isinstance(answer, Refused):
            return Found(FAULT if answer.ours else REFUSED, f"{answer.status}: {answer.words}")
        if self._random:
            words = same_kind(answer, expected)
        else:
            words = difference(answer, expected, self.case.rtol, atol)
        return Found(WRONG, words) if words else Found(RIGHT)

    async def _at_once(self, client: Client, variant: Variant, result: Result, before: int) -> int:
        """All requests of a variant at the same time; the worst that came of one of them.

        ``before``: runs of the case's own model until now. Returns the runs that there were.
        """
        model = self._served_as(variant)
        state, words = client.state(model)
        if state is not State.READY:
            result.beside[variant.title] = Found(REFUSED, words)
            return 0
        answers = await asyncio.gather(
            *(client.ask(BINARY, model, question.request, {}) for question in variant.questions)
        )
        runs = await client.executions(model) - (before if variant.model is None else 0)
        result.merged |= runs < sum(not isinstance(answer, Refused) for answer in answers)
        found = [
            self._judged_beside(answer, question)
            for answer, question in zip(answers, variant.questions, strict=True)
        ]
        worst = max(found, key=lambda one: (RIGHT, REFUSED, FAULT, WRONG).index(one.verdict))
        alone = result.forms[BINARY.name].verdict
        if variant.title == WHOLE and worst.verdict == REFUSED and alone == RIGHT:
            worst = Found(WRONG, f"answered alone, refused beside others: {worst.words}")
        result.beside[variant.title] = worst
        return runs

    def _judged_beside(
        self, answer: dict[str, Array] | Refused | None, question: Question
    ) -> Found:
        expected = question.answer
        if isinstance(answer, Refused) and not answer.ours and not (expected and question.whole):
            return Found(RIGHT)
        if expected is None and not isinstance(answer, Refused):
            return Found(WRONG, "answered, though there is no answer to the request alone")
        tolerance = max(self.case.atol, rounding(expected or {}))
        return self._judged(answer, expected or {}, tolerance)


def _save(model: onnx.ModelProto, folder: Path, settings: str = _SMALL) -> None:
    place = folder / "1"
    place.mkdir(parents=True)
    onnx.save(model, place / "model.onnx")
    (folder / "model.toml").write_text(settings)
