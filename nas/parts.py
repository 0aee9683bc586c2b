"""Parts: what a plan is made of, once drawn up. Costs, live nodes, running order and identity come from here.

A plan is hierarchical: what a composite adds is a `Part`, planned once per (spec, place, input channels and
strides) and remembered, so that what recurs is priced once. Nodes that no needed output asks for are neither
built, nor run, nor counted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.leaf import Leaf

Ref = tuple[int, int]
"""(node, output) inside a part; nodes below zero are the part's inputs: -1 the image, -2 the first, ..."""

IMAGE: Ref = (-1, 0)


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature map in the plan: its size is always ceil(image / stride). What is not `alive` carries nothing."""

    channels: int
    stride: int
    ref: Ref = IMAGE
    alive: bool = True

    @property
    def level(self) -> int:
        """Pyramid level: 2 for stride 4, 5 for stride 32, 9 for stride 512."""
        return self.stride.bit_length() - 1


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A leaf or a part under its name, with where its inputs come from (a part's first input is the image)."""

    name: str
    body: Leaf | Part
    inputs: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What some outputs of a part need: cost, inputs (a bit mask), live nodes with the outputs needed of each."""

    macs: int
    params: int
    inputs: int
    live: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one composite added: nodes in running order, and its result (features, listed or named)."""

    nodes: tuple[Node, ...]
    result: Any
    outputs: tuple[Ref, ...]
    demands: dict[int, Demand] = field(default_factory=dict)

    def demand(self, needed: int) -> Demand:
        """Return what the outputs in the mask `needed` take, remembered per mask."""
        if needed not in self.demands:
            self.demands[needed] = _demand(self, needed)
        return self.demands[needed]


def _demand(part: Part, needed: int) -> Demand:
    wanted: dict[int, int] = {}

    def want(ref: Ref) -> None:
        wanted[ref[0]] = wanted.get(ref[0], 0) | 1 << ref[1]

    for k, ref in enumerate(part.outputs):
        if needed >> k & 1:
            want(ref)
    macs = params = 0
    live: list[tuple[int, int]] = []
    for index in range(len(part.nodes) - 1, -1, -1):
        if index not in wanted:
            continue
        node = part.nodes[index]
        live.append((index, wanted[index]))
        cost = node.body.demand(wanted[index]) if isinstance(node.body, Part) else None
        macs += cost.macs if cost else node.body.macs  # type: ignore[union-attr]
        params += cost.params if cost else node.body.params  # type: ignore[union-attr]
        for j, ref in enumerate(node.inputs):
            if cost is None or cost.inputs >> j & 1:
                want(ref)
    inputs = sum(1 << (-1 - node) for node in wanted if node < 0)
    return Demand(macs, params, inputs, tuple(reversed(live)))


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One leaf of the flattened plan; values are numbered, 0 is the image. `frees` are values not needed after."""

    name: str
    leaf: Leaf
    inputs: tuple[int, ...]
    output: int
    frees: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole network: the root part at one image size (H, W), with its outputs by name."""

    root: Part
    size: tuple[int, int]
    names: tuple[str, ...]

    def mask(self, training: bool = False) -> int:
        """Outputs that are needed: auxiliary ones (named `aux...`) in training only."""
        return sum(
            1 << k for k, name in enumerate(self.names) if training or not name.startswith("aux")
        )

    @property
    def macs(self) -> int:
        """Multiply-adds of one forward pass on one image, in evaluation."""
        return self.root.demand(self.mask()).macs

    @property
    def params(self) -> int:
        """Parameters of the network as it is evaluated and exported: auxiliary heads are left out."""
        return self.root.demand(self.mask()).params

    def steps(self, training: bool = False) -> tuple[tuple[Step, ...], dict[str, int]]:
        """Return the live leaves in running order, and the value of each needed output by name."""
        steps: list[Step] = []
        needed = self.mask(training)
        values = _flatten(self.root, needed, "", {IMAGE: 0}, steps)
        outputs = {name: values[k] for k, name in enumerate(self.names) if needed >> k & 1}
        return _with_frees(steps, set(outputs.values())), outputs

    @cached_property
    def digest(self) -> str:
        """Identity of the network: leaves, fields and wiring of what is alive, without names; 16 hex digits."""
        steps, outputs = self.steps()
        text = hashlib.sha256()
        for step in steps:
            text.update(step.leaf.key + repr(step.inputs).encode())
        text.update(repr(sorted(outputs.items())).encode())
        return text.hexdigest()[:16]

    @property
    def peak_bytes(self) -> int:
        """Estimate of the activations alive at once in fp32 evaluation of one image.

        What later steps still need, and in the step that runs its two largest tensors.
        """
        steps, _ = self.steps()
        alive = {0: 3 * self.size[0] * self.size[1]}
        peak = 0
        for step in steps:
            peak = max(peak, sum(alive.values()) + 2 * step.leaf.largest)
            channels, height, width = step.leaf.shape
            alive[step.output] = channels * height * width
            for value in step.frees:
                alive.pop(value, None)
        return 4 * peak


def _flatten(
    part: Part, needed: int, prefix: str, values: dict[Ref, int], steps: list[Step]
) -> dict[int, int]:
    """Append the live leaves of `part`; return the value of each needed output."""
    for index, mask in part.demand(needed).live:
        node = part.nodes[index]
        name = prefix + node.name
        if isinstance(node.body, Part):
            inner = {(-1 - j, 0): values[ref] for j, ref in enumerate(node.inputs) if ref in values}
            for k, value in _flatten(node.body, mask, name + ".", inner, steps).items():
                values[index, k] = value
        else:
            values[index, 0] = len(steps) + 1
            inputs = tuple(values[ref] for ref in node.inputs)
            steps.append(Step(name, node.body, inputs, len(steps) + 1))
    return {k: values[ref] for k, ref in enumerate(part.outputs) if needed >> k & 1}


def _with_frees(steps: list[Step], kept: set[int]) -> tuple[Step, ...]:
    """Mark after which step each value is no longer needed."""
    seen = set(kept)
    marked: list[Step] = []
    for step in reversed(steps):
        last = tuple(dict.fromkeys(v for v in step.inputs if v not in seen))
        seen.update(step.inputs)
        marked.append(Step(step.name, step.leaf, step.inputs, step.output, last))
    return tuple(reversed(marked))
