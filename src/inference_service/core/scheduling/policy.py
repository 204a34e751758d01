# ruff: noqa: E501 - one constant a line, with its reason, reads as the table that it is
"""Every option and every constant of the scheduler, each with its unit and its reason.

docs/scheduler.md and ``GET /v2/models/{model}/scheduler`` show what stands here (`constants`).
Figures in the reasons are from simulation; "flat" means that half and double change little.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple


def _constant(value: Any, unit: str, reason: str) -> Any:
    return field(default=value, metadata={"unit": unit, "reason": reason}, kw_only=True)


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """The options of one model, then the constants. Rows are the unit of all sizes.

    ``default_deadline`` (seconds) is for requests that bring none; unset: derived from the costs.
    ``max_deadline`` caps it. ``hold`` allows a free slot to wait where that has been shown to pay.
    ``sizes`` are the only batch sizes that the model can run; smaller batches are padded up.
    ``max_growth`` is the size up to which ``max_batch_size`` may grow by what runs show.
    """

    max_batch_size: int
    max_queue_rows: int | None = None
    max_queue_delay: float = 0.0
    default_deadline: float | None = None
    max_deadline: float = math.inf
    hold: bool = True
    sizes: tuple[int, ...] = ()
    max_growth: int = 0

    # fmt: off
    # Costs
    learning_rate: float = _constant(0.1, "share", "the least weight of a new run: 1, 1/2, 1/3 ... 1/10")
    largest_step: float = _constant(2.0, "x predicted", "a run counts for no more: a stall is no cost")
    new_size_error: float = _constant(0.1, "share", "a size between two known ones is added from here: without -8 % goodput, -24 % on stepped tables")
    speed_window: int = _constant(9, "runs", "the median ratio of these shows a slow spell: up after 5 runs, down after 5")
    speed_band: float = _constant(1.5, "x", "within it (and 1 over it) the machine runs at its usual speed")
    lasting: int = _constant(256, "runs", "a spell that lasts longer is the new usual speed")
    margin_window: int = _constant(64, "runs", "the safety margin is a quantile of these ratios")
    margin_quantile: float = _constant(0.9, "share", "p80 the same, p95 -0.8 %, p99 -5 %, a constant 1.25 up to -12 %")
    largest_margin: float = _constant(1.5, "x", "2 % of runs that take 4 x must not cost 35 % of the goodput")
    runs_believed: int = _constant(2, "runs", "a size is avoided only after it was slow twice itself")
    retry_every: int = _constant(64, "decisions", "a size that is avoided gets a new chance")
    # Batches
    knee: float = _constant(0.97, "share", "of the best rows per second: a larger batch is not worth its latency; flat")
    least_max_batch: int = _constant(32, "rows", "a derived max_batch_size is no smaller: a busy moment at the start made it 2")
    long_run: float = _constant(0.25, "s", "unless a run of that size takes longer; flat")
    split_gain: float = _constant(0.9, "share", "two runs that together take less are better than one; .97 is the winner's curse: +15 % latency with noise")
    full_gain: float = _constant(1.15, "x", "a smaller full size is used if it runs more rows per second by this factor")
    growth_gain: float = _constant(1.03, "x", "more rows per second at twice the size: max_batch_size grows")
    probe_every: int = _constant(8, "full runs", "between two trials of twice the max_batch_size, until seen twice")
    probe_seldom: int = _constant(32, "full runs", "afterwards")
    length_ratio: float = _constant(1.2, "x", "between two padded lengths: the grid adds less than 20 %")
    padding_waste: float = _constant(0.1, "share", "less padding than this is not worth a closer look")
    # The fair queue
    weights: tuple[float, ...] = _constant((16.0, 4.0, 1.0), "share", "of high, normal, low in the fair queue; flat")
    large_weight: float = _constant(0.5, "share", "of a request larger than a batch: 1/4 loses 1 of 3 at 90 % load, 1/8 two of 3")
    known_keys: int = _constant(1024, "keys", "a key seen among the last of these has a share of its own; new ones count for the client")
    # Admission
    wait_bounds: tuple[float, ...] = _constant((3 / 8, 1 / 4, 1 / 8), "default deadlines", "a longer wait is refused to high, normal, low: it keeps high >= low, order alone does not")
    least_deadline: float = _constant(2.0, "s", "of the default deadline: a pause of the machine is no failure")
    deadline_runs: float = _constant(10.0, "S(max)", "of the default deadline")
    deadline_single_runs: float = _constant(50.0, "S(1)", "of the default deadline")
    longest_retry: float = _constant(15.0, "s", "of Retry-After: clients that were told before come first, but may be gone")
    # Deadlines
    look_ahead: int = _constant(4, "runs", "all in time in these: the nearest deadline goes first; 1 is ruinous (-23 %), 8 the same")
    safe_end: float = _constant(1.15, "S(batch)", "a deadline after it is surely in time: at 1 tight deadlines are lost to noise, 1.5 costs 1 to 2 %")
    put_off: float = _constant(1 / 8, "default deadlines", "best effort waits so long for a full batch beside deadlines; 1/16: -5 %")
    # Hold
    hold_limits: tuple[float, ...] = _constant((0.75, 0.375, 0.125), "S(batch)", "the challengers, in turn; and 0; from 1/2 down, think times that vary by 30 % cost up to 19 %")
    followed: float = _constant(0.5, "share", "of answers that a request follows: the sign of a closed loop")
    nearly_all: float = _constant(0.85, "share", "of the expected clients; once it has come, all are expected")
    steady: float = _constant(0.85, "share", "mean over most requests in the system: in a closed loop near 1")
    unsteady: float = _constant(0.7, "share", "below it a hold or a trial ends: clients that think long now and then stay above")
    together: float = _constant(0.75, "S(batch)", "the requests that follow answers come within it; without: open loads +28 %")
    overdue: float = _constant(1.5, "x", "the usual time to the last one: no more come")
    grace: float = _constant(5e-4, "s", "added to it, for the event loop")
    merging_gain: float = _constant(0.2, "S(1)", "what one run of two must save against two runs of one")
    smoothing: float = _constant(0.2, "share", "of the newest answer in the averages of a hold; flat")
    evidence: int = _constant(256, "requests", "before the signs are looked at")
    trial_gain: float = _constant(1.02, "x", "more answers, or sooner ones, for a challenger to win")
    trial_p99: float = _constant(1.1, "x", "the p99 that a challenger may have")
    trial_loss: float = _constant(1.1, "x", "fewer answers and so much later ones in a pair of epochs: the challenger has lost")
    trial_epochs: int = _constant(3, "epochs", "of the challenger and of the limit in use, in turns")
    epoch_requests: int = _constant(64, "requests", "of an epoch at least; four rounds of all clients")
    longest_epoch: float = _constant(2.0, "s", "a trial that lasts longer is lost")
    first_pause: float = _constant(1.0, "s", "after all challengers have lost; doubles; flat")
    longest_pause: float = _constant(60.0, "s", "its end")
    more_clients: float = _constant(1.1, "x", "more requests in the system than clients: another load, the hold ends")
    other_clients: float = _constant(1.5, "x", "a change in the number of clients by this factor is looked at at once")
    # Layouts
    layout_gain: float = _constant(1.1, "x", "a layout must drain the queue so much sooner")
    layout_persistence: int = _constant(16, "dispatches", "in a row before the layout changes")

    # fmt: on
    def __post_init__(self) -> None:
        bounds = (self.max_batch_size, self.max_queue_rows or 1)
        if min(bounds) < 1 or self.max_queue_delay < 0:
            raise ValueError(f"a batch policy needs positive bounds: {self.max_batch_size=}, "
                             f"{self.max_queue_rows=}, {self.max_queue_delay=}")  # fmt: skip
        if self.sizes and (min(self.sizes) < 1 or list(self.sizes) != sorted(set(self.sizes))):
            raise ValueError(f"the allowed batch sizes must rise: {self.sizes}")

    def padded(self, rows: int) -> int:
        """The size at which a batch of ``rows`` rows is run."""
        return next((size for size in self.sizes if size >= rows), rows)


DEFAULTS = BatchPolicy(1)
"""For what is asked outside of a model's scheduler."""


class Constant(NamedTuple):
    """One constant for people."""

    name: str
    value: Any
    unit: str
    reason: str


def constants(policy: BatchPolicy) -> Iterator[Constant]:
    """All constants in the order of their rooms."""
    for known in fields(policy):
        if known.metadata:
            value = getattr(policy, known.name)
            yield Constant(known.name, value, known.metadata["unit"], known.metadata["reason"])


def constants_table(policy: BatchPolicy = DEFAULTS) -> str:
    """All constants as the table in markdown that docs/scheduler.md shows."""
    lines = ["| constant | value | unit | reason |", "|---|---|---|---|"]
    for name, value, unit, reason in constants(policy):
        values = value if isinstance(value, tuple) else (value,)
        lines.append(f"| `{name}` | {', '.join(f'{v:g}' for v in values)} | {unit} | {reason} |")
    return "\n".join(lines)
