"""Decoding: the architecture that weights point to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nas.architecture import Architecture
from nas.language.tree import Choice, Pick, Template, Walk, nodes
from nas.relax.gates import kinds, move_path, pick_path, reach
from nas.relax.planner import opened
from nas.resolve import closed

Probabilities = Mapping[str, Sequence[float]]
NOTHING = "zero"
"""The operation that stands for no connection: it takes part in a mixture, and is never what an edge keeps."""


def decode(space: Template, probabilities: Probabilities) -> Architecture:
    """Return the architecture with the most probable option of each choice and the most probable path of each walk.

    A pick keeps its strongest sources: the strength of a source is the largest probability among its operations, `zero`
    aside (Auto-DeepLab, section 4.3: two predecessors, Viterbi over the transition probabilities; DARTS, section 2.4).
    """
    return closed(space, decoder(space, probabilities))


def decoder(space: Template, probabilities: Probabilities) -> Callable[[str, Sequence[Any]], int]:
    """Return the chooser that closes the space as `decode` does."""
    decided: dict[str, int] = {}
    tree = opened(space)
    for _, node in nodes(tree):
        match node:
            case Walk():
                decided |= viterbi(node, probabilities)
            case Pick():
                decided |= _strongest(node, probabilities)
    for op in kept_edges(tree):
        decided[op.path] = _largest(_something(op, probabilities))
    return lambda path, _options: (
        decided[path] if path in decided else _largest(probabilities[path])
    )


def viterbi(node: Walk, probabilities: Probabilities) -> dict[str, int]:
    """Return the best move at every place of a walk: that of the path with the largest product of probabilities.

    Goes backwards: value(step, stride) = max over moves of p(move) * value(step + 1, to), so that the best moves from
    the start make up the best path.
    """
    best: dict[str, int] = {}
    value: dict[int, float] = {}
    for step, places in reversed(list(enumerate(reach(node)))):
        products = {
            at: [
                p * value.get(to, 1.0)
                for p, to in zip(_moves(node, step, at, probabilities), node.moves[at], strict=True)
            ]
            for at in places
        }
        value = {at: max(found) for at, found in products.items()}
        best |= {move_path(node, step, at): _largest(found) for at, found in products.items()}
    return best


def _moves(node: Walk, step: int, at: int, probabilities: Probabilities) -> Sequence[float]:
    """Return the probabilities of the moves from a place; one move is certain, and no question."""
    return probabilities[move_path(node, step, at)] if len(node.moves[at]) > 1 else (1.0,)


def _strongest(node: Pick, probabilities: Probabilities) -> dict[str, int]:
    """Return the sources that a pick keeps, and the operation of each source."""
    decided, strength = {}, []
    taken = probabilities.get(pick_path(node), [1.0] * len(node.sources))
    for source, weight in zip(node.sources, taken, strict=True):
        op = node.op(source)
        if isinstance(op, Choice) and len(op.options) > 1:
            found = _something(op, probabilities)
            decided[op.path] = _largest(found)
            strength.append(weight * max(found))
        else:
            strength.append(weight)
    kept = sorted(range(len(strength)), key=lambda i: -strength[i])[: node.count]
    ways = node.ways(0)[0]
    decided[pick_path(node)] = ways.index(tuple(node.sources[i] for i in sorted(kept)))
    return decided


def _something(op: Choice, probabilities: Probabilities) -> list[float]:
    """Return the probabilities of an edge's operations, `zero` below all others."""
    pairs = zip(kinds(op), probabilities[op.path], strict=True)
    return [-1.0 if kind == NOTHING else p for kind, p in pairs]


def kept_edges(tree: Any) -> Iterator[Choice]:
    """Yield the open operations of picks that take all of their sources, and so are no question any more."""
    match tree:
        case {"source": _, "op": Choice() as op, **others} if not others:
            yield op
        case dict():
            for value in tree.values():
                yield from kept_edges(value)
        case list():
            for value in tree:
                yield from kept_edges(value)
        case Choice():
            for option in tree.options:
                yield from kept_edges(option)


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
