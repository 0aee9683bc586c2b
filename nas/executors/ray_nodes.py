"""The nodes of a Ray cluster as they come and go, and how many trials they take at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nas.errors import RunError
from nas.pool import Pool


@dataclass(frozen=True, slots=True)
class Node:
    """One node that is alive, with what it has in all."""

    id: str
    address: str
    host: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return named(self.address, self.host, self.id)

    def room(self, need: Need) -> int:
        """Return how many trials it takes at once, if nobody else uses it; a GPU is shared, never put together."""
        by_cpus = int(self.cpus / need.cpus + 1e-9)
        if not need.gpus:
            return by_cpus
        if need.gpus >= 1:
            return min(by_cpus, int(self.gpus / need.gpus))
        return min(by_cpus, int(self.gpus) * int(1 / need.gpus + 1e-9))


@dataclass(frozen=True, slots=True)
class Need:
    """What one trial takes."""

    cpus: float = 1.0
    gpus: float = 0.0

    @classmethod
    def of(cls, pool: Pool) -> Need:
        """Return what the pool says, or one processor and no accelerator."""
        return cls(pool.cpus_per_trial or 1.0, pool.gpus_per_trial or 0.0)

    def __str__(self) -> str:
        return _amounts(self.cpus, self.gpus)


@dataclass
class Nodes:
    """What is known of the cluster since the last look."""

    need: Need
    alive: Mapping[str, Node]

    @classmethod
    def find(cls, need: Need) -> Nodes:
        """Look for the first time. Raises RunError where no node is large enough for one trial."""
        nodes = cls(need, _alive())
        if not nodes.room:
            have = "; ".join(f"{n} has {_amounts(n.cpus, n.gpus)}" for n in nodes.alive.values())
            raise RunError(
                f"no node can run a trial that takes {need}: {have or 'the cluster has no node'}; ask for less"
                " (--cpus-per-trial, --gpus-per-trial), or start larger nodes first"
            )
        return nodes

    @property
    def room(self) -> int:
        """How many trials the whole cluster takes at once."""
        return sum(node.room(self.need) for node in self.alive.values())

    def look(self) -> Iterator[str]:
        """Look again; yield what a person should know: nodes that joined, nodes that are gone."""
        before, self.alive = self.alive, _alive()
        for node in self.alive.values():
            if node.id not in before:
                yield f"node {node} joined: room for {self.room} at once"
        for node in before.values():
            if node.id not in self.alive:
                yield f"node {node} is gone: room for {self.room} at once"

    def describe(self) -> str:
        """Return how many nodes there are, and what they have together."""
        cpus = sum(node.cpus for node in self.alive.values())
        gpus = sum(node.gpus for node in self.alive.values())
        count = f"{len(self.alive)} node{'s' * (len(self.alive) != 1)}"
        return f"{count} with {_amounts(cpus, gpus)}"


def free() -> str:
    """Return what nobody uses at the moment."""
    left = _ray().available_resources()
    return _amounts(left.get("CPU", 0.0), left.get("GPU", 0.0))


def named(address: str, host: str, node_id: str) -> str:
    """Return how a node is called: two of them may be on one machine."""
    return f"{address} ({host}, {node_id[:8]})"


def _ray() -> Any:
    import ray

    return ray


def _alive() -> dict[str, Node]:
    return {n["NodeID"]: _node(n) for n in _ray().nodes() if n["Alive"]}


def _node(facts: Mapping[str, Any]) -> Node:
    has = facts.get("Resources", {})
    return Node(
        facts["NodeID"],
        facts["NodeManagerAddress"],
        facts["NodeManagerHostname"],
        has.get("CPU", 0.0),
        has.get("GPU", 0.0),
    )


def _amounts(cpus: float, gpus: float) -> str:
    parts = [f"{cpus:g} CPU{'s' * (cpus != 1)}"]
    if gpus:
        parts.append(f"{gpus:g} GPU{'s' * (gpus != 1)}")
    return " and ".join(parts)
