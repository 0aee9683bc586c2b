"""Gates: what weight an input of a mixture gets, as a product of options of questions; and the questions themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from nas.fields import Place
from nas.language.tree import Choice, Pick, Walk, nodes
from nas.leaf import Leaf
from nas.registry import kind

Gate = tuple[tuple[str, int], ...]
"""(question, option) pairs; the weight is the product of theirs, and 1 without any."""

MIX = "mix"


@kind(MIX, "part")
class Mix(nn.Module):
    """A weighted sum of maps of one shape: input i has the weight of `gates[i]`. Alone, every weight is 1."""

    def __init__(self, channels: tuple[int, ...], *, gates: Place[tuple[Gate, ...]]) -> None:
        super().__init__()
        if len(set(channels)) != 1:
            raise ValueError(f"a mixture needs inputs of one width, got {list(channels)}")
        if len(gates) != len(channels):
            raise ValueError(f"a mixture of {len(channels)} inputs has {len(gates)} gates")

    def forward(self, *xs: Tensor) -> Tensor:
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total


def takes_what_is_there(leaf: Leaf) -> bool:
    """Return whether a leaf runs with some of its inputs missing: zeros stand for them."""
    return bool(getattr(leaf.kind.make, "takes_what_is_there", False))


@dataclass(frozen=True, slots=True)
class Question:
    """One distribution: of a choice over its options, of a walk over the moves from one place, of a pick over sources.

    `labels` are the options'; `ways` are the sets of options that a decision may take; `kinds` are a choice's options
    by the name of their kind, "" for what is none.
    """

    path: str
    kind: Literal["choice", "move", "pick"]
    labels: tuple[Any, ...]
    ways: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...] = ()


def questions(tree: Any) -> Iterator[Question]:
    """Yield the questions of all open nodes of a tree, whose nodes know their paths; some come more than once."""
    for _, node in nodes(tree):
        match node:
            case Choice():
                each = tuple((i,) for i in range(len(node.labels)))
                yield Question(node.path, "choice", node.labels, each, kinds(node))
            case Walk():
                yield from _moves(node)
            case Pick():
                yield _sources(node)


def kinds(node: Choice) -> tuple[str, ...]:
    """Return the kind of each option, "" for what is none."""
    if node.names is not None:
        return node.names
    return tuple(next(iter(o)) if isinstance(o, dict) and len(o) == 1 else "" for o in node.options)


def _moves(node: Walk) -> Iterator[Question]:
    for step, strides in enumerate(reach(node)):
        for stride in strides:
            options = node.moves[stride]
            each = tuple((i,) for i in range(len(options)))
            yield Question(move_path(node, step, stride), "move", tuple(options), each)


def _sources(node: Pick) -> Question:
    known = {source: i for i, source in enumerate(node.sources)}
    ways = tuple(tuple(known[s] for s in way) for way in node.ways(0)[0])
    return Question(pick_path(node), "pick", node.sources, ways)


def reach(node: Walk) -> list[tuple[int, ...]]:
    """Return the strides that a walk may be at before each of its steps, finest first."""
    places: list[tuple[int, ...]] = [(node.start,)]
    for _ in range(node.steps - 1):
        places.append(tuple(sorted({to for at in places[-1] for to in node.moves[at]})))
    return places


def move_path(node: Walk, step: int, stride: int) -> str:
    """Return the path of the question where to go from `stride`."""
    return f"{node.path}[{step}]@{stride}"


def pick_path(node: Pick) -> str:
    """Return the path of the question which sources to take."""
    return f"{node.path}.pick"
