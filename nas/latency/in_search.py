"""Latency in a search: the table that it is predicted from, and the measuring of the front that was found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from nas.atomic import write_atomic
from nas.errors import LatencyError
from nas.latency.table import Table, load_table
from nas.latency.target import Conditions, Target
from nas.node_cache import folder

if TYPE_CHECKING:
    from nas.latency.predictor import Predictor
    from nas.record import TrialRecord
    from nas.run import Run, Settings
    from nas.space import Space

Say = Callable[[str], None]
RUNS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTarget:
    """What a network of the front took on the target, in the terms of `nas.latency.measure.Measured`."""

    min_ms: float
    median_ms: float
    p90_ms: float
    cpu_ms: float
    spread: float


def table_for(
    space: Space, settings: Settings, path: str | None, say: Say, *, here: bool = False
) -> Table | None:
    """Return the table to predict from: the named one, checked, or one of this machine, made now if need be.

    None where the search does not ask for latency. `here`: a target was asked for, which is this machine; else a named
    table's own machine is meant, wherever that is. A table made here is kept in the user's cache folder, and serves
    the next search of the same space on the same target.
    """
    if settings.target is None:
        return None
    target = Target.of(settings.target, settings.size)
    return _made_here(space, target, say) if path is None else _named(path, target, here=here)


def predictor(table: Table | None) -> Predictor | None:
    """Return what predicts latency from a table; None without one."""
    if table is None:
        return None
    from nas.latency.predictor import Predictor

    return Predictor(table)


def table_of(run: Run) -> Table | None:
    """Return the table that a run predicts from; None where it does not ask for latency."""
    return None if run.settings.target is None else load_table(run.latency_table)


def _named(path: str, target: Target, *, here: bool) -> Table:
    """Return the table in a file, its conditions checked."""
    from nas.latency import check

    table = load_table(path)
    check(table, target, here=here, path=path)
    return table


def _made_here(space: Space, target: Target, say: Say) -> Table:
    """Return this machine's table of a space; goes on with one that was begun, starts again with one that is stale."""
    from nas.latency.make_table import NETWORKS, make_table

    place = cached_file(space, target)
    say(
        f"latency on {target}: {NETWORKS} networks are timed once for this space and machine ({place})"
    )

    def told(done: int, planned: int) -> None:
        say(f"latency: {done} of {planned} networks timed")

    if why := _stale(place, space, target):
        say(f"{why}\nmaking it again")
        place.replace(place.with_suffix(".old"))
    return make_table(space, target, place, told=told)


def _stale(place: Path, space: Space, target: Target) -> str:
    """Return why the table in a file cannot be gone on with, "" if it can, or is not there."""
    from nas.latency.make_table import Effort, planned_table

    if not place.exists():
        return ""
    try:
        planned_table(space, target, place, Effort())
    except LatencyError as error:
        return str(error)
    return ""


def cached_file(space: Space, target: Target) -> Path:
    """Return where the table of a space on this machine is kept."""
    conditions = Conditions.here(target, "")
    text = json.dumps([space.digest, conditions.to_dict()], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    place = folder()
    if place is None:
        raise LatencyError(
            "there is no home folder to keep a latency table in; set NAS_CACHE to a folder"
        )
    return place / "latency" / f"{space.name}-{digest}.json"


def measure_front(run: Run, front: Sequence[TrialRecord], say: Say) -> dict[str, OnTarget]:
    """Measure the networks of a front on the run's target, keep the figures with the run, and return them by id.

    Does nothing where the run asks for no latency; says so, and measures nothing, where its target is elsewhere.
    """
    table = table_of(run)
    if table is None or not front:
        return {}
    here = Conditions.here(table.target, table.conditions.code)
    if differences := table.conditions.differences(here):
        say(f"the front was not measured, since this is not the target: {'; '.join(differences)}")
        return {}
    known = read_measured(run)
    new = {t.architecture_id: t.architecture for t in front if t.architecture_id not in known}
    if new:
        say(f"measuring {len(new)} networks of the front on {table.target}")
        try:
            known |= _measure(new, table.target)
        except LatencyError as error:  # the search itself is whole
            say(f"the front was not measured: {error}")
            return {}
        content = {
            "conditions": here.to_dict(),
            "networks": {i: asdict(m) for i, m in known.items()},
        }
        write_atomic(_file(run), (json.dumps(content, indent=1) + "\n").encode())
    return {t.architecture_id: known[t.architecture_id] for t in front}


def _measure(architectures: dict[str, str], target: Target) -> dict[str, OnTarget]:
    from nas.architecture import Architecture
    from nas.latency import latency
    from nas.latency.make_table import AT_ONCE

    found: dict[str, OnTarget] = {}
    ids = list(architectures)
    for start in range(0, len(ids), AT_ONCE):
        block = [Architecture(architectures[i]) for i in ids[start : start + AT_ONCE]]
        for name, one in zip(ids[start:], latency(block, target, runs=RUNS), strict=False):
            assert one.measured is not None
            m = one.measured
            found[name] = OnTarget(**{f.name: getattr(m, f.name) for f in fields(OnTarget)})
    return found


def read_measured(run: Run) -> dict[str, OnTarget]:
    """Return what networks of a run took on its target, by id; nothing where none was measured."""
    if not _file(run).is_file():
        return {}
    content = json.loads(_file(run).read_text(encoding="utf-8"))
    return {name: OnTarget(**figures) for name, figures in content["networks"].items()}


def _file(run: Run) -> Path:
    return run.folder / "measured.json"
