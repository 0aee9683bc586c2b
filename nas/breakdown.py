"""Where the costs of a network go: its leaves one by one, or summed up by slot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nas.cost import NodeCost

By = Literal["node", "slot"]
DECODER, IN_DECODER = "decoder", 3
"""Decoders have slots of their own: `decoder.semantic.head` of `decoder.semantic.head.fcn.conv`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some leaves of a network, in running order, under one name: what they cost together.

    `memory_bytes` is the most that is held at once while one of them runs, `time_ms` None where nobody timed them.
    """

    name: str
    kind: str
    leaves: int
    macs: int
    params: int
    memory_bytes: int
    time_ms: float | None
    shape: tuple[int, int, int]


def breakdown(nodes: Sequence[NodeCost], by: By) -> list[Part]:
    """Return the parts of a network in running order; a slot that runs in turns with another stands once."""
    if by == "node":
        return [_part(node.name, [node]) for node in nodes]
    slots: dict[str, list[NodeCost]] = {}
    for node in nodes:
        slots.setdefault(slot_of(node.name), []).append(node)
    return [_part(name, of) for name, of in slots.items()]


def slot_of(name: str) -> str:
    """Return the slot that a node belongs to: encoder, or a decoder's context, neck or head."""
    parts = name.split(".")
    return ".".join(parts[: IN_DECODER if parts[0] == DECODER else 1])


def total(nodes: Iterable[NodeCost]) -> Part:
    """Return the whole network as one part."""
    return _part("total", list(nodes))


def _part(name: str, nodes: Sequence[NodeCost]) -> Part:
    times = [n.time_ms for n in nodes if n.time_ms is not None]
    return Part(
        name=name,
        kind=nodes[0].kind if len(nodes) == 1 else "",
        leaves=len(nodes),
        macs=sum(n.macs for n in nodes),
        params=sum(n.params for n in nodes),
        memory_bytes=max(n.memory_bytes for n in nodes),
        time_ms=sum(times) if times else None,
        shape=nodes[-1].shape,
    )
