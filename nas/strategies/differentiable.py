"""Differentiable search: a supernet is trained, and each of its snapshots points to an architecture, which is a trial.

What is asked here is which job comes next. The supernet is trained by the executor like any trial, from one snapshot to
the next; nothing is kept here but what follows from the record, so a resumed search goes on where the other one was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler, RandomSampler

from nas.job import GROUNDWORK, Job
from nas.record import Record
from nas.relax.schedule import Schedule, Snapshot
from nas.run import SUPERNET, Run, Settings
from nas.units import show_cost

MISSED = 0.05
"""Share of a target from which a person is told that it was missed."""


def sampler(seed: int) -> BaseSampler:
    """Return a sampler for what no snapshot made: all that a snapshot points to is given, and nothing is drawn."""
    return RandomSampler(seed=seed)


@dataclass
class Guide:
    """Says of a run what comes next: training the supernet up to a snapshot, or trying what it pointed to."""

    run: Run
    record: Record
    _found: Mapping[str, Any] = field(default_factory=dict, init=False)
    used_up: str = field(default="", init=False)

    def next(self) -> Job | Mapping[str, Any] | None:
        """Return a job to be run first, or what it found; None where `used_up` says why nothing comes any more."""
        if self._found:
            found, self._found = self._found, {}
            return found
        snapshot = self._upcoming()
        if snapshot is None:
            self.used_up = self._why()
            return None
        text = self.run.space_file.read_text(encoding="utf-8")
        folder = (self.run.folder / SUPERNET).resolve()
        settings = self.run.settings
        table = None if settings.target is None else self.run.latency_table
        return job(
            settings, text, snapshot, cache=self.run.cache, folder=folder, latency_table=table
        )

    def take(self, metrics: Mapping[str, Any]) -> list[str]:
        """Take in the result of a job; return what a person should know of it: targets that were missed."""
        self._found = metrics
        return list(_missed(metrics))

    def _upcoming(self) -> Snapshot | None:
        """Return the first snapshot that no trial was made of, in branches that have not been given up."""
        done = {(s["branch"], s["epoch"]) for s in self._snapshots()}
        given_up = {s["branch"] for s in self._snapshots() if s.get("collapsed")}
        schedule = Schedule.of(self.run.settings.supernet)
        for snapshot in schedule.all_snapshots():
            if (snapshot.branch, snapshot.epoch) not in done and snapshot.branch not in given_up:
                return snapshot
        return None

    def _snapshots(self) -> list[Mapping[str, Any]]:
        return [t.snapshot for t in self.record.trials if t.snapshot is not None]

    def _why(self) -> str:
        epochs = Schedule.of(self.run.settings.supernet).length
        reasons = dict.fromkeys(s["collapsed"] for s in self._snapshots() if s.get("collapsed"))
        early = "".join(f"; {reason}" for reason in reasons)
        return f"the supernet has had its {epochs} epochs, and every snapshot is scored{early}"


def _missed(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each target that nothing was found close to."""
    for name, reached in found["reached"].items():
        target = found["targets"][name]
        if abs(reached / target - 1) > MISSED:
            yield (
                f"epoch {found['epoch']}: the nearest to the target {name} {show_cost(name, target)} that was found "
                f"has {show_cost(name, reached)}"
            )


def job(
    settings: Settings,
    space: str,
    snapshot: Snapshot,
    *,
    cache: Path,
    folder: Path | None = None,
    latency_table: Path | None = None,
) -> Job:
    """Return the job that trains a supernet up to a snapshot; `space` is the text of the whole space."""
    given = {
        "space": space,
        "fixed": dict(settings.fixed),
        "schedule": dict(settings.supernet),
        "branch": snapshot.branch,
        "epoch": snapshot.epoch,
        "latency_table": None if latency_table is None else str(latency_table.resolve()),
    }
    return Job.of(
        settings,
        cache,
        number=GROUNDWORK,
        architecture="",
        seed=settings.seed,
        evaluator="supernet",
        folder=folder,
        given=given,
    )
