"""Parts: what a plan is made of, once drawn up. Costs, live nodes, running order and identity come from here.

A plan is hierarchical: what a composite adds is a `Part`, planned once per (spec, place, input channels and
strides) and remembered, so that what recurs is priced once. Nodes that no needed output asks for are neither
built, nor run, nor counted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from nas.leaf import Leaf

Ref = tuple[int, int]
"""(node, output) inside a part; nodes below zero are the part's inputs: -1 the image, -2 the first, ..."""

IMAGE: Ref = (-1, 0)


class Feature(NamedTuple):
    """A feature map in the plan: its size is always ceil(image / stride). What is not `alive` carries nothing."""

    channels: int
    stride: int
    alive: bool = True
    ref: Ref = IMAGE

    @property
    def level(self) -> int:
        """Pyramid level: 2 for stride 4, 5 for stride 32, 9 for stride 512."""
        return self.stride.bit_length() - 1


class Demand(NamedTuple):
    """What some outputs of a part need: cost, its inputs by number, and of each node the outputs (a bit mask)."""

    macs: int
    params: int
    inputs: tuple[int, ...]
    wanted: tuple[int, ...]


@dataclass(slots=True, eq=False)  # frozen ones take four times as long to make
class Part:
    """What one composite added: its result (features, listed or named), and its nodes in running order.

    Node i is the leaf or part `bodies[i]`, called `names[i]`, and runs on `inputs[i]` (those of a part begin with the
    image). Columns rather than a list of nodes: the garbage collector does not walk tuples of strings and numbers.
    """

    names: tuple[str, ...]
    bodies: tuple[Leaf | Part, ...]
    inputs: tuple[tuple[Ref, ...], ...]
    arity: int
    result: Any
    outputs: tuple[Ref, ...]
    demands: dict[int, Demand] = field(default_factory=dict)

    def demand(self, needed: int) -> Demand:
        """Return what the outputs in the mask `needed` take, remembered per mask."""
        known = self.demands.get(needed)
        if known is None:
            known = self.demands[needed] = _demand(self, needed)
        return known


def _demand(part: Part, needed: int) -> Demand:
    """Go from the outputs back. `wanted` has the nodes and then, where negative indices lead, the part's inputs."""
    bodies, sources = part.bodies, part.inputs
    size = len(bodies)
    wanted = [0] * (size + part.arity)
    for k, (node, output) in enumerate(part.outputs):
        if needed >> k & 1:
            wanted[node] |= 1 << output
    macs = params = 0
    masks = islice(reversed(wanted), part.arity, None)  # read as they are when their turn comes
    for mask, body, refs in zip(masks, reversed(bodies), reversed(sources), strict=True):
        if mask:
            macs_of, params_of, needs, _ = body.demands.get(mask) or body.demand(mask)
            macs += macs_of
            params += params_of
            for j in needs:
                node, output = refs[j]
                wanted[node] |= 1 << output
    inputs = tuple([j for j in range(part.arity) if wanted[-1 - j]])
    return Demand(macs, params, inputs, tuple(wanted[:size]))


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
        return self._evaluation.macs

    @property
    def params(self) -> int:
        """Parameters of the network as it is evaluated and exported: auxiliary heads are left out."""
        return self._evaluation.params

    @cached_property
    def _evaluation(self) -> Demand:
        return self.root.demand(self.mask())

    def steps(self, training: bool = False) -> tuple[tuple[Step, ...], dict[str, int]]:
        """Return the live leaves in running order, and the value of each needed output by name."""
        steps, outputs = self._flat(training)
        return _with_frees(steps, set(outputs.values())), outputs

    def _flat(self, training: bool) -> tuple[list[Step], dict[str, int]]:
        steps: list[Step] = []
        needed = self.mask(training)
        values = _flatten(self.root, needed, "", {IMAGE: 0}, steps)
        return steps, {name: values[k] for k, name in enumerate(self.names) if needed >> k & 1}

    @cached_property
    def digest(self) -> str:
        """Identity of the network: leaves, fields and wiring of what is alive, without names; 16 hex digits."""
        steps, outputs = self._flat(training=False)
        text = [part for step in steps for part in (step.leaf.key, b"%a" % (step.inputs,))]
        text.append(repr(sorted(outputs.items())).encode())
        return hashlib.sha256(b"".join(text)).hexdigest()[:16]


def _flatten(
    part: Part, needed: int, prefix: str, values: dict[Ref, int], steps: list[Step]
) -> dict[int, int]:
    """Append the live leaves of `part`; return the value of each needed output."""
    for index, mask in enumerate(part.demand(needed).wanted):
        if not mask:
            continue
        name, body, refs = prefix + part.names[index], part.bodies[index], part.inputs[index]
        if isinstance(body, Part):
            inner = {(-1 - j, 0): values[ref] for j, ref in enumerate(refs) if ref in values}
            for k, value in _flatten(body, mask, name + ".", inner, steps).items():
                values[index, k] = value
        else:
            values[index, 0] = len(steps) + 1
            steps.append(Step(name, body, tuple([values[ref] for ref in refs]), len(steps) + 1))
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
