"""The network of a relaxed plan: every candidate with weights of its own, mixed as the questions' weights say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nas.network import Output, child
from nas.parts import Plan, Step
from nas.relax.gates import MIX, Gate, takes_what_is_there

Weights = Mapping[str, Sequence[float | Tensor]]
"""The weight of every option of every question. What is the number 0 (no tensor) is not run at all."""

LABELS = re.compile(r"\|[^.]*")


class Chosen(NamedTuple):
    """A step that runs: on which of its inputs, with which gates (of a mixture), and what is not needed after it."""

    step: Step
    inputs: tuple[int, ...]
    gates: tuple[Gate, ...]
    frees: tuple[int, ...]


class RelaxedNetwork(nn.Module):
    """Runs a relaxed plan: (N, 3, H, W) and weights to (N, classes, H, W), or an `Output` in training.

    Parameters are named as in the plan; leaves that differ by the way to them only, and are equal, are one module.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._modules_by_leaf: dict[tuple[str, bytes], nn.Module] = {}
        self._eval = _Program(self, plan, training=False)
        self._train = _Program(self, plan, training=True)

    def forward(self, image: Tensor, weights: Weights) -> Any:
        program = self._train if self.training else self._eval
        values = program.run(image, weights)
        if not self.training:
            return values["logits"] if len(values) == 1 else values
        return Output(values.pop("logits"), values)

    def place(self, step: Step) -> nn.Module | None:
        """Return the module of a step, made at first use; none for a mixture."""
        if step.leaf.kind.name == MIX:
            return None
        key = closed_name(step.name), step.leaf.key
        if key not in self._modules_by_leaf:
            *groups, last = step.name.split(".")
            owner: nn.Module = self
            for group in groups:
                owner = child(owner, group, nn.Module)
            self._modules_by_leaf[key] = child(owner, last, step.leaf.make)
        return self._modules_by_leaf[key]

    def chosen(self, weights: Weights) -> tuple[Step, ...]:
        """Return the leaves that run in evaluation with these weights, mixtures left out."""
        return tuple(c.step for c in self._eval.choose(weights) if c.step.leaf.kind.name != MIX)

    def reaches(self, weights: Weights) -> bool:
        """Return whether an image comes to the logits with these weights."""
        try:
            self._eval.choose(weights)
        except ValueError:
            return False
        return True


def closed_name(name: str) -> str:
    """Return a node's name as closed networks have it: without what tells ways apart."""
    return LABELS.sub("", name)


class _Program:
    """Steps with the module of each; not a module itself, so that no parameter has two names."""

    def __init__(self, owner: RelaxedNetwork, plan: Plan, training: bool) -> None:
        steps, outputs = plan.steps(training)
        self.steps, same = once(steps)
        self.outputs = {name: same.get(value, value) for name, value in outputs.items()}
        self.modules = {step.output: owner.place(step) for step in self.steps}
        self._known: dict[Any, list[Chosen]] = {}

    def run(self, image: Tensor, weights: Weights) -> dict[str, Tensor]:
        values: dict[int, Tensor] = {0: image}
        for step, inputs, gates, frees in self.choose(weights):
            module = self.modules[step.output]
            if module is None:
                output = _mixed([values[v] for v in inputs], gates, weights)
            else:
                output = step.leaf.call(module, _filled(step, inputs, values))
            values[step.output] = output
            for value in frees:
                del values[value]
        return {name: values[v] for name, v in self.outputs.items()}

    def choose(self, weights: Weights) -> list[Chosen]:
        """Return what runs: steps that something alive comes to, and that an output needs."""
        pattern = tuple(tuple(_is_zero(w) for w in given) for given in weights.values())
        key = (tuple(weights), pattern)
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = _choose(self.steps, set(self.outputs.values()), weights)
        return self._known[key]


def once(steps: Sequence[Step]) -> tuple[tuple[Step, ...], dict[int, int]]:
    """Return steps without those that only repeat an earlier one, and which earlier value stands for each of these.

    Leaves that are equal, on the same inputs and without parameters, give the same: a pool or a resize that is a
    candidate on many edges runs once for each state. Dropout is not among them: it is always inside a classifier.
    """
    same: dict[int, int] = {}
    known: dict[tuple[bytes, tuple[int, ...]], int] = {}
    kept: list[Step] = []
    for step in steps:
        inputs = tuple(same.get(value, value) for value in step.inputs)
        key = step.leaf.key, inputs
        if not step.leaf.params and key in known:
            same[step.output] = known[key]
            continue
        known[key] = step.output
        kept.append(replace(step, inputs=inputs))
    return tuple(kept), same


KEPT = 16
"""Choices of steps that are remembered: with softmax there is one, with sampled paths nearly none comes again."""


def _choose(steps: Sequence[Step], outputs: set[int], weights: Weights) -> list[Chosen]:
    alive, kept = {0}, {}
    for step in steps:
        given = _given(step, alive, weights)
        if given[0]:
            kept[step.output] = given
            alive.add(step.output)
    if dead := outputs - alive:
        raise ValueError(
            f"{len(dead)} of {len(outputs)} outputs are reached by no image with these weights: give one way to them "
            "a weight that is not 0"
        )
    return _needed(steps, outputs, kept)


def _given(
    step: Step, alive: set[int], weights: Weights
) -> tuple[tuple[int, ...], tuple[Gate, ...]]:
    """Return the inputs of a step that are there, with their gates; nothing where it cannot run."""
    if step.leaf.kind.name != MIX:
        there = tuple(v for v in step.inputs if v in alive)
        whole = len(there) == len(step.inputs) or takes_what_is_there(step.leaf)
        return (there if whole else ()), ()
    pairs = [
        (v, gate)
        for v, gate in zip(step.inputs, step.leaf.fields["gates"], strict=True)
        if v in alive and not any(_is_zero(weights[path][i]) for path, i in gate)
    ]
    return tuple(v for v, _ in pairs), tuple(gate for _, gate in pairs)


def _needed(
    steps: Sequence[Step], outputs: set[int], kept: Mapping[int, tuple[tuple[int, ...], Any]]
) -> list[Chosen]:
    """Go from the outputs back; say of each value after which step it is not needed any more."""
    seen, chosen = set(outputs), []
    for step in reversed(steps):
        if step.output not in seen or step.output not in kept:
            continue
        inputs, gates = kept[step.output]
        frees = tuple(dict.fromkeys(v for v in inputs if v not in seen))
        seen.update(inputs)
        chosen.append(Chosen(step, inputs, gates, frees))
    return chosen[::-1]


def _filled(step: Step, there: tuple[int, ...], values: Mapping[int, Tensor]) -> list[Tensor]:
    """Return the inputs of a leaf; zeros stand for those that are not there."""
    if len(there) == len(step.inputs):
        return [values[v] for v in there]
    zeros = torch.zeros_like(values[there[0]])
    return [values[v] if v in there else zeros for v in step.inputs]


def _is_zero(weight: float | Tensor) -> bool:
    return not isinstance(weight, Tensor) and weight == 0


def _mixed(xs: Sequence[Tensor], gates: Sequence[Gate], weights: Weights) -> Tensor:
    total: Tensor | None = None
    for x, gate in zip(xs, gates, strict=True):
        for path, index in gate:
            weight = weights[path][index]
            if isinstance(weight, Tensor) or weight != 1:
                x = x * weight  # noqa: PLW2901
        total = x if total is None else total + x
    assert total is not None
    return total
