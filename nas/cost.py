"""What an architecture costs, from shapes on the meta device: no tensor of the image's size is ever made.

MACs are the multiply-adds of convolutions, linear layers and matrix products, attention included, of one
evaluation of one image. Parameters leave auxiliary heads out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nas.memory import bytes_by_step, peak_inference, peak_training
from nas.network import input_size
from nas.plan import Plan, Planner
from nas.registry import domain

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.recipe import Recipe


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One leaf of the network: its name, kind, MACs, parameters and output shape (C, H, W).

    `memory_bytes` is what is held at once while it runs, in evaluation, `time_ms` its share of the latency if known.
    """

    name: str
    kind: str
    macs: int
    params: int
    shape: tuple[int, int, int]
    memory_bytes: int
    time_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """MACs and parameters of a network at an input size (H, W), and of each of its leaves.

    `memory_bytes` is held at most while it evaluates one image, `training_bytes` in a training step (see `nas.memory`).
    """

    macs: int
    params: int
    memory_bytes: int
    size: tuple[int, int]
    nodes: tuple[NodeCost, ...]
    training_bytes: int | None = None


Price = Callable[[Plan], float]
PRICES: dict[str, Price] = {
    "macs": lambda plan: plan.macs,
    "params": lambda plan: plan.params,
    "memory": peak_inference,
}
"""How each cost is read off a plan; latency comes from a target's predictor, given to the `Counter`."""


@dataclass(frozen=True, eq=False)
class Counted:
    """Costs of one architecture, each counted when it is first asked for, and the identity of its network."""

    plan: Plan
    prices: Mapping[str, Price]
    _known: dict[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-adds of one evaluation of one image."""
        return self.plan.macs

    @property
    def params(self) -> int:
        """Parameters of the network as it is evaluated."""
        return self.plan.params

    @property
    def digest(self) -> str:
        """Identity of the network: equal digests are equal networks."""
        return self.plan.digest

    def cost(self, name: str) -> float:
        """Return one cost, in the unit of `nas.units.COSTS`; KeyError where nothing was given to count it by."""
        if name not in self._known:
            self._known[name] = self.prices[name](self.plan)
        return self._known[name]

    def costs(self, names: Iterable[str]) -> dict[str, float]:
        """Return several costs by name."""
        return {name: self.cost(name) for name in names}


class Counter:
    """Counts architectures at one input size (H, W); a part that was seen before costs nothing to count.

    `latency` predicts the milliseconds of a plan.
    """

    def __init__(self, size: tuple[int, int], latency: Price | None = None) -> None:
        self._planner = Planner(size)
        self._prices = PRICES if latency is None else {**PRICES, "latency": latency}

    def count(self, architecture: Architecture | Mapping[str, Any]) -> Counted:
        """Return the costs of an architecture. Raises PlanError where it does not fit together."""
        return Counted(self._planner.plan(architecture), self._prices)


def cost(
    architecture: Architecture | Mapping[str, Any],
    size: tuple[int, int] | None = None,
    *,
    training: Recipe | None = None,
    times: Mapping[str, float] | None = None,
) -> Cost:
    """Count a network at `size` (H, W), or at its own input size, leaf by leaf.

    With a recipe, also the memory of its training step; raises TrainingError where that cannot be told. `times` are
    milliseconds of the nodes by name, as `nas.latency.node_times` gives them.
    """
    plan = Planner(size or input_size(architecture)).plan(architecture)
    steps, _ = plan.steps()
    held, times = bytes_by_step(plan), times or {}
    nodes = tuple(
        NodeCost(
            name=s.name,
            kind=s.leaf.kind.name,
            macs=s.leaf.macs,
            params=s.leaf.params,
            shape=s.leaf.shape,
            memory_bytes=held[s.name],
            time_ms=times.get(s.name),
        )
        for s in steps
    )
    step_bytes = None
    if training is not None:
        tree = architecture if isinstance(architecture, Mapping) else architecture.tree
        step_bytes = peak_training(plan, domain().plain_task(tree), training)
    return Cost(plan.macs, plan.params, max(held.values()), plan.size, nodes, step_bytes)
