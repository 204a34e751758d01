"""Checks what the analysis proves, in numbers, over much material; the sample of CI and the long run.

    PYTHONPATH=src:. python -m tests.safety.crosscheck nodes [--most N]   all of ONNX's node tests
    PYTHONPATH=src:. python -m tests.safety.crosscheck fuzz --graphs N --seed S

Faults are printed; the exit status says whether there were any. Models of faults are written to
``--keep FOLDER``.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from inference_service.core.errors import InvalidModel
from inference_service.runtime.graph_reader import read_graph
from inference_service.safety import Status, Verdict, analyse
from tests.safety import blame, fuzz
from tests.safety.node_tests import Case, cases, variants
from tests.safety.soundness import check


@dataclass
class Summary:
    """Counts by verdict, and what was found: leaks of proven ones, wrong blames of mixing ones."""

    verdicts: Counter[Status] = field(default_factory=Counter)
    blames: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    not_run: int = 0
    refused: list[str] = field(default_factory=list)
    faults: list[tuple[str, onnx.ModelProto]] = field(default_factory=list)
    wrong_blames: list[tuple[str, onnx.ModelProto]] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {status}" for status, number in self.verdicts.items())
        blames = ", ".join(f"{number} {word}" for word, number in self.blames.items())
        return (
            f"{counts}; of the proven ones {self.compared} compared, {self.not_run} could not be "
            f"run, {len(self.refused)} refuse several rows, {len(self.faults)} false; "
            f"blames: {blames}"
        )


def checked(material: Iterable[Case], blames: bool = False) -> Summary:
    """Analyse every case; check every proof, and with ``blames`` every blame."""
    summary = Summary()
    for case in material:
        try:
            verdict = analyse(read_graph(case.model.SerializeToString()))
        except InvalidModel:
            continue
        summary.verdicts[verdict.status] += 1
        if verdict.status is Status.PROVEN:
            _prove(case, verdict, summary)
        elif verdict.status is Status.MIXING and blames:
            found = blame.judged(case.model, verdict, case.examples)
            summary.blames[found] += 1
            if found == blame.WRONG:
                text = f"{case}: {verdict.node} ({verdict.reason})"
                summary.wrong_blames.append((text, case.model))
    return summary


def _prove(case: Case, verdict: Verdict, summary: Summary) -> None:
    try:
        report = check(case.model, verdict, examples=case.examples, counts=(2, 3, 7))
    except Exception as error:
        if "ONNXRuntimeError" not in str(error):
            raise
        summary.not_run += 1
        return
    summary.compared += bool(report.compared)
    summary.not_run += not report.compared
    if report.leaks:
        text = f"{case}: rows {dict(verdict.inputs)}, {report.leaks[0]}"
        summary.faults.append((text, case.model))
    elif report.refused:
        summary.refused.append(f"{case}: {report.refused[0]}")


def node_material(most: int, step: int = 1, start: int = 0) -> Iterator[Case]:
    """Variants of every ``step``-th node test."""
    for case in cases()[start::step]:
        yield from variants(case, most)


def fuzz_material(seeds: Iterable[int], steps: int = 8) -> Iterator[Case]:
    """Random graphs; every fourth has a fixed batch of 3."""
    for seed in seeds:
        model = fuzz.graph(seed, steps)
        if seed % 4 == 3:
            for value in model.graph.input:
                for dim in value.type.tensor_type.shape.dim:
                    if dim.dim_param:
                        dim.dim_value = 3
        yield Case(f"fuzz {seed}", model, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("nodes", "fuzz"))
    parser.add_argument("--most", type=int, default=40, help="variants of a node test and length")
    parser.add_argument("--step", type=int, default=1, help="every how many-th node test")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    if options.kind == "nodes":
        material = node_material(options.most, options.step, options.start)
    else:
        material = fuzz_material(range(options.seed, options.seed + options.graphs))
    summary = checked(material, blames=True)
    for number, (text, model) in enumerate(summary.faults + summary.wrong_blames):
        print("FALSE" if number < len(summary.faults) else "WRONG BLAME", text)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            onnx.save(model, options.keep / f"{options.kind}-{number}.onnx")
    for line in summary.refused[:20]:
        print("refuses several rows:", line)
    print(f"{summary} ({time.monotonic() - began:.0f} s)")
    sys.exit(bool(summary.faults))


if __name__ == "__main__":
    main()
