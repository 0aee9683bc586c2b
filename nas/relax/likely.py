"""Weights for expected costs: of what decoding would keep, not of all that is mixed while searching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from nas.language.tree import Choice, Pick, Template, nodes
from nas.relax.decode import NOTHING, kept_edges
from nas.relax.gates import kinds, pick_path
from nas.relax.network import Weights
from nas.relax.planner import opened

LEAST = 1e-20
"""Chance that is left beside `zero`, at least: nothing is divided by 0."""
Likely = Callable[[Weights], Weights]


def likely(space: Template) -> Likely:
    """Return what turns softmax weights into those of a space's decoded architectures.

    A pick has its strongest sources, each fully and the others not at all, and an operation that is not `zero`, with
    the chances that are left. All sources at once, as they are mixed, cost several times what two of them do.
    """
    tree = opened(space)
    picks = [node for _, node in nodes(tree) if isinstance(node, Pick)]
    edges = list(kept_edges(tree))

    def weights(found: Weights) -> Weights:
        changed = {**found, **{op.path: _something(op, found) for op in edges}}
        for node in picks:
            changed |= _kept(node, found)
        return changed

    return weights


def _kept(node: Pick, found: Weights) -> Weights:
    """Return the weights of a pick's sources and of their operations."""
    taken = found[pick_path(node)]
    strength, changed = [], {}
    for source, weight in zip(node.sources, taken, strict=True):
        op, share = node.op(source), 1.0
        if isinstance(op, Choice) and len(op.options) > 1:
            changed[op.path] = _something(op, found)
            share = max(map(_number, changed[op.path])) * _something_share(op, found)
        strength.append(_number(weight) * share)
    order = sorted(range(len(strength)), key=lambda i: -strength[i])
    changed[pick_path(node)] = [float(i in order[: node.count]) for i in range(len(order))]
    return changed


def _something(op: Choice, found: Weights) -> list[Any]:
    """Return the chances of the operations where `zero` is left out."""
    share = _something_share(op, found)
    pairs = zip(kinds(op), found[op.path], strict=True)
    return [0.0 if kind == NOTHING else chance / share for kind, chance in pairs]


def _something_share(op: Choice, found: Weights) -> Any:
    pairs = zip(kinds(op), found[op.path], strict=True)
    share = sum(chance for kind, chance in pairs if kind != NOTHING)
    return share.clamp_min(LEAST) if isinstance(share, Tensor) else max(share, LEAST)


def _number(weight: float | Tensor) -> float:
    return float(weight.detach()) if isinstance(weight, Tensor) else float(weight)
