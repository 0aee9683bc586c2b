"""The network of a relaxed plan: every candidate with weights of its own, mixed as the questions' weights say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nas.network import Output, child
from nas.parts import Plan, Step
from nas.relax.batching import Batcher, Chosen, Program
from nas.relax.gates import MIX, Gate, takes_what_is_there
from nas.relax.runs import Weights as Weights  # noqa: PLC0414 (for those who hold a network)

LABELS = re.compile(r"\|[^.]*")


class RelaxedNetwork(nn.Module):
    """Runs a relaxed plan: (N, 3, H, W) and weights to (N, classes, H, W), or an `Output` in training.

    Parameters are named as in the plan; leaves that differ by the way to them only, and are equal, are one module.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._modules_by_leaf: dict[tuple[str, bytes], nn.Module] = {}
        self._eval = _Steps(self, plan, training=False)
        self._train = _Steps(self, plan, training=True)
        self._lay_side_by_side()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        moved = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._lay_side_by_side()
        return moved

    def _lay_side_by_side(self) -> None:
        """Move weights that are computed with together into one piece of memory."""
        self._train.everything().lay_side_by_side()

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

    def questions(self, weights: Weights) -> frozenset[str]:
        """Return the questions whose answers decide what runs with these weights, in training."""
        gates = (gate for chosen in self._train.choose(weights) for gate in chosen.gates)
        return frozenset(path for gate in gates for path, _ in gate)

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


class _Steps:
    """Steps with the module of each; not a module itself, so that no parameter has two names."""

    def __init__(self, owner: RelaxedNetwork, plan: Plan, training: bool) -> None:
        steps, outputs = plan.steps(training)
        self.steps, same = once(steps)
        self.outputs = {name: same.get(value, value) for name, value in outputs.items()}
        self._needed = frozenset(self.outputs.values())
        self._batcher = Batcher({step.output: owner.place(step) for step in self.steps})
        self._chosen: dict[Any, list[Chosen]] = {}
        self._programs: dict[Any, Program] = {}

    def run(self, image: Tensor, weights: Weights) -> dict[str, Tensor]:
        values: dict[int, Tensor] = {0: image}
        self.program(weights).run(values, weights)
        return {name: values[v] for name, v in self.outputs.items()}

    def choose(self, weights: Weights) -> list[Chosen]:
        """Return what runs: steps that something alive comes to, and that an output needs."""
        key = _pattern(weights)
        if key not in self._chosen:
            _make_room(self._chosen)
            self._chosen[key] = _choose(self.steps, self._needed, weights)
        return self._chosen[key]

    def program(self, weights: Weights) -> Program:
        """Return how it is run."""
        key = _pattern(weights)
        if key not in self._programs:
            chosen = self.choose(weights)
            _make_room(self._programs)
            self._programs[key] = self._batcher.program(chosen, self._needed, weights)
        return self._programs[key]

    def everything(self) -> Program:
        """Return the program of a mixture of all options."""
        asked: dict[str, int] = {}
        for step in self.steps:
            for path, index in (
                pair for gate in step.leaf.fields.get("gates", ()) for pair in gate
            ):
                asked[path] = max(asked.get(path, 0), index + 1)
        return self.program({path: torch.ones(number).unbind() for path, number in asked.items()})


KEPT = 16
"""Choices of steps that are remembered: with softmax there is one, with sampled paths nearly none comes again."""


def _make_room(known: dict[Any, Any]) -> None:
    if len(known) >= KEPT:
        known.clear()


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


def _choose(steps: Sequence[Step], outputs: frozenset[int], weights: Weights) -> list[Chosen]:
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
    steps: Sequence[Step], outputs: frozenset[int], kept: Mapping[int, tuple[tuple[int, ...], Any]]
) -> list[Chosen]:
    """Return what the outputs need, going back from them."""
    seen, chosen = set(outputs), []
    for step in reversed(steps):
        if step.output in seen and step.output in kept:
            inputs, gates = kept[step.output]
            seen.update(inputs)
            chosen.append(Chosen(step, inputs, gates))
    return chosen[::-1]


def _is_zero(weight: float | Tensor) -> bool:
    return not isinstance(weight, Tensor) and weight == 0


def _pattern(weights: Weights) -> tuple[Any, ...]:
    """Return what a program depends on: which weights are tensors (2), other numbers (1), or 0."""
    kinds = (
        tuple(2 if isinstance(w, Tensor) else int(w != 0) for w in given)
        for given in weights.values()
    )
    return (*weights, *kinds)
