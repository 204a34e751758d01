"""The words of the scheduler's explanation, settings and metrics are those of docs/glossary.md."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from inference_service.core.lifecycle import State
from inference_service.core.requests import InferenceRequest
from inference_service.core.scheduling.admission import OverloadState
from inference_service.core.scheduling.entries import DropReason, EntryState, Priority, Release
from inference_service.core.scheduling.policy import DEFAULTS, constants, constants_table
from inference_service.engine.awaiting import infer
from inference_service.engine.engine import LocalEngine
from inference_service.engine.worker import Worker
from inference_service.sections import BatchingSettings
from tests.conftest import ROOT
from tests.engine.puppets import Notebook, PuppetRunner, rows
from tests.engine.test_worker import REF, info, settle
from tests.virtual_time import run_virtual

TEXT = (ROOT / "docs" / "glossary.md").read_text()
TERMS = re.findall(r"^\| ([^|]+?) \| ", TEXT, re.MULTILINE)[2:]
WORDS = set(re.findall(r"[a-z]+", " ".join(TERMS).lower()))

PLAIN = frozenset(
    re.findall(
        "[a-z]+",
        "a above after allowed and answers available because by cores delay drops every followed "
        "growth instances knee known largest name new next of on per recent reason refused request "
        "requests rows running second seconds size sizes started table tables threads unit value "
        "version with without ms high normal low none all x held",
    )
)
"""Words of plain English and of measures, which need no entry."""

PRIVATE = re.compile(
    r"\b(patience|firm|standby|urgency|volume|echo|shelter|pressed|lingers|course|whoever|nobody"
    r"|somebody|anew|theta|newest first|promise[sd]?)\b", re.IGNORECASE,
)  # fmt: skip


def stems(name: str) -> Iterator[str]:
    return iter(re.findall(r"[a-z]+", name.lower()))


def is_known(word: str) -> bool:
    if word in WORDS or word in PLAIN:
        return True
    endings = ("s", "es", "ed", "d", "ing", "n", "ly")
    return any(word.endswith(e) and word[: -len(e)] in WORDS | PLAIN for e in endings)


def keys(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from keys(value)
    elif isinstance(document, list):
        for value in document:
            yield from keys(value)


def explanation() -> dict[str, Any]:
    async def told() -> dict[str, Any]:
        engine = LocalEngine(asyncio.get_running_loop().time)
        engine.report("m", 1, State.LOADING)
        engine.report("m", 1, State.WARMING)
        runner = PuppetRunner()
        engine.add(Worker(info(), runner, Notebook(), engine.dispatcher))
        asked = asyncio.ensure_future(infer(engine.resolve(REF), InferenceRequest(REF, rows(1))))
        await settle()
        runner.next().answer(1.2)
        await asked
        return dict(engine.explain(REF))

    found: list[dict[str, Any]] = []

    async def keep() -> None:
        found.append(await told())

    run_virtual(keep())
    return found[0]


def test_each_term_has_one_entry_in_the_order_of_the_alphabet() -> None:
    assert len(TERMS) == len(set(TERMS)) > 70
    assert [term.lower() for term in TERMS] == sorted(term.lower() for term in TERMS)


def test_the_explanation_speaks_in_terms_of_the_glossary() -> None:
    document = explanation()
    document.pop("policy")
    unknown = {word for key in keys(document) for word in stems(key) if not is_known(word)}
    assert not unknown


def test_the_settings_of_batching_do_too() -> None:
    unknown = {w for name in BatchingSettings.model_fields for w in stems(name) if not is_known(w)}
    assert not unknown - {"max", "default"}


@pytest.mark.parametrize("words", [Release, OverloadState, EntryState, DropReason, Priority])
def test_the_values_of_metrics_and_states_do_too(words: Any) -> None:
    unknown = {word for value in words for word in stems(value.value) if not is_known(word)}
    assert not unknown - {"free"}


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "src/inference_service/core/scheduling").rglob("*.py"),
     *(ROOT / "docs").glob("scheduler.md"), *(ROOT / "docs").glob("batching.md"),
     ROOT / "src/inference_service/engine/worker.py",
     ROOT / "src/inference_service/engine/dispatcher.py",
     ROOT / "src/inference_service/engine/explanation.py"],
    ids=lambda path: path.name,
)  # fmt: skip
def test_no_private_word_is_left(path: Any) -> None:
    assert PRIVATE.findall(path.read_text()) == []


def test_the_table_of_constants_in_the_docs_is_that_of_the_policy() -> None:
    assert constants_table(DEFAULTS) in (ROOT / "docs" / "scheduler.md").read_text()
    assert len({constant.name for constant in constants(DEFAULTS)}) == len(
        list(constants(DEFAULTS))
    )
