"""Analyses every ONNX file of a folder and of models/, and writes the table of the docs.

Usage: table.py FOLDER [--check] [--write]. FOLDER has one folder for each source of files.
``--check`` compares every proven file in numbers, one row alone and among others (minutes).
``--write`` replaces the table in docs/batch-safety.md. Run it with the project's environment and
the project's root on PYTHONPATH.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.runtime.graph_reader import read_graph
from inference_service.safety import analyse
from inference_service.safety.verdict import Status, Verdict

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "batch-safety.md"
START, END = "<!-- table of models -->\n", "<!-- end of the table -->\n"


@dataclass(frozen=True)
class Line:
    source: str
    name: str
    nodes: int
    verdict: Verdict
    seconds: float
    checked: str = ""


def files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Source, name, path: the shipped models first."""
    for path in sorted((ROOT / "models").glob("*/1/model.onnx")):
        yield "models of this repository", path.parts[-3], path
    for path in sorted(folder.glob("*/*.onnx")):
        yield path.parent.name, path.stem, path


def lines(folder: Path, check: bool) -> Iterator[Line]:
    for source, name, path in files(folder):
        try:
            graph = read_graph(path)
        except InvalidModel as error:
            print(f"{source}/{name}: {error}")
            continue
        seconds = float("inf")
        for _ in range(2):  # the better of two, in CPU time: other processes don't count
            began = time.process_time()
            verdict = analyse(graph)
            seconds = min(seconds, time.process_time() - began)
        checked = numbers(path, verdict) if check and verdict.status is Status.PROVEN else ""
        line = Line(source, name, len(graph.nodes), verdict, seconds, checked)
        print(f"{source}/{name}: {verdict.status} {reason(verdict)} {seconds:.3f} s {checked}")
        yield line


def numbers(path: Path, verdict: Verdict) -> str:
    """The outcome of the comparison in numbers."""
    from tests.safety.soundness import check

    try:
        report = check(path.read_bytes(), verdict, counts=(2, 5))
    except Exception as error:
        return f"not run ({str(error)[:80]})"
    if report.leaks:
        return f"LEAK {report.leaks[0]}"
    return f"{report.compared} rows equal" if report.compared else "no row ran"


def reason(verdict: Verdict) -> str:
    """What the table says beside the verdict."""
    if verdict.status is not Status.PROVEN:
        node = f"{verdict.node}: " if verdict.node else ""
        return f"{node}{verdict.reason}"
    notes = []
    axes = {name: axis for name, axis in verdict.inputs.items() if axis}
    if axes:
        notes.append("rows on axis " + ", ".join(f"{a} of {n}" for n, a in axes.items()))
    if verdict.equal:
        notes.append(f"equal {', '.join(sorted(verdict.equal))}")
    notes += [f"if {condition.text}" for condition in verdict.conditions]
    if verdict.fixed_rows is not None:
        notes.append(f"batch of {verdict.fixed_rows}")
    if verdict.max_rows is not None:
        notes.append(f"up to {verdict.max_rows} rows")
    if verdict.partial:
        notes.append("a bad value fails the run")
    return "; ".join(notes)


def rendered(found: list[Line]) -> str:
    text = ["| source | proven | mixing | unproven | single or frozen |", "|---|---|---|---|---|"]
    for source in dict.fromkeys(line.source for line in found):
        counts = Counter(line.verdict.status for line in found if line.source == source)
        rest = counts[Status.SINGLE] + counts[Status.FROZEN]
        text.append(
            f"| {source} | {counts[Status.PROVEN]} | {counts[Status.MIXING]} "
            f"| {counts[Status.UNPROVEN]} | {rest} |"
        )
    text += [
        "",
        "| source | file | nodes | verdict | remark | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for line in found:
        remark = reason(line.verdict).replace("|", "\\|")
        remark = remark if len(remark) < 160 else remark[:157] + "…"
        text.append(
            f"| {line.source} | {line.name} | {line.nodes} | {line.verdict.status} | {remark} "
            f"| {line.seconds:.3f} |"
        )
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    table = rendered(list(lines(options.folder, options.check)))
    if options.write:
        page = PAGE.read_text()
        before, _, rest = page.partition(START)
        PAGE.write_text(before + START + "\n" + table + "\n" + END + rest.partition(END)[2])
    else:
        print(table)


if __name__ == "__main__":
    main()
