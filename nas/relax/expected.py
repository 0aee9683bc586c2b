"""Expected costs: the sum over leaves of P(leaf runs) times its price, differentiable in the questions' weights.

P(leaf runs) = P(something comes to it) * P(an output needs it | something comes). The first goes forward, the second
back, part by part: both depend on the weights alone inside a part, so that a part which recurs is computed once. It is
exact for choices and walks, however they are nested, and at a one-hot it is the cost of the closed network: what a
mixture adds up there (the sources of a pick) costs what a `sum` of as many does. One thing is left out, which has
neither MACs nor parameters: closed leaves that stand zeros in for missing inputs are not those of the mixture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from nas.leaf import Leaf, Shape, leaf_of
from nas.parts import Part, Plan, Ref
from nas.registry import find
from nas.relax.gates import MIX, Gate, takes_what_is_there
from nas.relax.needs import ALWAYS, NEVER, Chance, Need, Needs, is_number, times
from nas.relax.network import Weights

Dead = frozenset[int]
Prices = Callable[[Leaf], Sequence[float]]
ROUNDING = 1e-6
"""By how much the weights of a choice may sum to more than 1."""


class Expectation(NamedTuple):
    """Of a part, given that its inputs are there and its outputs are needed.

    `costs` (one per price), the chance that each output is `alive`, and that each input is `needed`.
    """

    costs: Tensor
    alive: Mapping[int, Chance]
    needed: Sequence[Need]


def expected(plan: Plan, weights: Weights, prices: Prices) -> Tensor:
    """Return the expected costs of a relaxed plan in evaluation, (number of prices,) in double precision.

    `prices(leaf)` are the costs of one leaf, e.g. `(leaf.macs, leaf.params)`.
    """
    doubled = {
        path: [w.double() if isinstance(w, Tensor) else w for w in given]
        for path, given in weights.items()
    }
    return _Expecting(doubled, prices).part(plan.root, plan.mask(), frozenset()).costs


class _Expecting:
    """One evaluation: the weights and prices, and what is known of parts all of whose wanted outputs are needed."""

    def __init__(self, weights: Weights, prices: Prices) -> None:
        self._weights, self._prices = weights, prices
        self.needs = Needs(weights)
        self._known: dict[tuple[int, int, Dead], Expectation] = {}
        self._priced: dict[int, Tensor] = {}
        self._sums: dict[tuple[Shape, int], Tensor] = {}

    def part(self, part: Part, mask: int, dead: Dead) -> Expectation:
        """Return what is expected of a part whose outputs in the mask are needed; nothing comes to `dead` inputs."""
        key = (id(part), mask, dead)
        if key not in self._known:
            self._known[key] = _Pass(self, part, mask, dead).back({})
        return self._known[key]

    def weight(self, gate: Gate) -> Chance:
        """Return the product of a gate's weights."""
        weight: Chance = 1.0
        for path, index in gate:
            weight = times(weight, self._weights[path][index])
        return weight

    def price(self, leaf: Leaf) -> Tensor:
        """Return the costs of a leaf that runs."""
        if id(leaf) not in self._priced:
            self._priced[id(leaf)] = torch.tensor(self._prices(leaf), dtype=torch.double)
        return self._priced[id(leaf)]

    def joining(self, shape: Shape, number: Chance) -> Tensor | None:
        """Return the costs of adding up `number` maps, linear between whole numbers; None where it is one or less."""
        value = float(number.detach() if isinstance(number, Tensor) else number)
        if value <= 1 + ROUNDING:
            return None
        below = int(value)
        low, high = (self._sum(shape, n) for n in (below, below + 1))
        return low + (high - low) * (number - below)

    def _sum(self, shape: Shape, number: int) -> Tensor:
        if (shape, number) not in self._sums:
            leaf = leaf_of(find("sum"), {}, (shape,) * number, None)
            costs = torch.tensor(self._prices(leaf), dtype=torch.double)
            self._sums[shape, number] = costs if number > 1 else torch.zeros_like(costs)
        return self._sums[shape, number]


