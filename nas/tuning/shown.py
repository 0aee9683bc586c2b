"""What a person sees while a tuning runs: one live panel on a terminal, a line per training elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nas.problem import show_seconds
from nas.tuning.ledger import DEFAULT, Ledger, Track, Training
from nas.tuning.vary import show_values

REDRAWN = 4


class Shown:
    """Shows trainings as the ledger has them; `wanted` False shows nothing."""

    def __init__(self, name: str, ledger: Ledger, epochs: int, *, wanted: bool = True) -> None:
        self._name, self._ledger, self._epochs = name, ledger, epochs
        self._budget: float | None = None
        self._trainings: Mapping[int, Training] = {}
        stream: TextIO = sys.stderr
        self._console = Console(file=stream, highlight=False, soft_wrap=True, quiet=not wanted)
        self._live: Live | None = None
        self._running: Sequence[int] = ()

    def begin(self, trainings: Sequence[Training], budget_seconds: float | None) -> None:
        """Show these trainings from now on."""
        self._trainings = {t.number: t for t in trainings}
        self._budget = budget_seconds
        if self._console.is_terminal and not self._console.quiet and self._live is None:
            self._live = Live(console=self._console, refresh_per_second=REDRAWN)
            self._live.start()

    def update(self, running: Sequence[int]) -> None:
        """Show which trainings run now."""
        self._running = running
        if self._live is not None:
            self._live.update(self._panel())

    def ended(self, number: int) -> None:
        """Say how a training ended."""
        if number in self._trainings:
            self.say(f"{self._line(number)} | {self._head()}")

    def lost(self, number: int) -> None:
        """Say that a training's worker died, and that it goes on elsewhere."""
        self.say(f"{_name(number)}: its worker died; it goes on from its last checkpoint")

    def say(self, text: str) -> None:
        """Show one line that stays."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _panel(self) -> RenderableType:
        rows = [Text(f"tuning {self._name}   {self._head()}", style="bold", no_wrap=True)]
        rows += [Text(f"  {self._line(n)}", no_wrap=True) for n in self._running]
        return Group(*rows)

    def _head(self) -> str:
        """Return how many trainings have ended, the best score, the default's, and the time."""
        tracks = {n: self._ledger.track(n) for n in self._trainings}
        parts = [f"{sum(t.ended for t in tracks.values())} of {len(tracks)} ended"]
        whole = {n: t for n, t in tracks.items() if t.state == "complete"}
        if whole:
            best = max(whole, key=lambda n: whole[n].miou or 0.0)
            parts.append(f"best {whole[best].miou:.4f} (training {best})")
        if DEFAULT in whole:
            parts.append(f"default {whole[DEFAULT].miou:.4f}")
        used = show_seconds(self._ledger.seconds_used)
        parts.append(f"{used} of {show_seconds(self._budget)}" if self._budget else used)
        return ", ".join(parts)

    def _line(self, number: int) -> str:
        """Return where a training is, and by which values."""
        track = self._ledger.track(number)
        who = _name(number)
        values = show_values(_values(track, self._trainings[number]))
        if not track.rows:
            return f"{who}: {track.reason or 'starting'} ({values})"
        told = {"stopped", "cut", "failed", "died"} & {track.state}
        end = "".join(f", {state}" for state in told)
        why = f": {track.reason}" if track.reason else ""
        done = f"epoch {track.epoch} of {self._epochs}, mIoU {track.miou:.4f}{end}{why}"
        return f"{who}: {done} ({values})"


def _name(number: int) -> str:
    return "default recipe" if number == DEFAULT else f"training {number}"


def _values(track: Track, training: Training) -> dict[str, object]:
    """Return the values by which a training runs now, which in a population are not those it began with."""
    return dict(track.rows[-1]["path"][-1]["values"]) if track.rows else training.values
