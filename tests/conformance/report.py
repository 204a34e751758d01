"""The page of the documentation: tables of what came of the suite."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

from tests.conformance.families import ORDER, family
from tests.conformance.forms import FORMS
from tests.conformance.trial import FAULT, INEXPRESSIBLE, REFUSED, RIGHT, WRONG, Found, Result
from tests.conformance.variants import TITLES

_INTRODUCTION = """\
# Conformance: the ONNX project's own tests, served

The `onnx` package holds the tests by which the ONNX project checks runtimes: one model or more for
each operator, with inputs and the outputs that are right. `scripts/conformance` serves all of them,
as `inference-service serve` would, sends each model's inputs by every protocol, and compares the
answers with the suite's, by the suite's own tolerances. This page is what it wrote:

    scripts/conformance --out docs/conformance.md

It takes some minutes, resumes an interrupted run, and ends with status 1 where an answer is
wrong or a 5xx. `tests/conformance/test_sample.py` is the part of it that runs with the other tests.

Made with {versions}.
"""

_SHOWN = 3  # names of tests with the same fault
_VERDICTS = (RIGHT, REFUSED, INEXPRESSIBLE, WRONG, FAULT)
_HEADS = {
    RIGHT: "right", REFUSED: "refused (4xx)", INEXPRESSIBLE: "can't be expressed",
    WRONG: "**wrong**", FAULT: "**5xx**",
}  # fmt: skip
_OUTCOMES = {
    "served": "served", "not loaded": "refused by name when loading",
    "not run": "ONNX Runtime can't run it", "died": "**crashed or hung**",
}  # fmt: skip


def page(results: Sequence[Result]) -> str:
    """The whole page, in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnx", "onnxruntime"))
    parts = [
        _INTRODUCTION.format(versions=versions),
        _models(results),
        _protocols(results),
        _beside(results),
        _families(results),
        _refusals(results),
        _references(results),
        _failures(results),
    ]
    return "\n".join(part for part in parts if part)


def summary(results: Sequence[Result]) -> str:
    """A few lines for the terminal."""
    outcomes = Counter(result.outcome for result in results)
    forms = Counter(found.verdict for result in results for found in result.forms.values())
    beside = Counter(found.verdict for result in results for found in result.beside.values())
    lines = [
        f"models    {', '.join(f'{outcomes[key]} {key}' for key in _OUTCOMES)}",
        f"requests  {', '.join(f'{forms[key]} {key}' for key in _VERDICTS)}",
        f"at once   {', '.join(f'{beside[key]} {key}' for key in _VERDICTS)}; "
        f"{sum(result.merged for result in results)} models merged requests",
    ]
    return "\n".join([*lines, *_faults(results)])


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def _counts(found: Iterable[Found], verdicts: Sequence[str]) -> list[int]:
    counted = Counter(one.verdict for one in found)
    return [counted[verdict] for verdict in verdicts]


def _models(results: Sequence[Result]) -> str:
    kinds = dict.fromkeys(result.kind for result in results)
    rows: list[Sequence[object]] = []
    for kind in (*kinds, "all"):
        some = [result for result in results if kind in {result.kind, "all"}]
        counted = Counter(result.outcome for result in some)
        rows.append([kind, len(some), *(counted[key] for key in _OUTCOMES)])
    return "## Models\n\n" + _table(["kind", "tests", *_OUTCOMES.values()], rows)


def _protocols(results: Sequence[Result]) -> str:
    rows = [
        [
            form.name,
            *_counts((r.forms[form.name] for r in results if form.name in r.forms), _VERDICTS),
        ]
        for form in FORMS
    ]
    return (
        "## Protocols\n\nOne request for each served model. A request can't be expressed where the "
        "form has no place for it: rows\nof inputs with unequal first axes, float16 in typed "
        "contents of gRPC, nested lists of rows that aren't there.\n\n"
        + _table(["form", *(_HEADS[verdict] for verdict in _VERDICTS)], rows)
    )


def _beside(results: Sequence[Result]) -> str:
    verdicts = (RIGHT, REFUSED, WRONG, FAULT)
    heads = {**_HEADS, RIGHT: "equal", WRONG: "**different**"}
    rows = [
        [words, *_counts((r.beside[title] for r in results if title in r.beside), verdicts)]
        for title, words in TITLES.items()
    ]
    merged = sum(result.merged for result in results)
    return (
        "## Two clients at once\n\nThe same requests, and others of the same model with other "
        "values, at the same time: each answer is held\nagainst ONNX Runtime's answer to that "
        "request alone. The suite's graphs have fixed shapes, so each is also\nserved with an axis "
        "of free length, where requests of unequal numbers of rows may share a run. A request that\n"
        "ONNX Runtime refuses is refused, or each of its rows is answered as if it were sent alone; "
        "*refused* counts\nthe models of which a request was refused that has an answer. The "
        f"service merged requests for {merged} models.\n\n"
        + _table(["requests", *(heads[verdict] for verdict in verdicts)], rows)
    )


