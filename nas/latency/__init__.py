"""Latency on a target: measured there, and predicted from a table of measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import LatencyError

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.latency.measure import Measured
    from nas.latency.predictor import Prediction
    from nas.latency.table import Table
    from nas.latency.target import Conditions, Target

RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What one network takes under the conditions; `measured` is None where it was only predicted, and the reverse."""

    architecture_id: str
    conditions: Conditions
    measured: Measured | None
    predicted: Prediction | None = None


def latency(
    architectures: Architecture | Sequence[Architecture],
    target: str | Target | None = None,
    *,
    size: tuple[int, int] | None = None,
    runs: int = RUNS,
    table: Table | str | Path | None = None,
    measure: bool = True,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[Latency, ...]:
    """Measure networks on this machine, taking turns with each other and with a small reference network.

    `target` is a text such as "onnxruntime", "cuda" or "eager,threads=2", by default that of the table, or ONNX Runtime
    on one thread; `size` (H, W) that of the table, or of the first network. A `table` predicts beside it; where it was
    made on another machine or runtime than asked for, LatencyError says what differs, and `measure=False` predicts
    only. `told` hears how many rounds are done.
    """
    from nas.latency.table import load_table
    from nas.latency.target import Target

    listed = [architectures] if not isinstance(architectures, Sequence) else list(architectures)
    known = load_table(table) if isinstance(table, str | Path) else table
    own = listed[0].input[1:]
    wanted = target if isinstance(target, Target) else _target(target, size, own, known)
    measured = _measure(listed, wanted, runs, told) if measure else {}
    predicted, conditions = _predict(listed, wanted, known, named=target is not None or measure)
    return tuple(
        Latency(
            architecture_id=a.id,
            conditions=conditions,
            measured=measured.get(a.text),
            predicted=predicted.get(a.text),
        )
        for a in listed
    )


def node_times(
    architecture: Architecture,
    target: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    table: str | Path | None = None,
    runs: int = 20,
) -> Mapping[str, float]:
    """Return the milliseconds of each leaf by name: measured inside the network on `target`, or predicted by a table.

    Raises LatencyError for a runtime that cannot tell leaves apart, or a table of another input size.
    """
    from nas.latency.make_table import held
    from nas.latency.predictor import Predictor
    from nas.latency.table import load_table
    from nas.plan import Planner

    known = None if table is None else load_table(table)
    wanted = _target(target, size, architecture.input[1:], known)
    if known is not None:
        check(known, wanted, here=target is not None, path=table)
        return Predictor(known).by_node(Planner(wanted.size).plan(architecture))
    with held(architecture, wanted) as session:
        if session.profile is None:
            raise LatencyError(
                f"{wanted.runtime} merges leaves and cannot tell their times apart; take onnxruntime or eager"
            )
        return session.profile(runs)


def _target(
    text: str | None, size: tuple[int, int] | None, own: tuple[int, int], table: Table | None
) -> Target:
    from nas.latency.target import Target, default_target

    at = size or (table.target.size if table else own)
    if text is not None:
        return Target.of(text, at)
    return replace(table.target, size=at) if table else default_target(at)


def _measure(
    architectures: Sequence[Architecture], target: Target, runs: int, told: Callable[[int], None]
) -> Mapping[str, Measured]:
    from contextlib import ExitStack

    from nas.latency.make_table import held, reference
    from nas.latency.measure import interleaved

    with ExitStack() as stack:
        beside = stack.enter_context(held(reference(target), target))
        sessions = {a.text: stack.enter_context(held(a, target)) for a in architectures}
        return interleaved(sessions, beside, runs=runs, told=told)


def _predict(
    architectures: Sequence[Architecture], target: Target, table: Table | None, named: bool
) -> tuple[dict[str, Prediction], Conditions]:
    """Predict from the table, checked against this machine where a target was `named` or measured."""
    from nas.latency.predictor import Predictor
    from nas.latency.target import Conditions
    from nas.plan import Planner

    if table is None:
        return {}, Conditions.here(target, "")
    check(table, target, here=named)
    predictor, planner = Predictor(table), Planner(target.size)
    found = {a.text: predictor.predict(planner.plan(a)) for a in architectures}
    return found, table.conditions


def check(table: Table, target: Target, *, here: bool, path: Any = "the latency table") -> None:
    """Raise LatencyError with what differs between a table's conditions and those of `target` and today's blocks.

    `here`: the target is this machine, with the versions installed on it; else the table's own host is meant.
    """
    from nas.latency.blocks_code import code_of
    from nas.latency.target import Conditions

    code = code_of(table.planned, target.size)
    wanted = Conditions.here(target, code)
    if not here:
        wanted = replace(table.conditions, target=target, code=code)
    table.check(wanted, path)