class _Pass:
    """Once forward and once back through one part: which values are there, and which are needed."""

    def __init__(self, expecting: _Expecting, part: Part, mask: int, dead: Dead) -> None:
        self._expecting, self._part, self._mask = expecting, part, mask
        self._wanted = part.demand(mask).wanted
        self._alive: dict[Ref, Chance] = {
            (-1 - j, 0): float(j not in dead) for j in range(part.arity)
        }
        self._needs: dict[Ref, list[Need]] = defaultdict(list)
        for i, inner in enumerate(self._wanted):
            if inner:
                self._forward(i, inner)

    def back(self, outputs: Mapping[int, Need]) -> Expectation:
        """Return the expectation; `outputs` are how outputs are needed, always if it does not say."""
        wanted = [(k, ref) for k, ref in enumerate(self._part.outputs) if self._mask >> k & 1]
        for k, ref in wanted:
            self._needs[ref].append(outputs.get(k, ALWAYS))
        total = torch.zeros((), dtype=torch.double)
        for i in reversed(range(len(self._wanted))):
            if self._wanted[i] and (cost := self._backward(i)) is not None:
                total = total + cost
        alive = {k: self._alive[ref] for k, ref in wanted}
        return Expectation(total, alive, [self._need((-1 - j, 0)) for j in range(self._part.arity)])

    def _forward(self, i: int, mask: int) -> None:
        body, refs = self._part.bodies[i], self._part.inputs[i]
        if isinstance(body, Part):
            inputs = [self._alive[refs[j]] for j in body.demand(mask).inputs]
            there = _least([chance for chance in inputs if not is_number(chance, 0)])
            for k, chance in self._expecting.part(body, mask, self._dead(refs)).alive.items():
                self._alive[i, k] = times(there, chance)
        elif body.kind.name == MIX:
            self._alive[i, 0] = _at_most_one(self._chances(body, refs))
        else:
            join = _at_most_one if takes_what_is_there(body) else _least
            self._alive[i, 0] = join([self._alive[ref] for ref in refs])

    def _chances(self, mixture: Leaf, refs: Sequence[Ref]) -> list[Chance]:
        """Return how likely each input of a mixture comes to it."""
        pairs = zip(mixture.fields["gates"], refs, strict=True)
        return [times(self._expecting.weight(g), self._alive[ref]) for g, ref in pairs]

    def _backward(self, i: int) -> Tensor | None:
        """Pass on what the node needs; return what it is expected to cost, None where it never runs."""
        body, refs, needs = self._part.bodies[i], self._part.inputs[i], self._expecting.needs
        if isinstance(body, Part):
            return self._inside(i, body, refs)
        need = self._need((i, 0))
        if need == NEVER:
            return None
        if body.kind.name == MIX:
            for gate, ref in zip(body.fields["gates"], refs, strict=True):
                self._needs[ref].append(needs.both(need, needs.gate(gate)))
            joining = self._expecting.joining(body.shape, _total(self._chances(body, refs)))
            return None if joining is None else joining * needs.chance(need)
        for ref in refs:
            self._needs[ref].append(need)
        return self._expecting.price(body) * times(needs.chance(need), self._alive[i, 0])

    def _inside(self, i: int, body: Part, refs: Sequence[Ref]) -> Tensor | None:
        """Go into a part: once for all uses of it, unless its outputs are needed in different ways."""
        outputs = {k: n for k in range(len(body.outputs)) if (n := self._need((i, k))) != NEVER}
        if not outputs:
            return None
        needs, mask = self._expecting.needs, sum(1 << k for k in outputs)
        if len(set(outputs.values())) == 1:
            inside = self._expecting.part(body, mask, self._dead(refs))
            outer = next(iter(outputs.values()))
        else:
            inside = _Pass(self._expecting, body, mask, self._dead(refs)).back(outputs)
            outer = ALWAYS
        there: list[Chance] = []
        for need, ref in zip(inside.needed, refs, strict=True):
            if need != NEVER and not is_number(self._alive[ref], 0):
                self._needs[ref].append(needs.both(outer, need))
                there.append(self._alive[ref])
        return inside.costs * times(needs.chance(outer), _least(there))

    def _dead(self, refs: Sequence[Ref]) -> Dead:
        """Return the inputs, by number, that nothing comes to."""
        return frozenset(j for j, ref in enumerate(refs) if is_number(self._alive.get(ref, 1.0), 0))

    def _need(self, ref: Ref) -> Need:
        found = self._needs.get(ref, [])
        if len(found) != 1:
            found[:] = [self._expecting.needs.either(found)]
        return found[0]


def _total(chances: Sequence[Chance]) -> Chance:
    return sum(chances[1:], start=chances[0]) if chances else 0.0


def _at_most_one(chances: Sequence[Chance]) -> Chance:
    total = _total(chances)
    return total.clamp(max=1.0) if isinstance(total, Tensor) else min(1.0, total)


def _least(chances: Sequence[Chance]) -> Chance:
    """Return the smallest: of values that come together or not at all, the chance that all are there."""
    tensors = {id(c): c for c in chances if isinstance(c, Tensor)}
    number = min((c for c in chances if not isinstance(c, Tensor)), default=1.0)
    if not tensors or number == 0:
        return number
    return reduce(torch.minimum, tensors.values(), torch.tensor(number, dtype=torch.double))
