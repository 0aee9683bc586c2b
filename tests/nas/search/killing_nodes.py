"""A search on a Ray cluster of several nodes, of which workers, whole nodes and the driver are killed.

This process has the cluster's environment, too.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.nas.executors.ray_cluster import Cluster, wait_for_room
from tests.nas.search.killing import Process, Search, descendants

CPUS = 2
"""Trials that a node takes at once."""


class OnCluster(Search):
    """A search whose workers are processes of the nodes; a node that is killed is replaced by a new one."""

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        trials: int,
        *,
        cluster: Cluster,
        nodes: int = 2,
    ) -> None:
        super().__init__(folder, {**asked, "executor": "ray", "address": cluster.address}, trials)
        self.environment = cluster.environment
        self._cluster = cluster
        self.nodes = [cluster.add(cpus=CPUS) for _ in range(nodes)]
        self.node_kills = 0

    def go_on(self) -> None:
        """Start a driver unless one is running, once all nodes have joined: a search needs one that can run a trial."""
        if self.driver is None or self.driver.poll() is not None:
            while not self._has_room():
                self._replace(self.nodes[0])
        super().go_on()

    def kill_worker(self, rng: random.Random) -> bool:
        """Kill a worker, or one time in four a node."""
        if rng.random() < 0.75 or not self.note_processes():
            return super().kill_worker(rng)
        self._replace(rng.choice(self.nodes))
        self.node_kills += 1
        return True

    def workers(self) -> set[Process]:
        """Return the actors on all nodes, and their processes."""
        found = {p for node in self.nodes for p in descendants(node.pid)}
        actors = {p for p in found if _is_actor(p)}
        return actors | {p for actor in actors for p in descendants(actor[0])}

    def _has_room(self) -> bool:
        """Wait until all nodes have joined; on a busy machine the head may take one for dead that is only slow."""
        with suppress(AssertionError):
            wait_for_room(self._cluster, CPUS * len(self.nodes))
            return True
        return False

    def _replace(self, node: subprocess.Popen[bytes]) -> None:
        self._cluster.kill(node)
        self.nodes.remove(node)
        self.nodes.append(self._cluster.add(cpus=CPUS))


def _is_actor(process: Process) -> bool:
    with suppress(OSError):
        return b"ray::Boot" in Path(f"/proc/{process[0]}/cmdline").read_bytes()
    return False
