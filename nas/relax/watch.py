"""What to watch while an architecture is learned: how decided it is, and whether skips take it over.

Differentiable search tends to end in skips, the more the longer it runs, and DARTS+ (Liang et al. 2019) stops it early
for that: weights that are not learned yet lose against an operation that has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas.choosers import record
from nas.language.tree import Template
from nas.relax.decode import Probabilities, decoder
from nas.relax.gates import Question
from nas.relax.skips import skips
from nas.resolve import closed

if TYPE_CHECKING:
    from nas.relax.supernet import Supernet

Row = dict[str, Any]
"""Plain data of one epoch, as `row` returns it."""

SHARE, PATIENCE = 0.5, 3


def watched(net: Supernet, space: Template, epoch: int) -> Row:
    """Return the row of a supernet after an epoch (from 1)."""
    probabilities = {path: p.tolist() for path, p in net.probabilities().items()}
    found = row(space, net.asked, probabilities, gradients=net.gradient_norms)
    return {
        "epoch": epoch,
        **found,
        "temperature": net.temperature,
        "multipliers": dict(net.multipliers),
        "costs": {name: float(cost.detach()) for name, cost in net.expected_costs().items()},
    }


def row(
    space: Template,
    asked: Iterable[Question],
    probabilities: Probabilities,
    *,
    gradients: Sequence[float] = (),
) -> Row:
    """Return what can be seen in probabilities, and in the norms of the epoch's gradients.

    `entropy` in nats by question, `undecided` their mean as shares of the largest that is possible (1: all options
    alike, 0: decided); `skip_chance` how likely skips are on average where they are offered, and `skip_share` what part
    of the decoded decisions there are skips (None where none is offered); `gradient` the mean norm, None where the
    architecture did not learn.
    """
    chances = {path: list(p) for path, p in probabilities.items()}
    offered = {path: i for path, i in skips(asked).items() if path in chances}
    return {
        "entropy": {path: entropy(p) for path, p in chances.items()},
        "undecided": _mean([entropy(p) / math.log(len(p)) for p in chances.values()]),
        "skip_chance": _mean([sum(chances[path][i] for i in of) for path, of in offered.items()]),
        "skip_share": skip_share(space, chances, offered),
        "gradient": _mean(gradients),
    }


def entropy(chances: Sequence[float]) -> float:
    """Return the entropy of a distribution in nats."""
    return -sum(p * math.log(p) for p in chances if p > 0)


def skip_share(
    space: Template, probabilities: Probabilities, offered: Mapping[str, Sequence[int]]
) -> float | None:
    """Return the share of skips among what the decoded architecture decides where skips are `offered`."""
    decisions: dict[str, int] = {}
    closed(space, record(decoder(space, probabilities), decisions))
    return _mean([float(i in offered[path]) for path, i in decisions.items() if path in offered])


def collapsed(rows: Sequence[Row], *, share: float = SHARE, patience: int = PATIENCE) -> str:
    """Return why to stop, "" if there is no reason to: too many skips in each of the last `patience` epochs.

    Rows in which the architecture did not learn do not count. DARTS+ and P-DARTS hold skips to a number, typically
    two (Chu et al. 2021, section 1, on both): of a cell with eight operations that is a share of 0.25, and patience 1.
    """
    learned = [r for r in rows if r["gradient"] is not None]
    last = learned[-patience:]
    if len(last) < patience or any((r["skip_share"] or 0.0) <= share for r in last):
        return ""
    first = next(i for i in range(len(learned)) if _all_above(learned[i:], share))
    before = f"epoch {learned[first - 1]['epoch']}" if first else "an epoch before"
    return (
        f"skips are {last[-1]['skip_share']:.0%} of the decisions that offer them, and above {share:.0%} since epoch "
        f"{learned[first]['epoch']}: they win because weights learn too slowly, not because they are good; take the "
        f"architecture of {before}, or raise warmup or skip_dropout"
    )


def _all_above(rows: Sequence[Row], share: float) -> bool:
    return all((r["skip_share"] or 0.0) > share for r in rows)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
