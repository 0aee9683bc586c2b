"""Plans of open trees: every way to close a choice is planned, and what comes of them meets in a mixture.

Composites are those of closed plans, none knows of mixtures: `RelaxedNet` answers what they ask of their net. Where the
ways of a choice differ in their strides (pyramid depth), what follows cannot be planned once: the composite around them
is planned once per way, and its results meet in their turn, at the latest as logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nas.language.tree import Choice, Pick, Template, Use, Walk
from nas.nested import features_in
from nas.parts import Feature
from nas.plan import Moves, Net, Planner
from nas.plan import Use as Call
from nas.relax.gates import MIX, Gate, move_path, pick_path, reach
from nas.relax.ways import UnmixableError, Way, substitute, ways
from nas.resolve import resolve

LABEL = "|"
"""What follows it in a node's name, up to the next dot, tells ways apart; a closed network has none."""


def opened(space: Template) -> dict[str, Any]:
    """Return a space's tree with all questions open, each open node knowing its path, and lets written out."""
    left = resolve(space, lambda _path, _options: None)
    if not isinstance(left, Template):
        return left.tree  # type: ignore[no-any-return]
    tree: dict[str, Any] = _written_out(left.tree, left.lets)
    return tree


def _written_out(tree: Any, lets: Mapping[str, Any]) -> Any:
    match tree:
        case Use():
            return _written_out(lets[tree.name], lets)
        case dict():
            return {k: _written_out(v, lets) for k, v in tree.items()}
        case list():
            return [_written_out(v, lets) for v in tree]
        case Choice():
            options = tuple(_written_out(o, lets) for o in tree.options)
            return Choice(options, tree.names, tree.path)
        case Pick():
            ops = {s: _written_out(tree.op(s), lets) for s in tree.sources}
            return Pick(tree.count, tree.sources, {}, tree.path, ops)
    return tree


class Ends(dict[Any, Any]):
    """What an open walk results in, by the stride where it ends: what reads it is planned once for each."""


class Fork(Exception):  # noqa: N818
    """The ways of a mixture have other strides: the composite around it must be planned once for each.

    `gates` are the questions that tell the ways apart, and how many options each has.
    """

    def __init__(self, at: str, options: Mapping[str, int]) -> None:
        super().__init__(at)
        self.at, self.options = at, options


class RelaxedPlanner(Planner):
    """Plans open trees."""

    def check_closed(self, use: Call) -> None:
        """Let open fields pass into composites; leaves never get any."""
        if use.kind.is_leaf:
            super().check_closed(use)

    def plan(self, architecture: Any) -> Any:
        try:
            return super().plan(architecture)
        except Fork as fork:
            raise UnmixableError(
                fork.options,
                "they give features of different strides, and nothing around them can be planned once for each",
            ) from None


