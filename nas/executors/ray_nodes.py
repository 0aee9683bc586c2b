"""The nodes of a Ray cluster as they come and go, and how many trials they take at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from nas.errors import RunError
from nas.pool import Pool

HEADLESS_S = 10.0
"""Seconds without an answer of the cluster's head after which a person is told."""
HEADLESS = (
    f"the head of the Ray cluster has not answered for {HEADLESS_S:g} s; after a minute Ray ends this process: start a"
    " cluster again then, and go on with --resume and its --address"
)


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
    """What is known of the cluster since the last look, which a thread takes: without a head it would last a minute."""

    need: Need
    alive: Mapping[str, Node]
    _seen: SimpleQueue[Mapping[str, Node]] = field(default_factory=SimpleQueue)
    _looking_since: float | None = None
    _told: bool = False

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
        """Take in the last look and begin another; yield what a person should know of it."""
        if not self._seen.empty():
            self._looking_since, self._told = None, False
            yield from self._compare(self._seen.get())
        if self._looking_since is None:
            self._looking_since = time.monotonic()
            threading.Thread(target=self._look, daemon=True).start()
        elif not self._told and time.monotonic() - self._looking_since > HEADLESS_S:
            self._told = True
            yield HEADLESS

    def _look(self) -> None:
        with suppress(Exception):  # the connection is closed, or Ray ends the process
            self._seen.put(_alive())

    def _compare(self, now: Mapping[str, Node]) -> Iterator[str]:
        """Yield which nodes joined, and which are gone."""
        before, self.alive = self.alive, now
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
