"""What an architecture costs, from shapes on the meta device: no tensor of the image's size is ever made.

MACs are the multiply-adds of convolutions, linear layers and matrix products, attention included, of one
evaluation of one image. Parameters leave auxiliary heads out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.network import input_size
from nas.plan import Planner

if TYPE_CHECKING:
    from nas.architecture import Architecture


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One leaf of the network: its name, kind, MACs, parameters and output shape (C, H, W)."""

    name: str
    kind: str
    macs: int
    params: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """MACs and parameters of a network at an input size (H, W), and of each of its leaves."""

    macs: int
    params: int
    peak_bytes: int
    size: tuple[int, int]
    nodes: tuple[NodeCost, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """Costs of one architecture and the digest of its network: equal digests are equal networks."""

    macs: int
    params: int
    digest: str


class Counter:
    """Counts architectures at one input size (H, W); a part that was seen before costs nothing to count."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._planner = Planner(size)

    def count(self, architecture: Architecture | Mapping[str, Any]) -> Counted:
        """Return MACs, parameters and digest. Raises PlanError where the architecture does not fit together."""
        plan = self._planner.plan(architecture)
        return Counted(plan.macs, plan.params, plan.digest)


def cost(
    architecture: Architecture | Mapping[str, Any], size: tuple[int, int] | None = None
) -> Cost:
    """Count a network at `size` (H, W), or at its own input size, leaf by leaf."""
    plan = Planner(size or input_size(architecture)).plan(architecture)
    steps, _ = plan.steps()
    nodes = tuple(
        NodeCost(s.name, s.leaf.kind.name, s.leaf.macs, s.leaf.params, s.leaf.shape) for s in steps
    )
    return Cost(plan.macs, plan.params, plan.peak_bytes, plan.size, nodes)
