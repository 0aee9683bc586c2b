"""What a person sees while a search runs: one live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas.job import GROUNDWORK
from nas.problem import Problem, show_seconds
from nas.record import TrialRecord
from nas.run import Run
from nas.units import COSTS, show_cost

FRONT_ROWS = 12


@dataclass(frozen=True, slots=True)
class View:
    """The state of a search at one moment. `running` maps a trial's number to what its evaluator said last."""

    name: str
    problem: Problem
    seconds_used: float
    gpu_seconds_used: float = 0.0
    counts: Mapping[str, int] = field(default_factory=Counter)
    counted: int = 0
    repaired: int = 0
    best: float | None = None
    front: Sequence[TrialRecord] = ()
    running: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    epochs: int | None = None
    note: str = ""


class Progress(Protocol):
    """Shows a search to somebody."""

    def update(self, view: View) -> None:
        """Show the present state."""
        ...

    def ended(self, view: View, trial: TrialRecord) -> None:
        """Show that a trial has ended."""
        ...

    def say(self, text: str) -> None:
        """Show one line that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def make_progress(wanted: bool | Progress = True, stream: TextIO | None = None) -> Progress:
    """Return what `wanted` says: False is silence, True a live panel on a terminal and plain lines elsewhere."""
    if not isinstance(wanted, bool):
        return wanted
    if not wanted:
        return Silent()
    console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
    return LivePanel(console) if console.is_terminal else PlainLines(console)


class Silent:
    """Shows nothing."""

    def update(self, view: View) -> None:
        """Do nothing."""

    def ended(self, view: View, trial: TrialRecord) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainLines:
    """One line per trained trial; refused and known ones are only counted."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def update(self, view: View) -> None:
        """Say nothing in between: a log is read afterwards."""

    def ended(self, view: View, trial: TrialRecord) -> None:
        """Print the trial, the counts and the budget."""
        if trial.counts or trial.outcome == "stopped":
            self.say(
                f"{trial_line(trial)} | {counts_line(view)} | {budget_line(view)} | front {len(view.front)}"
            )

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Do nothing."""


class LivePanel:
    """A panel that is drawn again several times a second; lines that stay scroll by above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._started = False

    def update(self, view: View) -> None:
        """Draw the panel."""
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(panel(view))

    def ended(self, view: View, trial: TrialRecord) -> None:  # noqa: ARG002
        """Draw the panel; the trial is in it."""
        self.update(view)

    def say(self, text: str) -> None:
        """Print a line above the panel."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Leave the last panel on the screen."""
        if self._started:
            self._live.stop()
            self._started = False


def panel(view: View) -> RenderableType:
    """Return the whole view: budget, counts, running trials, front."""
    best = "-" if view.best is None else f"{view.best:.4f}"
    head = Text(
        f"search {view.name}   {budget_line(view)}   best mIoU {best}", style="bold", no_wrap=True
    )
    rows: list[RenderableType] = [head, Text(counts_line(view), no_wrap=True)]
    rows += [Text(running_line(n, v, view.epochs), no_wrap=True) for n, v in view.running.items()]
    if view.front:
        rows.append(front_table(view))
    if view.note:
        rows.append(Text(view.note, style="yellow"))
    return Group(*rows)


def front_table(view: View) -> Table:
    """Return the current front, best mIoU first; long ones are cut in the middle of nowhere with their number."""
    names = [o.name for o in view.problem.objectives]
    extra = [n for n in view.problem.costs if n not in names]
    table = Table(
        title=f"front ({len(view.front)})", title_justify="left", box=None, pad_edge=False
    )
    for column in ("id", *names, *extra, "trial"):
        table.add_column(column, justify="left" if column == "id" else "right")
    for trial in view.front[:FRONT_ROWS]:
        cells = [show_value(n, trial.values.get(n, trial.costs.get(n))) for n in (*names, *extra)]
        table.add_row(trial.architecture_id, *cells, str(trial.number))
    if len(view.front) > FRONT_ROWS:
        table.add_row(f"and {len(view.front) - FRONT_ROWS} more")
    return table


def counts_line(view: View) -> str:
    """Return how many trials are done, running, failed, refused and known, and how many were repaired."""
    counts = Counter(view.counts)
    parts = [f"{counts['complete']} done", f"{len(view.running)} running"]
    words = {
        "failed": "failed",
        "stopped": "stopped",
        "refused": "refused by limits",
        "duplicate": "duplicates",
    }
    parts += [f"{counts[k]} {word}" for k, word in words.items() if counts[k] or k != "stopped"]
    return ", ".join([*parts, *([f"{view.repaired} repaired"] if view.repaired else [])])


def budget_line(view: View) -> str:
    """Return what is used of the budget and what is left."""
    budget, used = view.problem.budget, view.seconds_used
    parts: list[str] = []
    if budget.trials is not None:
        left = max(0, budget.trials - view.counted)
        parts.append(f"{view.counted} of {budget.trials} trials, {left} left")
    if budget.seconds is not None:
        rest = show_seconds(max(0.0, budget.seconds - used))
        parts.append(f"{show_seconds(used)} of {show_seconds(budget.seconds)}, {rest} left")
    if budget.gpu_seconds is not None:
        parts.append(
            f"{view.gpu_seconds_used / 3600:.3g} of {budget.gpu_seconds / 3600:g} GPU-hours"
        )
    return "; ".join(parts) or f"{show_seconds(used)}, no budget set"


def running_line(number: int, values: Mapping[str, Any], epochs: int | None) -> str:
    """Return one running trial with its epoch and what it last measured."""
    epoch, who = values.get("epoch"), "supernet" if number == GROUNDWORK else f"trial {number}"
    if epoch is None:
        return f"  {who}: starting"
    epochs = values.get("epochs", epochs)
    total = f" of {epochs}" if epochs else ""
    loss = f", loss {values['loss']:.4f}" if isinstance(values.get("loss"), float) else ""
    return f"  {who}: epoch {epoch}{total}{loss}"


def trial_line(trial: TrialRecord) -> str:
    """Return one ended trial: its values and costs, or why it has none."""
    costs = [f"{name} {show_cost(name, cost)}" for name, cost in trial.costs.items()]
    if trial.values:
        costs = [f"mIoU {trial.values['miou']:.4f}", *costs] if "miou" in trial.values else costs
        return f"trial {trial.number} {trial.architecture_id}: {', '.join(costs)}, {show_seconds(trial.seconds)}"
    return f"trial {trial.number} {trial.architecture_id}: {trial.reason or trial.outcome}"


def show_value(name: str, value: float | None) -> str:
    """Return a score with four digits, a cost with its unit prefix."""
    if value is None:
        return "-"
    return show_cost(name, value) if name in COSTS else f"{value:.4f}"


def closing_lines(run: Run, view: View) -> list[str]:
    """Return what a person reads when the search has ended: why, and what it leaves."""
    why = {
        "budget": "the budget is used",
        "interrupted": "interrupted",
        "stalled": "stopped",
        "failing": "stopped",
    }
    parts = [why[run.ended]] if run.ended in why else []
    if view.note and run.ended != "interrupted":
        parts.append(view.note)
    return [
        ": ".join(parts),
        f"{counts_line(view)}; {budget_line(view)}; front of {len(view.front)}",
    ]
