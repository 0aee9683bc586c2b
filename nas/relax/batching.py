"""Batching: candidates of one form that read one value are run as one, as far as mixtures add them up.

A candidate is batched where its output goes to one mixture only, with a weight that is a tensor: at a one-hot, whose
weights are numbers, every leaf runs by its own module. Nothing here knows of a kind of block: forms of layers tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nas.layered import Layered
from nas.parts import Step
from nas.relax.chains import Chain, Layers, chained, counters
from nas.relax.depthwise import Lanes
from nas.relax.forms import Form, forms, loose
from nas.relax.gates import MIX, Gate
from nas.relax.levels import in_levels
from nas.relax.runs import Drawn, Run, RunChains, RunFan, RunLeaf, RunMix, Values, Weights, product
from nas.relax.stacks import lay_side_by_side, stacked


class Chosen(NamedTuple):
    """A step that runs: on which of its inputs, and with which gates (of a mixture)."""

    step: Step
    inputs: tuple[int, ...]
    gates: tuple[Gate, ...]


SMALL = 400
"""Pixels of maps on which batches of several inputs are one: on larger ones convolutions in groups gain nothing."""


class Term(NamedTuple):
    """An input of a mixture: which value, with which gate."""

    value: int
    gate: Gate
    mixture: int


class Row(NamedTuple):
    """Candidates of one form that read one value, each for another mixture."""

    forms: tuple[Form, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Bundle:
    """Rows that read one value of `shape` and go to the same mixtures, by chain; `outputs` are the mixtures' parts."""

    source: int
    shape: tuple[int, int, int]
    chains: tuple[tuple[Row, ...], ...]
    outputs: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The value that it reads."""
        return (self.source,)

    @property
    def kind(self) -> Any:
        """What bundles of several inputs must agree in to be run as one."""
        return self.shape, len(self.outputs), tuple(tuple(r.forms for r in c) for c in self.chains)


@dataclass(frozen=True, eq=False)
class Program:
    """Runs in their order, each with the values that are not needed after it."""

    runs: tuple[tuple[Run, tuple[int, ...]], ...]
    chains: tuple[Chain, ...]
    gates: tuple[tuple[Gate, ...], ...]

    def run(self, values: Values, weights: Weights) -> None:
        """Add to the values all that is computed and kept."""
        scales = [torch.stack([product(gate, weights) for gate in gates]) for gates in self.gates]
        drawn = Drawn(weights, scales, self._stacks())
        for run, frees in self.runs:
            run.run(values, drawn)
            for value in frees:
                del values[value]
        self._count()

    def lay_side_by_side(self) -> None:
        """Move what the chains stack into one piece of memory for each stack."""
        known: set[int] = set()
        for chain in self.chains:
            for layers, name in (*chain.parameters, *chain.buffers):
                tensors = [getattr(layer, name) for layer in layers]
                if known.isdisjoint(map(id, tensors)):
                    lay_side_by_side(tensors)
                known.update(map(id, tensors))

    def _stacks(self) -> Sequence[Tensor]:
        named = [pair for chain in self.chains for pair in chain.parameters]
        return stacked([[getattr(layer, name) for layer in layers] for layers, name in named])

    def _count(self) -> None:
        counted = counters(self.chains)
        if counted:
            torch._foreach_add_(counted, 1)


class Batcher:
    """Makes programs of steps that run; remembers the forms of modules."""

    def __init__(self, modules: Mapping[int, nn.Module | None]) -> None:
        self.modules = modules
        self._forms: dict[int, tuple[Form, ...] | None] = {}

    def program(
        self, chosen: Sequence[Chosen], outputs: frozenset[int], weights: Weights
    ) -> Program:
        """Return the program for these steps and all weights that are tensors where these are."""
        return _Draft(self, chosen, outputs, weights).program()

    def candidate(self, step: Step) -> tuple[Form, ...] | None:
        """Return the forms of a step's layers, if it can be run beside others."""
        if step.output not in self._forms:
            module = self.modules[step.output]
            fits = isinstance(module, Layered) and len(step.inputs) == 1
            self._forms[step.output] = forms(module.layers()) if fits else None  # type: ignore[union-attr, operator]
        return self._forms[step.output]

    def layers(self, value: int) -> Layers:
        """Return the layers of a candidate by its output."""
        module = self.modules[value]
        assert isinstance(module, Layered)
        return module.layers()


