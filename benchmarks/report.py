"""Tables and plots of what ``run.py`` has measured, into docs/benchmarks."""

import argparse
import json
import re
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
OURS = ("ours", "ours, binary")
_FAR = 20  # a ceiling that much above everybody tells nothing
_FAILED = 0.02  # of our rate: the other one answers with errors
Record = dict[str, Any]


class Results:
    """The lines of a results file, by what they are."""

    def __init__(self, path: Path) -> None:
        self.kinds: dict[str, list[Record]] = defaultdict(list)
        for line in path.read_text().splitlines():
            record = json.loads(line)
            self.kinds[record["kind"]].append(record)
        self.ceilings = {one["workload"]: one for one in self.kinds["ceiling"]}

    def closed(self, workload: str) -> dict[str, dict[int, list[Record]]]:
        """Closed loops: server, clients, repeats."""
        found: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for one in self.kinds["closed"]:
            if one["workload"] == workload:
                found[one["server"]][one["clients"]].append(one)
        return found


def median(records: Iterable[Record], key: str) -> float:
    """Of the repeats."""
    return statistics.median(record[key] for record in records)


def number(value: float) -> str:
    """Three digits, or whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(records: list[Record], key: str) -> str:
    """The median, and the range where there are repeats."""
    values = [record[key] for record in records]
    text = number(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({number(min(values))}-{number(max(values))})"


def workload_table(results: Results, workload: str) -> list[str]:
    """Every server at every number of clients."""
    top = results.ceilings[workload]
    servers = results.closed(workload)
    if not servers:
        return []
    counts = sorted({clients for runs in servers.values() for clients in runs})
    best = {name: max(median(runs[n], "rate") for n in runs) for name, runs in servers.items()}
    near = top["rate"] < _FAR * max(best.values())
    layout = f"{top['instances']} x {top['threads']} threads, batches of {top['batch']}"
    lines = [
        f"## {top['title']}",
        "",
        f"ONNX Runtime alone: **{number(top['rate'])} rows/s** ({layout}); a lone row takes "
        f"{top['alone']:.3g} ms.",
        "",
        "| server | "
        + " | ".join(f"{_clients(n)}: req/s | p50 / p99 ms" for n in counts)
        + (" | of the ceiling" if near else "")
        + " | ours is |",
        "|---|" + "---|" * (2 * len(counts) + 1 + near),
    ]
    own = next((servers[name] for name in OURS if name in servers), None)
    for name in sorted(servers, key=lambda one: -best[one]):
        runs = servers[name]
        cells = []
        for n in counts:
            if n not in runs:
                cells += ["", ""]
                continue
            errors = sum(record["errors"] for record in runs[n])
            failed = f", {errors} errors" if errors else ""
            cells.append(spread(runs[n], "rate") + failed)
            cells.append(f"{number(median(runs[n], 'p50'))} / {number(median(runs[n], 'p99'))}")
        share = [f"{best[name] / top['rate']:.0%}"] if near else []
        ratio = ""
        if own is not None and name not in OURS:
            ratio = ", ".join(
                _times(median(own[n], "rate"), median(runs[n], "rate"))
                for n in counts
                if n in runs and n in own
            )
        bold = "**" if name in OURS else ""
        lines.append(f"| {bold}{name}{bold} | " + " | ".join([*cells, *share, ratio]) + " |")
    for one in results.kinds["failed"]:
        if one["workload"] == workload:
            lines += ["", f"{one['server']} did not take part: `{one['error'][:160]}`"]
    return [*lines, ""]


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _times(ours: float, other: float) -> str:
    return "all" if other < _FAILED * ours else f"{ours / other:.2g}x"


def memory_table(results: Results) -> list[str]:
    """Start and memory."""
    servers = defaultdict(list)
    for one in results.kinds["closed"]:
        if one["workload"] == "mlp":
            servers[one["server"]].append(one)
    if not servers:
        return []
    lines = [
        "## Start and memory (the 100 MB MLP)",
        "",
        "Memory is the resident memory of all processes; pages that they share count once for each.",
        "",
        "| server | first answer after s | idle MiB | loaded MiB |",
        "|---|---|---|---|",
    ]
    for name, records in sorted(servers.items(), key=lambda item: median(item[1], "idle_mib")):
        loaded = max(record["loaded_mib"] for record in records)
        lines.append(
            f"| {name} | {median(records, 'seconds_to_answer'):.1f} | "
            f"{median(records, 'idle_mib'):.0f} | {loaded:.0f} |"
        )
    return [*lines, ""]


def open_tables(results: Results) -> list[str]:
    """Poisson arrivals, and twice too many of them."""
    lines: list[str] = []
    by_workload: dict[str, dict[str, dict[float, Record]]] = defaultdict(lambda: defaultdict(dict))
    for one in results.kinds["open"]:
        by_workload[one["workload"]][one["server"]][one["share"]] = one
    for workload, servers in by_workload.items():
        shares = sorted({share for runs in servers.values() for share in runs})
        offered = next(iter(servers.values()))
        lines += [
            f"### {results.ceilings[workload]['title']}: p50 / p99 ms at Poisson arrivals",
            "",
            "| server | "
            + " | ".join(f"{share:.0%}: {number(offered[share]['offered'])}/s" for share in shares)
            + " |",
            "|---|" + "---|" * len(shares),
        ]
        for name, runs in servers.items():
            cells = []
            for share in shares:
                one = runs.get(share)
                cell = "" if one is None else f"{number(one['p50'])} / {number(one['p99'])}"
                if one is not None and one["errors"]:
                    cell += f", {one['errors'] / one['sent']:.0%} errors"
                cells.append(cell)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    if results.kinds["overload"]:
        lines += [
            "### Twice what ours can do, answers wanted within 250 ms",
            "",
            "| workload | server | offered /s | in time /s | of our capacity |",
            "|---|---|---|---|---|",
        ]
        for one in results.kinds["overload"]:
            lines.append(
                f"| {one['workload']} | {one['server']} | {number(one['offered'])} | "
                f"{number(one['goodput'])} | {one['goodput'] / one['capacity']:.0%} |"
            )
        lines.append("")
    if lines:
        lines = [
            "## Open loop",
            "",
            "Arrivals at random times (Poisson), at shares of the most that ours answers in a closed "
            "loop. Latency counts from the time at which a request should have been sent. The client "
            "is written in Python and shares the two cores; its timers add up to a millisecond.",
            "",
            *lines,
        ]
    return lines


def plot_closed(results: Results, folder: Path) -> list[str]:
    """Throughput against p99, a line per server."""
    names = [name for name in results.ceilings if results.closed(name)]
    if not names:
        return []
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        for server, runs in results.closed(name).items():
            if server == "raw ASGI":
                continue
            points = [(median(runs[n], "p99"), median(runs[n], "rate")) for n in sorted(runs)]
            own = server in OURS
            axis.plot(
                *zip(*points, strict=True), marker="o", label=server, linewidth=3 if own else 1,
                color="black" if own else None, zorder=3 if own else 2,
            )  # fmt: skip
        axis.axhline(results.ceilings[name]["rate"], color="grey", linestyle=":", linewidth=1)
        axis.set(xscale="log", title=results.ceilings[name]["title"], xlabel="p99, ms")
        axis.set_ylabel("requests per second")
        if name in {"tiny", "trees"}:  # the ceiling is far out of sight
            axis.set_ylim(0, 1.1 * max(line.get_ydata().max() for line in axis.lines[:-1]))
        axis.legend(fontsize=7)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    return [_save(figure, folder / "throughput.svg", "Throughput against p99, closed loop")]


def plot_open(results: Results, folder: Path) -> list[str]:
    """Latency against load, and goodput in an overload."""
    names = list(dict.fromkeys(one["workload"] for one in results.kinds["open"]))
    if not names:
        return []
    figure, axes = plt.subplots(1, len(names) + 1, figsize=(5 * (len(names) + 1), 4), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        servers = defaultdict(list)
        for one in results.kinds["open"]:
            if one["workload"] == name:
                servers[one["server"]].append((one["offered"], one["p99"]))
        for server, points in servers.items():
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=server)
        axis.set(yscale="log", title=name, xlabel="offered requests per second", ylabel="p99, ms")
        axis.legend(fontsize=7)
    bars = [
        (f"{one['workload']}\n{one['server']}", one["goodput"] / one["capacity"])
        for one in results.kinds["overload"]
    ]
    if bars:
        axes.flat[-1].barh(*zip(*bars, strict=True))
        axes.flat[-1].set(title="twice too much: in time, of our capacity", xlim=(0, 1.1))
        axes.flat[-1].tick_params(labelsize=7)
    return [_save(figure, folder / "open-loop.svg", "Latency against load; goodput in an overload")]


def plot_rows(results: Results, folder: Path) -> list[str]:
    """How large our batches get."""
    figure, axis = plt.subplots(figsize=(6, 4))
    for name in results.ceilings:
        for server in OURS:
            runs = results.closed(name).get(server)
            if runs:
                points = [(n, median(runs[n], "rows_per_run")) for n in sorted(runs)]
                axis.plot(*zip(*points, strict=True), marker="o", label=name)
    axis.plot([1, 128], [1, 128], color="grey", linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="clients", ylabel="rows in a run")
    axis.set_title("Rows in a run, nothing configured")
    axis.legend(fontsize=7)
    return [_save(figure, folder / "rows.svg", "Rows in a run")]


def _save(figure: Any, path: Path, title: str) -> str:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))
    return f"![{title}]({path.name})"


def versions() -> str:
    """Of the peers, as scripts/install-peers pins them."""
    text = (ROOT / "scripts" / "install-peers").read_text()
    found = re.findall(r"^\s+\[\w+\]=\"([^\"]+)\"", text, re.MULTILINE)
    return ", ".join(one.replace("==", " ") for one in found)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", default=str(ROOT / ".benchmarks" / "results.jsonl"))
    parser.add_argument("--out", default=str(ROOT / "docs" / "benchmarks"))
    arguments = parser.parse_args()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(Path(arguments.results))
    machine = results.kinds["machine"][0]
    lines = [
        "# Benchmarks",
        "",
        "Written by `scripts/bench report` from [results.jsonl](results.jsonl), which `scripts/bench` "
        "has measured, each kind of work in one run. Only ratios mean something elsewhere: clients and server share "
        f"{machine['cores']} cores ({machine['cpu']}), which other guests of the machine slow down at "
        f"times. Python {machine['python']}, ONNX Runtime {machine['onnxruntime']}.",
        "",
        "Every server runs the same ONNX file with the same session options, batches up to 64 rows "
        "where it can batch, and answers one row per request; each first answer is compared with ONNX "
        "Runtime's. Ours runs with its defaults: nothing is configured. Medians of the repeats, their "
        "range in parentheses; *of the ceiling* is the best rate against ONNX Runtime alone, *ours is* "
        "our rate against the server's at each number of clients (`all`: it answers with errors).",
        "",
        f"Peers (`scripts/install-peers`): {versions()}. How each is set up: "
        "[benchmarks/peers](../../benchmarks/peers).",
        "",
        *plot_closed(results, folder),
        "",
    ]
    for workload in results.ceilings:
        lines += workload_table(results, workload)
    lines += memory_table(results)
    lines += open_tables(results)
    lines += [*plot_open(results, folder), "", *plot_rows(results, folder)]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")
    if Path(arguments.results).resolve() != (folder / "results.jsonl").resolve():
        shutil.copy(arguments.results, folder / "results.jsonl")


if __name__ == "__main__":
    main()