def _families(results: Sequence[Result]) -> str:
    rows: list[Sequence[object]] = []
    for name in ORDER:
        some = [result for result in results if family(result.operator) == name]
        if not some:
            continue
        counted = Counter(result.outcome for result in some)
        answers = [_right(some, form.name) for form in FORMS]
        bad = sum(len(result.faults) + (result.outcome == "died") for result in some)
        outcomes = [counted["not run"], counted["not loaded"], counted["served"]]
        rows.append([name, len(some), *outcomes, *answers, bad])
    head = ["operators", "tests", "not run", "not loaded", "served"]
    return (
        "## Operators\n\nRight answers by form; fewer than there are served models where the form "
        "can't express the request or the\nanswer. *Faults* are wrong answers, differences beside "
        "other clients, and 5xx.\n\n"
        + _table([*head, *(form.name for form in FORMS), "faults"], rows)
    )


def _right(results: Sequence[Result], form: str) -> int:
    return sum(form in r.forms and r.forms[form].verdict == RIGHT for r in results)


def _refusals(results: Sequence[Result]) -> str:
    loading = [(r.name, _plainly(r.words)) for r in results if r.outcome == "not loaded"]
    asking = [
        (r.name, f"{name}: {_plainly(found.words)}")
        for r in results
        for name, found in r.forms.items()
        if found.verdict == REFUSED
    ]
    parts = ["## Refusals\n\nWhen loading, though ONNX Runtime alone runs the model:\n"]
    parts.append(_reasons(loading))
    if asking:
        parts += ["\nOf requests:\n", _reasons(asking)]
    return "\n".join(parts)


def _reasons(found: Sequence[tuple[str, str]]) -> str:
    counted = Counter(words for _, words in found)
    first = {words: name for name, words in reversed(found)}
    rows = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    head = ["reason", "tests", "for example"]
    return _table(head, [[words, count, f"`{first[words]}`"] for words, count in rows])


def _plainly(words: str) -> str:
    """Without what differs from model to model."""
    words = re.sub(r"'[^']*'", "…", words)
    words = re.sub(r"\[[^\]]*\]", "[…]", words.split("; ")[0])
    words = re.sub(r"/\S*/(\S+)", r"\1", words)
    words = re.sub(r"test_\w+|(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])", "…", words)
    return words.replace("|", "/")[:160].strip()


def _references(results: Sequence[Result]) -> str:
    def names(chosen: Callable[[Result], object]) -> str:
        return ", ".join(f"`{result.name}`" for result in results if chosen(result)) or "none"

    unrun = [(r.name, _unrun(r.words)) for r in results if r.outcome == "not run"]
    return (
        "## ONNX Runtime\n\nWhere ONNX Runtime's own answer differs from the suite's, the service "
        f"answers as ONNX Runtime does:\n{names(lambda r: r.deviates)}.\n\n"
        "Answers that are drawn at random are compared by shape and type:\n"
        f"{names(lambda r: r.random)}.\n\n"
        "What ONNX Runtime alone can't load or run:\n\n" + _reasons(unrun)
    )


_UNRUN = (
    (r"Could not find an implementation for (\w+)", "no kernel for {}, or not for this type"),
    (r"Failed to find kernel .*type \((\w+)\)", "no kernel for {}, or not for this type"),
    (r"Failed to find kernel for (\w+)", "no kernel for {}, or not for this type"),
    (r"(\w+)\(-?\d+\) is not a registered", "no operator {}"),
    (r"(locale)", "StringNormalizer: the {} isn't installed"),
    (r"running (\w+) node", "{} refuses the inputs"),
    (r"(Batchwise) recurrent", "{} recurrence (layout = 1)"),
)


def _unrun(words: str) -> str:
    """Why ONNX Runtime doesn't run a model, in short."""
    for pattern, reason in _UNRUN:
        found = re.search(pattern, words)
        if found is not None:
            return reason.format(found[1])
    return _plainly(words)


def _faults(results: Sequence[Result]) -> list[str]:
    """One line for each kind of fault, the most frequent first."""
    found = [
        (result.name, f"{name}: {one.verdict}: {_plainly(one.words)}")
        for result in results
        for name, one in result.faults
    ] + [(r.name, f"died: {r.words}") for r in results if r.outcome == "died"]
    names: dict[str, list[str]] = {}
    for name, words in found:
        names.setdefault(words, []).append(name)
    kinds = sorted(names.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"{len(some)} x {words}: {_some(some)}" for words, some in kinds]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown + (", …" if len(names) > _SHOWN else "")


def _failures(results: Sequence[Result]) -> str:
    lines = "\n".join(f"- {line}" for line in _faults(results))
    return f"## Faults\n\n{lines or 'None.'}\n"