class _Draft:
    """One program while it is put together."""

    def __init__(
        self, batcher: Batcher, chosen: Sequence[Chosen], outputs: frozenset[int], weights: Weights
    ) -> None:
        self._batcher, self._chosen, self._outputs, self._weights = (
            batcher,
            chosen,
            outputs,
            weights,
        )
        self._made = {c.step.output: c for c in chosen}
        self._uses = _uses(chosen, outputs)
        self._inner = set(self._inlined())
        self._next = max(self._made) + 1
        self._gates: dict[tuple[Gate, ...], int] = {}
        self._chains: list[Chain] = []
        self._stacks = 0
        self._weighted: dict[int, list[int]] = defaultdict(list)

    def program(self) -> Program:
        """Return it."""
        terms = {m: self._terms(m) for m in self._made if self._is_mix(m) and m not in self._inner}
        rows, loners = self._sorted(terms)
        runs: list[Run | Bundle] = list(self._bundles(rows))
        batched = {term.value for row in rows.values() for term in row}
        plain, fans = self._fans(loners)
        runs += fans
        left = [c for c in self._chosen if c.step.output not in batched | self._inner]
        runs += [self._run(c, plain.get(c.step.output, ())) for c in left]
        levels = in_levels(runs)
        ordered = [run for level in levels for run in self._merged(level)]
        kept = tuple(_with_frees(ordered, self._outputs))
        return Program(kept, tuple(self._chains), tuple(self._gates))

    def _merged(self, level: Sequence[Run | Bundle]) -> Iterator[Run]:
        """Yield the runs of a level, where none needs another: bundles of one kind become one."""
        alike: dict[Any, list[Bundle]] = defaultdict(list)
        for number, run in enumerate(level):
            if isinstance(run, Bundle):
                small = run.shape[1] * run.shape[2] <= SMALL
                alike[run.kind if small else number].append(run)
            else:
                yield run
        for bundles in alike.values():
            yield self._chains_of(bundles)

    def _chains_of(self, bundles: Sequence[Bundle]) -> RunChains:
        sources = tuple(bundle.source for bundle in bundles)
        parts = tuple(part for bundle in bundles for part in bundle.outputs)
        each = zip(*(bundle.chains for bundle in bundles), strict=True)
        return RunChains(sources, tuple(self._chain(chains) for chains in each), parts)

    def _run(self, c: Chosen, terms: Sequence[Term]) -> Run:
        value = c.step.output
        module = self._batcher.modules[value]
        if module is not None:
            return RunLeaf(c.step, module, c.inputs)
        pairs = tuple((term.value, term.gate) for term in terms)
        return RunMix(value, pairs, tuple(self._weighted[value]))

    def _is_mix(self, value: int) -> bool:
        return value in self._made and self._made[value].step.leaf.kind.name == MIX

    def _inlined(self) -> Iterator[int]:
        """Yield the mixtures that only another one reads: their terms are its own."""
        for value, users in self._uses.items():
            if self._is_mix(value) and len(users) == 1 and self._is_mix(users[0]):
                yield value

    def _terms(self, mixture: int, gate: Gate = (), of: int | None = None) -> list[Term]:
        """Return what a mixture adds up, its inner mixtures' terms among it."""
        found: list[Term] = []
        of = mixture if of is None else of
        c = self._made[mixture]
        for value, inner in zip(c.inputs, c.gates, strict=True):
            whole = (*inner, *gate)
            found += (
                self._terms(value, whole, of) if value in self._inner else [Term(value, whole, of)]
            )
        return found

    def _sorted(
        self, terms: Mapping[int, Sequence[Term]]
    ) -> tuple[dict[tuple[int, tuple[Form, ...]], list[Term]], list[Term]]:
        """Return rows, candidates by what they read and their forms, and all other terms."""
        rows: dict[tuple[int, tuple[Form, ...]], list[Term]] = defaultdict(list)
        loners: list[Term] = []
        for term in (t for found in terms.values() for t in found):
            made = self._made.get(term.value)
            known = made and self._batcher.candidate(made.step)
            if made and known and len(self._uses[term.value]) == 1 and self._is_learned(term.gate):
                rows[made.inputs[0], known].append(term)
            else:
                loners.append(term)
        return rows, loners

    def _is_learned(self, gate: Gate) -> bool:
        return any(isinstance(self._weights[path][index], Tensor) for path, index in gate)

    def _bundles(
        self, rows: Mapping[tuple[int, tuple[Form, ...]], Sequence[Term]]
    ) -> Iterator[Bundle]:
        """Yield chains by what they read and the mixtures that they go to."""
        found: dict[tuple[int, tuple[int, ...]], dict[tuple[Form, ...], list[Row]]] = {}
        for (source, known), row in rows.items():
            key = source, tuple(term.mixture for term in row)
            found.setdefault(key, {}).setdefault(loose(known), []).append(Row(known, tuple(row)))
        for (source, mixtures), chains in found.items():
            first = next(iter(chains.values()))[0].terms[0]
            shape = self._made[first.value].step.leaf.inputs[0]
            yield Bundle(source, shape, tuple(map(tuple, chains.values())), self._parts(mixtures))

    def _chain(self, chains: Sequence[tuple[Row, ...]]) -> tuple[Chain, int]:
        """Return the chain of the same rows of several inputs, and the number of its scale."""
        terms = [term for rows in zip(*chains, strict=True) for row in rows for term in row.terms]
        lanes = Lanes(len(chains[0]), len(chains), len(chains[0][0].terms))
        layers = [self._batcher.layers(term.value) for term in terms]
        chain = chained(layers, lanes, self._stacks)
        self._stacks += len(chain.parameters)
        self._chains.append(chain)
        return chain, self._scale(terms)

    def _scale(self, terms: Sequence[Term]) -> int:
        return self._gates.setdefault(tuple(term.gate for term in terms), len(self._gates))

    def _parts(self, mixtures: Sequence[int]) -> tuple[int, ...]:
        """Return new values, which go to these mixtures."""
        parts = tuple(range(self._next, self._next + len(mixtures)))
        self._next += len(mixtures)
        for mixture, part in zip(mixtures, parts, strict=True):
            self._weighted[mixture].append(part)
        return parts

    def _fans(self, loners: Sequence[Term]) -> tuple[dict[int, list[Term]], list[RunFan]]:
        """Return terms that mixtures weight themselves, and fans of values that go to the same mixtures."""
        by_value: dict[int, list[Term]] = defaultdict(list)
        for term in loners:
            by_value[term.value].append(term)
        plain: dict[int, list[Term]] = defaultdict(list)
        fans: dict[tuple[int, ...], list[list[Term]]] = defaultdict(list)
        for terms in by_value.values():
            if len(terms) > 1 and all(self._is_learned(term.gate) for term in terms):
                fans[tuple(term.mixture for term in terms)].append(terms)
            else:
                for term in terms:
                    plain[term.mixture].append(term)
        runs = []
        for mixtures, spread in fans.items():
            values = tuple(terms[0].value for terms in spread)
            scale = self._scale([term for column in zip(*spread, strict=True) for term in column])
            runs.append(RunFan(values, scale, self._parts(mixtures)))
        return plain, runs


def _uses(chosen: Sequence[Chosen], outputs: frozenset[int]) -> dict[int, list[int]]:
    """Return which steps read each value; an output is read by -1."""
    uses: dict[int, list[int]] = defaultdict(list)
    for c in chosen:
        for value in c.inputs:
            uses[value].append(c.step.output)
    for value in outputs:
        uses[value].append(-1)
    return uses


def _with_frees(runs: Sequence[Run], outputs: frozenset[int]) -> list[tuple[Run, tuple[int, ...]]]:
    """Say of each value after which run it is not needed any more."""
    seen = set(outputs)
    found: list[tuple[Run, tuple[int, ...]]] = []
    for run in reversed(runs):
        frees = tuple(v for v in dict.fromkeys((*run.inputs, *run.outputs)) if v not in seen)
        seen.update(run.inputs)
        found.append((run, frees))
    return found[::-1]
