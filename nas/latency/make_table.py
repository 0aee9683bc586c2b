"""Timing what a space needs: some dozens of whole networks, each leaf inside them, resumable, in minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nas import registry
from nas.architecture import Architecture
from nas.errors import LatencyError
from nas.latency import runtimes
from nas.latency.blocks_code import code_of
from nas.latency.choose import networks_to_time
from nas.latency.measure import interleaved
from nas.latency.runtimes import Session
from nas.latency.table import Table, Timed, load_table
from nas.latency.target import Conditions, Target
from nas.network import build
from nas.plan import Planner
from nas.space import Space

NETWORKS = 60
AT_ONCE = 5
"""Networks that are held in memory together and take turns."""
RUNS = 12
PROFILED = 6
SECONDS = 5.0
"""That a block of networks is timed at least, as long as ten times `RUNS` allow."""

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured: networks, timed evaluations of each, and the seed that chooses the networks."""

    networks: int = NETWORKS
    runs: int = RUNS
    seed: int = 0


def make_table(
    space: Space,
    target: Target,
    path: Path | str,
    *,
    effort: Effort | None = None,
    told: Told = lambda *_: None,
) -> Table:
    """Time networks of `space` on `target`, go on with what is in the file `path` already, and return the table.

    The file is written after every few networks; `told` hears (timed, planned). Raises LatencyError where the file is
    of another space or of other conditions.
    """
    effort = effort or Effort()
    table = planned_table(space, target, path, effort)
    with held(Architecture(table.reference), target) as beside:
        if not table.reference_ms:
            alone = interleaved({"reference": beside}, runs=effort.runs, seconds=SECONDS)
            table = replace(table, reference_ms=alone["reference"].min_ms)
        told(len(table.networks), len(table.planned))
        while block := table.left[:AT_ONCE]:
            table = table.with_networks(*_timed(block, table, beside, effort.runs))
            table.save(path)
            told(len(table.networks), len(table.planned))
    return table


def planned_table(space: Space, target: Target, path: Path | str, effort: Effort) -> Table:
    """Return the table in the file, if it is of this space and these conditions; a new one where there is no file."""
    if not Path(path).exists():
        return new_table(space, target, effort)
    table = load_table(path)
    if table.space_digest != space.digest:
        raise LatencyError(
            f"{path} is of the space {table.space} ({table.space_digest}), not of {space.name} ({space.digest}); "
            "name another file (--out)"
        )
    table.check(Conditions.here(target, code_of(table.planned, target.size)), path)
    return table


def new_table(space: Space, target: Target, effort: Effort) -> Table:
    """Return a table of this machine with nothing but the networks that are worth timing."""
    chosen = networks_to_time(space, target.size, effort.networks, effort.seed)
    texts = tuple(architecture.text for architecture in chosen)
    return Table(
        space=space.name,
        space_digest=space.digest,
        conditions=Conditions.here(target, code_of(texts, target.size)),
        planned=texts,
        reference=_typical(chosen, target).text,
    )


def _typical(chosen: Sequence[Architecture], target: Target) -> Architecture:
    """Return the network that is timed beside the others: one of them, larger in MACs than a quarter of them.

    It suffers from a busy machine as they do, and takes little of the time.
    """
    planner = Planner(target.size)
    return sorted(chosen, key=lambda a: planner.plan(a).macs)[len(chosen) // 4]


def reference(target: Target) -> Architecture:
    """Return the small network that is timed beside every other, at the target's size."""
    architecture: Architecture = registry.domain().reference_network()
    return architecture.with_input((3, *target.size))


@contextmanager
def held(architecture: Architecture, target: Target) -> Iterator[Session]:
    """Yield a session of a network with random weights; it is closed behind."""
    network = build(architecture, target.size, seed=0)
    session = runtimes.find(target.runtime)(network, target)
    try:
        yield session
    finally:
        session.close()


def _timed(
    block: Sequence[Architecture], table: Table, beside: Session, runs: int
) -> Iterator[Timed]:
    """Time the networks of a block in turns, then the leaves inside each of them."""
    with ExitStack() as stack:
        sessions = {a.text: stack.enter_context(held(a, table.target)) for a in block}
        measured = interleaved(sessions, beside, runs=runs, seconds=SECONDS)
        for text, session in sessions.items():
            found = measured[text]
            yield Timed(
                architecture=text,
                ms=found.relative * table.reference_ms,
                spread=found.spread,
                nodes=session.profile(min(runs, PROFILED)) if session.profile else None,
            )
