"""The Pareto front of a run: its table, `front.json`, and the networks that a person picks from it by name."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas import pareto
from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.confirmed import RULE, Confirmed, read_confirmed
from nas.errors import RunError, suggest
from nas.latency.in_search import OnTarget, read_measured
from nas.record import TrialRecord
from nas.run import Run
from nas.units import COSTS, show_cost

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Retrained:
    """Scores on the reporting split of the same network trained from scratch with several seeds."""

    seeds: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean mIoU over the seeds."""
        return statistics.fmean(self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network on the front; `values` holds its objectives in the search, `epochs` how long it was trained there.

    `latency` is predicted, `measured` what it took on the target in the end. `repaired_from` is the trial over a limit
    that it was made of, if any; `snapshot` says of what a supernet pointed to it, and its score there
    (`supernet_miou`), which compares with no other score.
    """

    id: str
    trial: int
    values: Mapping[str, float]
    macs: int
    params: int
    epochs: int
    seconds: float
    memory: int | None = None
    latency: float | None = None
    measured: OnTarget | None = None
    repaired_from: int | None = None
    snapshot: Mapping[str, Any] | None = None
    knee: bool = False
    retrained: Retrained | None = None
    confirmed: Confirmed | None = None

    @property
    def costs(self) -> dict[str, float]:
        """The costs that were counted, by name."""
        known = ((name, getattr(self, name)) for name in COSTS)
        return {name: cost for name, cost in known if cost is not None}

    @property
    def score(self) -> float:
        """The search's mIoU."""
        return self.values["miou"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The trials of a run that no other trial beats in everything, best mIoU first; `trials` are all on record."""

    run: Run
    rows: tuple[Row, ...]
    trials: tuple[TrialRecord, ...]

    @property
    def knee(self) -> Row | None:
        """The row with the best balance of the objectives; None on an empty front."""
        return next((r for r in self.rows if r.knee), None)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended in which way."""
        return dict(Counter(t.outcome for t in self.trials))

    @property
    def dominated(self) -> int:
        """How many trained networks are hidden, since another is better in everything."""
        return self.counts.get("complete", 0) - len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as it stands in `front.json`."""
        settings = self.run.settings.to_dict()
        asked = (
            "space",
            "data",
            "size",
            "objectives",
            "limits",
            "strategy",
            "seed",
            "recipe",
            "split",
            "target",
        )
        return {
            "schema": SCHEMA,
            "run": self.run.folder.name,
            **{name: settings[name] for name in asked},
            "trials": self.counts,
            "repaired": sum(t.repaired_from is not None for t in self.trials),
            "dominated": self.dominated,
            "knee": self.knee.id if self.knee else None,
            "front": [asdict(row) for row in self.rows],
            "notes": self.notes(),
        }

    def write(self) -> Path:
        """Write `front.json` into the run's folder; return its path."""
        path = self.run.folder / "front.json"
        write_atomic(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())
        return path

    @property
    def _names(self) -> list[str]:
        return [o.name for o in self.run.problem.objectives]

    def columns(self) -> list[str]:
        """Return the table's headings; ">" marks those that are set to the right."""
        extra = [n for n in self._names if n not in {"miou", *COSTS}]
        shown = ["id", ">trial", ">mIoU", *(f">{n}" for n in extra)]
        shown += [f">{COSTS[n].title}" for n in self.run.problem.costs]
        shown += [">measured (median)"] if self._is_measured else []
        shown += [">epochs"]
        shown += [">of the supernet (mIoU there)"] if any(r.snapshot for r in self.rows) else []
        shown += [">retrained"] if any(r.retrained for r in self.rows) else []
        return [*shown, *([">confirmed", "cannot be told from"] if self._is_confirmed else []), ""]

    def cells(self) -> list[list[str]]:
        """Return the table's rows as text, one cell per column."""
        return [self._cells_of(row) for row in self.rows]

    def notes(self) -> list[str]:
        """Return what a reader of the table has to know."""
        found = [RULE] if self._is_confirmed else []
        cap = self.run.problem.limits.latency
        over = [r.id for r in self.rows if cap and r.measured and r.measured.min_ms > cap]
        if over:
            limit = show_cost("latency", cap or 0.0)
            found.append(f"as measured on the target, over the limit of {limit}: {', '.join(over)}")
        return found

    @property
    def _is_measured(self) -> bool:
        return any(r.measured for r in self.rows)

    @property
    def _is_confirmed(self) -> bool:
        return any(r.confirmed for r in self.rows)

    def _cells_of(self, row: Row) -> list[str]:
        extra = [f"{v:.4g}" for n, v in row.values.items() if n not in {"miou", *COSTS}]
        cells = [row.id, str(row.trial), f"{row.score:.4f}", *extra]
        cells += [show_cost(n, row.costs[n]) for n in self.run.problem.costs]
        if self._is_measured:
            found = row.measured
            cells.append(f"{found.min_ms:.3g} ({found.median_ms:.3g})" if found else "")
        cells.append(str(row.epochs))
        if any(r.snapshot for r in self.rows):
            cells.append(_origin(row.snapshot) if row.snapshot else "")
        if any(r.retrained for r in self.rows):
            cells.append(_score(row.retrained.scores) if row.retrained else "")
        if self._is_confirmed:
            known = row.confirmed
            cells += [_score(known.scores), ", ".join(known.alike)] if known else ["", ""]
        return [*cells, "knee" if row.knee else ""]


def front(run: Run | str | Path) -> Front:
    """Return the Pareto front of a run; one network stands on it once, whatever trees gave it."""
    run = run if isinstance(run, Run) else Run.open(run)
    return front_of(run, run.trials())


def front_of(run: Run, trials: Sequence[TrialRecord]) -> Front:
    """Return the Pareto front of these trials of a run."""
    trained = [t for t in trials if t.outcome == "complete"]
    directions = run.problem.directions
    points = [tuple(t.values.values()) for t in trained]
    knee = pareto.knee(points, directions) if points else None
    confirmed = read_confirmed(run)
    measured = read_measured(run)
    rows = [
        Row(
            id=t.architecture_id,
            trial=t.number,
            values=dict(t.values),
            macs=int(t.macs or 0),
            params=int(t.params or 0),
            epochs=len(t.epochs),
            seconds=t.seconds,
            memory=t.memory,
            latency=t.latency,
            measured=measured.get(t.architecture_id),
            repaired_from=t.repaired_from,
            snapshot=t.snapshot,
            knee=i == knee,
            retrained=_retrained(run, t.architecture_id),
            confirmed=confirmed.get(t.architecture_id),
        )
        for i, t in ((i, trained[i]) for i in pareto.front(points, directions))
    ]
    rows.sort(key=lambda r: (-r.score, r.macs, r.trial))
    return Front(run=run, rows=tuple(rows), trials=tuple(trials))


def pick(run: Run | str | Path, which: str) -> list[Architecture]:
    """Return the architectures that "knee", "best", "front", an id or the start of one names.

    An id may be that of any network that the run has trained. Raises RunError where there is none, or several.
    """
    found = front(run)
    named = {"knee": [r for r in found.rows if r.knee], "best": found.rows[:1], "front": found.rows}
    by_id = {
        t.architecture_id: Architecture(t.architecture) for t in found.trials if t.architecture
    }
    if which not in named:
        return [by_id[_match(which, by_id, found)]]
    if not found.rows:
        raise RunError(
            f"{found.run.folder} has no trained network yet; go on with {found.run.resume_command}"
        )
    return [by_id[row.id] for row in named[which]]


def _match(start: str, known: Iterable[str], found: Front) -> str:
    matching = [name for name in known if name.startswith(start)] if start else []
    if len(matching) == 1 or start in matching:
        return start if start in matching else matching[0]
    what = f"{len(matching)} architectures begin with" if matching else "no architecture is called"
    hint = suggest(start, matching or ["knee", "best", "front", *(r.id for r in found.rows)])
    raise RunError(f"{found.run.folder}: {what} {start!r}; {hint}")


def _retrained(run: Run, architecture_id: str) -> Retrained | None:
    """Return the scores in the folders `retrained/ID/seed-S`."""
    scores: dict[int, float] = {}
    for file in sorted((run.folder / "retrained" / architecture_id).glob("seed-*/score.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        scores[int(content["seed"])] = float(content["miou"])
    return (
        Retrained(tuple(sorted(scores)), tuple(scores[s] for s in sorted(scores)))
        if scores
        else None
    )


def _origin(snapshot: Mapping[str, Any]) -> str:
    """Return when a supernet pointed to a network, and what it scored there."""
    return f"epoch {snapshot['epoch']} ({snapshot['supernet_miou']:.4f})"


def _score(scores: tuple[float, ...]) -> str:
    """Return "0.4123 ± 0.0051 (3)": mean, standard deviation and number of seeds."""
    if len(scores) < 2:
        return f"{scores[0]:.4f}"
    return f"{statistics.fmean(scores):.4f} ± {statistics.stdev(scores):.4f} ({len(scores)})"
