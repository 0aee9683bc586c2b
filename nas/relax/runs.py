"""Runs: what one forward pass of a relaxed plan is made of, each adding the values that it computes to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.parts import Step
from nas.relax.chains import Chain
from nas.relax.gates import Gate

Weights = Mapping[str, Sequence[float | Tensor]]
"""The weight of every option of every question. What is the number 0 (no tensor) is not run at all."""

Values = dict[int, Tensor]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one forward pass computes with: weights, products of gates, and parameters as stacks."""

    weights: Weights
    scales: Sequence[Tensor]
    stacks: Sequence[Tensor]


def product(gate: Gate, weights: Weights) -> Tensor:
    """Return the product of a gate's weights, one of which is a tensor."""
    found: float | Tensor = 1.0
    for path, index in gate:
        found = found * weights[path][index]
    assert isinstance(found, Tensor)
    return found


@dataclass(frozen=True, eq=False, slots=True)
class RunLeaf:
    """One leaf, by its module; zeros stand for inputs that are not there."""

    step: Step
    module: nn.Module
    inputs: tuple[int, ...]

    def run(self, values: Values, _drawn: Drawn) -> None:
        """Add the step's output to the values."""
        there = [values[v] for v in self.inputs]
        if len(there) < len(self.step.inputs):
            zeros, known = torch.zeros_like(there[0]), set(self.inputs)
            there = [values[v] if v in known else zeros for v in self.step.inputs]
        values[self.step.output] = self.step.leaf.call(self.module, there)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The values that it adds."""
        return (self.step.output,)


@dataclass(frozen=True, eq=False, slots=True)
class RunMix:
    """The sum of values times the weights of their gates, and of what batches have weighted already."""

    output: int
    terms: tuple[tuple[int, Gate], ...]
    weighted: tuple[int, ...]

    def run(self, values: Values, drawn: Drawn) -> None:
        """Add the mixture to the values."""
        found = [values[v] for v in self.weighted]
        for value, gate in self.terms:
            x = values[value]
            for path, index in gate:
                weight = drawn.weights[path][index]
                if isinstance(weight, Tensor) or weight != 1:
                    x = x * weight
            found.append(x)
        total = found[0]
        for x in found[1:]:
            total = total + x
        values[self.output] = total

    @property
    def inputs(self) -> tuple[int, ...]:
        """The values that it adds up."""
        return (*(value for value, _ in self.terms), *self.weighted)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The value that it adds."""
        return (self.output,)


@dataclass(frozen=True, eq=False, slots=True)
class RunChains:
    """Chains that read the same value and go to the same mixtures: one map for each of these."""

    inputs: tuple[int, ...]
    chains: tuple[tuple[Chain, int], ...]
    outputs: tuple[int, ...]

    def run(self, values: Values, drawn: Drawn) -> None:
        """Add the weighted sums to the values."""
        x = (
            values[self.inputs[0]]
            if len(self.inputs) == 1
            else torch.cat([values[v] for v in self.inputs], 1)
        )
        begun: dict[tuple[int, ...], Tensor] = {}
        total: Tensor | None = None
        for chain, scale in self.chains:
            y = chain.run(_begin(x, chain, begun), drawn.stacks, drawn.scales[scale])
            total = y if total is None else total + y
        assert total is not None
        values.update(zip(self.outputs, total.unbind(1), strict=True))


def _begin(x: Tensor, chain: Chain, begun: dict[Any, Tensor]) -> Tensor:
    """Run the layers in front of the first parameters, unless another chain that begins with them has."""
    for i, layer in enumerate(chain.before, 1):
        prefix = chain.begins[:i]
        if prefix not in begun:
            begun[prefix] = layer(x)
        x = begun[prefix]
    return x


@dataclass(frozen=True, eq=False, slots=True)
class RunFan:
    """Values all of which go to the same mixtures: every weighted sum of them in one product of matrices."""

    inputs: tuple[int, ...]
    scale: int
    outputs: tuple[int, ...]

    def run(self, values: Values, drawn: Drawn) -> None:
        """Add the weighted sums to the values."""
        xs = torch.stack([values[v] for v in self.inputs], 1)
        n, count = xs.shape[:2]
        weights = drawn.scales[self.scale].view(-1, count).expand(n, -1, -1)
        sums = torch.bmm(weights, xs.reshape(n, count, -1)).view(n, -1, *xs.shape[2:])
        values.update(zip(self.outputs, sums.unbind(1), strict=True))


Run = RunLeaf | RunMix | RunChains | RunFan
