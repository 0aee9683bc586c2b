"""The record of a tuning: one line per epoch of a training and one when it has ended, written by one process.

Ray keeps a state of its own, which is a few seconds old after a kill. What this file holds has happened.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nas.errors import RunError
from nas.tuning.vary import Values

State = Literal["waiting", "running", "complete", "stopped", "cut", "failed", "died"]
"""A training fails by what it raises, which it would raise again; it dies with its worker, and a restart tries it."""
Row = dict[str, Any]
LOG = "log.jsonl"
DEFAULT = 0
"""The number of the training with the recipe as it was given."""


@dataclass(frozen=True, slots=True)
class Training:
    """One training that is to be: its number, its values of what varies, its seed, and what it is for."""

    number: int
    values: Values
    seed: int
    why: str = "search"


@dataclass(slots=True)
class Track:
    """What became of a training: its epochs in order, and how it ended.

    A row is {"epoch", "loss", "lr", "seconds", "miou", "path"}; "path" lists {"epoch", "training", "values"}: from that
    epoch on, which training's weights these are and by which values they were trained.
    """

    rows: list[Row] = field(default_factory=list)
    state: State = "waiting"
    reason: str = ""
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.state not in {"waiting", "running"}

    @property
    def miou(self) -> float | None:
        """The score after the last epoch there is."""
        return float(self.rows[-1]["miou"]) if self.rows else None

    @property
    def epoch(self) -> int:
        """How many epochs there are."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    def take(self, row: Row) -> None:
        """Add an epoch; those from the same on are replaced: a training may go on from an earlier one."""
        self.rows = [known for known in self.rows if known["epoch"] < row["epoch"]]
        self.rows.append(row)
        self.seconds += row["seconds"]
        self.state = "running"


class Ledger:
    """All tracks of a tuning, by number of training, kept in a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._began = time.monotonic()
        self.tracks: dict[int, Track] = {}
        self.seconds_before = 0.0
        for event in _read(self._path):
            self._apply(event)
            self.seconds_before = max(self.seconds_before, float(event["clock"]))
        for track in self.tracks.values():
            if track.state == "died":
                track.state, track.reason = "waiting", ""

    @property
    def seconds_used(self) -> float:
        """Seconds that tuning has taken, interruptions left out."""
        return self.seconds_before + time.monotonic() - self._began

    def track(self, number: int) -> Track:
        """Return what is known of a training."""
        return self.tracks.setdefault(number, Track())

    def epoch(self, number: int, row: Mapping[str, Any]) -> None:
        """Record an epoch."""
        self._write({"number": number, "row": dict(row)})

    def end(self, number: int, state: State, reason: str = "") -> None:
        """Record how a training has ended."""
        self._write({"number": number, "state": state, "reason": reason})

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps({**event, "clock": round(self.seconds_used, 1)}) + "\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        track = self.track(int(event["number"]))
        if "row" in event:
            track.take(dict(event["row"]))
        else:
            track.state, track.reason = event["state"], event["reason"]


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file, and cut off a last line that a kill has torn; raises RunError for other damage."""
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < len(lines):
        os.truncate(path, sum(map(len, whole)))
    for number, line in enumerate(whole, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise RunError(
                f"{path}:{number}: damaged ({error}); delete the line to go on without it"
            ) from None