class RelaxedNet(Net):
    """What composites of an open tree draw on."""

    def add(self, name: str, spec: Any, *inputs: Any, **place: Any) -> Any:
        if ends := next((x for x in inputs if isinstance(x, Ends)), None):
            drawn = [
                (end, tuple(x[end] if isinstance(x, Ends) else x for x in inputs)) for end in ends
            ]
            return self._join(
                name,
                [((), self.add(f"{name}{LABEL}end{e}", spec, *xs, **place)) for e, xs in drawn],
            )
        found = None if callable(spec) else ways(spec)
        if found is None:
            try:
                return super().add(name, spec, *inputs, **place)
            except Fork as fork:
                found, places = self._hoisted(fork, spec, place)
                return self._ways(name, found, inputs, places)
        return self._ways(name, found, inputs, [place] * len(found))

    def _ways(self, name: str, found: Sequence[Way], inputs: Any, places: Sequence[Any]) -> Any:
        results = []
        for (gate, label, spec), place in zip(found, places, strict=True):
            try:
                drawn = self.add(f"{name}{LABEL}{label}", spec, *inputs, **place)
            except Fork as fork:  # the question inside has no meaning where this one goes another way: this one first
                raise Fork(fork.at, _numbers([gate for gate, *_ in found])) from None
            results.append((gate, drawn))
        return self._join(name, results)

    def _hoisted(self, fork: Fork, spec: Any, place: dict[str, Any]) -> tuple[list[Way], list[Any]]:
        """Return this composite's spec and place for each way of what forked inside of it."""
        path, number = next(iter(fork.options.items()))
        closed = [(substitute(spec, path, i), substitute(place, path, i)) for i in range(number)]
        if callable(spec):
            closed = [(spec, inner) for _, inner in closed]
        if closed[0] == (spec, place):
            raise fork
        found: list[Way] = [(((path, i),), f"{i}", s) for i, (s, _) in enumerate(closed)]
        return found, [p for _, p in closed]

    def _join(self, name: str, results: Sequence[tuple[Gate, Any]]) -> Any:
        """Mix the results of several ways, feature by feature."""
        first = results[0][1]
        layouts = [_layout(result) for _, result in results]
        if any(layout != layouts[0] for layout in layouts):
            gates = [gate for gate, _ in results]
            numbers = _numbers(gates)
            culprits = _culprits(gates, layouts)
            raise Fork(f"{self._at}.{name}", {p: numbers[p] for p in culprits or numbers})
        columns = zip(*(features_in(result) for _, result in results), strict=True)
        names = [f"{name}{LABEL}{i}" if i else name for i in range(len(features_in(first)))]
        gates = [gate for gate, _ in results]
        mixed = [
            self._mixed(n, list(zip(gates, column, strict=True)))
            for n, column in zip(names, columns, strict=True)
        ]
        return _with_features(first, iter(mixed))

    def _mixed(self, name: str, gated: Sequence[tuple[Gate, Feature]]) -> Feature:
        alive = [(gate, f) for gate, f in gated if f.alive]
        if not alive:
            return self.nothing(gated[0][1])
        widths = {f.channels for _, f in alive}
        if len(widths) > 1:
            paths = _culprits([gate for gate, _ in alive], [f.channels for _, f in alive])
            raise UnmixableError(
                paths or [f"{self._at}.{name}"],
                f"the ways have {sorted(widths)} channels at stride {alive[0][1].stride}, and a mixture adds maps of "
                "one width",
            )
        if len(alive) == 1 and not alive[0][0]:
            return alive[0][1]
        gates = tuple(gate for gate, _ in alive)
        mixed: Feature = super().add(name, {MIX: {}}, *[f for _, f in alive], gates=gates)
        return mixed

    def mix(self, name: str, *features: Feature) -> Feature:
        return self._mixed(name, [((), f) for f in features])

    def pick(self, name: str, entries: Any, draw: Callable[[str, Any], Feature]) -> Feature:
        if not isinstance(entries, Pick):
            return super().pick(name, entries, draw)
        path = pick_path(entries)
        drawn = [(((path, i),), draw(s, entries.op(s))) for i, s in enumerate(entries.sources)]
        return self._mixed(name, drawn)

    def sources(self, entries: Any) -> Sequence[str]:
        return entries.sources if isinstance(entries, Pick) else super().sources(entries)

    def walk(self, path: Any, start: int) -> Iterator[Moves]:
        if not isinstance(path, Walk):
            yield from super().walk(path, start)
            return
        for step, places in enumerate(reach(path)):
            arrivals: dict[int, tuple[int, ...]] = {}
            gates: dict[tuple[int, int], Gate] = {}
            for at in places:
                options = path.moves[at]
                for i, to in enumerate(options):
                    arrivals[to] = (*arrivals.get(to, ()), at)
                    gates[at, to] = ((move_path(path, step, at), i),) if len(options) > 1 else ()
            yield Moves(dict(sorted(arrivals.items())), gates)

    def arrive(self, name: str, moves: Moves, to: int, features: Mapping[int, Feature]) -> Feature:
        return self._mixed(name, [(moves.gates.get((at, to), ()), f) for at, f in features.items()])

    def ends(self, results: Mapping[int, Any]) -> Any:
        return Ends(results) if len(results) > 1 else super().ends(results)


RelaxedPlanner.net = RelaxedNet


def _layout(value: Any) -> Any:
    """Return the strides of nested features in their places."""
    if isinstance(value, Feature):
        return value.stride
    if isinstance(value, dict):
        return {k: _layout(v) for k, v in value.items()}
    return [_layout(v) for v in value]


def _with_features(value: Any, mixed: Iterator[Feature]) -> Any:
    """Return a nested structure with the features of `mixed` in place of its own."""
    if isinstance(value, Feature):
        return next(mixed)
    if isinstance(value, dict):
        return {k: _with_features(v, mixed) for k, v in value.items()}
    return [_with_features(v, mixed) for v in value]


def _numbers(gates: Sequence[Gate]) -> dict[str, int]:
    """Return how many options the questions have that tell ways apart."""
    numbers: dict[str, int] = {}
    for path, index in (pair for gate in gates for pair in gate):
        numbers[path] = max(numbers.get(path, 0), index + 1)
    return numbers


def _culprits(gates: Sequence[Gate], results: Sequence[Any]) -> list[str]:
    """Return the questions which, each alone, make a difference to the results; all of them if none does alone."""
    found: dict[str, dict[Gate, list[Any]]] = {}
    for gate, result in zip(gates, results, strict=True):
        for pair in gate:
            rest = tuple(p for p in gate if p != pair)
            found.setdefault(pair[0], {}).setdefault(rest, []).append(result)
    alone = [
        path
        for path, groups in found.items()
        if any(result != group[0] for group in groups.values() for result in group)
    ]
    return alone or list(found)
