"""Plans: which leaf, with which fields, on which inputs. Composites draw them up; every reader starts from them."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nas.errors import PlanError, SpaceError
from nas.fields import Spec
from nas.memo import Known, Memo
from nas.nested import features_in, new, renumbered, shapes_of
from nas.parts import IMAGE, Feature, Part, Plan, Ref, Step
from nas.registry import REQUIRED, Kind, find, load

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.leaf import Leaf

__all__ = ["Feature", "Net", "Plan", "Planner", "Step"]

Draw = Callable[..., Any]
Picked = Sequence[Mapping[str, Any]]
NO_KEY = b""
_key = (
    msgspec.msgpack.Encoder().encode
)  # by values only, and in half the time of the standard library's ways


class Use(NamedTuple):
    """One call of `Net.add`: a kind with its fields, what surrounds it, and where it stands in the plan."""

    kind: Kind
    fields: Mapping[str, Any]
    place: dict[str, Any]
    inputs: Any
    at: str = ""

    def error(self, text: object) -> PlanError:
        """A PlanError about this use."""
        return PlanError(f"{self.at or 'network'}: {text}")


class Planner:
    """Plans architectures for images of one size (H, W), remembering every part and leaf that it has seen."""

    net: type[Net]  # what composites draw on

    def __init__(self, size: tuple[int, int]) -> None:
        if min(size) < 1:
            raise PlanError(
                f"an input size needs at least one pixel each way, got {size[0]}x{size[1]}"
            )
        self.size = size
        self.memo = Memo()
        self.groups: dict[Draw, Spec] = {}
        self.group_kinds: dict[str, Kind] = {}

    def plan(self, architecture: Architecture | Mapping[str, Any]) -> Plan:
        """Plan a closed architecture. Raises PlanError with the place in the plan and the path in the tree."""
        tree: dict[str, Any] = dict(
            architecture if isinstance(architecture, Mapping) else architecture.tree
        )
        self.memo.passing.clear()
        try:
            root = self._draw(Use(_root(), tree, {}, ()))
        except PlanError as error:
            paths = (_path_of(tree, spec) for spec in getattr(error, "specs", ()))
            path = next((p for p in paths if p), None)
            placed = PlanError(f"{error} (at {path} in the architecture)" if path else str(error))
            placed.path = path or ""
            raise placed from error
        names = tuple(root.result)
        self._check_outputs(root, names)
        return Plan(root, self.size, names)

    def _check_outputs(self, root: Part, names: tuple[str, ...]) -> None:
        dead = [name for name in names if not root.result[name].alive]
        if dead:
            raise PlanError(
                f"output {dead[0]!r} depends on a connection of kind 'zero' only: no image reaches it; "
                "give one of its inputs another operation"
            )

    def learn(self, key: bytes, known_as: str, use: Use) -> Known:
        """Measure a leaf, or let a composite draw its part; remembered under `key`, if there is one."""
        suffix = f".{use.kind.name}" if use.kind.name else ""
        if use.kind.is_leaf:
            leaf, feature = self._leaf(use)
            return self.memo.keep(key, Known(suffix, leaf, (), feature))
        part = self._draw(use)
        known = Known(suffix, part, (IMAGE,), part.result)
        return self.memo.keep_if_recurring(known_as, key, known)

    def _draw(self, use: Use) -> Part:
        """Let the composite add its nodes to a fresh net, its inputs renumbered as the part's own."""
        net = self.net(self, use.at)
        refs = zip(count(-2, -1), repeat(0))
        inputs = renumbered(use.inputs, refs)
        try:
            result = use.kind.make(net, *inputs, **use.place, **use.fields)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            self.check_closed(use)
            raise _located(use.error(_text(error)), use.fields) from error
        arity = -1 - next(refs)[0]
        return net.part(arity, result)

    def _leaf(self, use: Use) -> tuple[Leaf | None, Feature]:
        """Return the leaf and its output; none where an input is not alive."""
        named = use.inputs[0] if len(use.inputs) == 1 else None
        features = features_in(use.inputs)
        if not features:
            raise use.error("a leaf needs at least one input")
        stride = out_stride(use, features[0].stride)
        if not all(f.alive for f in features):
            return None, Feature(features[0].channels, stride, alive=False)
        names = tuple(named) if isinstance(named, dict) else None
        self.check_closed(use)
        leaf = self._measure(use, tuple((f.channels, f.stride) for f in features), names)
        return leaf, Feature(leaf.shape[0], stride)

    def _measure(
        self, use: Use, shapes: tuple[tuple[int, int], ...], names: tuple[str, ...] | None
    ) -> Leaf:
        from nas.leaf import leaf_of

        sizes = tuple((channels, *self.extent(stride)) for channels, stride in shapes)
        try:
            leaf = leaf_of(use.kind, {**use.fields, **use.place}, sizes, names)
        except (ValueError, TypeError, RuntimeError) as error:
            given = ", ".join(f"{c} channels at stride {s}" for c, s in shapes)
            raise use.error(f"{use.kind.name} on {given}: {_text(error)}") from error
        expected = self.extent(out_stride(use, shapes[0][1]))
        if leaf.shape[1:] != expected:
            raise use.error(
                f"{use.kind.name} returned a map of {leaf.shape[1]}x{leaf.shape[2]}, expected "
                f"{expected[0]}x{expected[1]} = ceil(image / stride); pad by kernel // 2, or declare `stride` or `to`"
            )
        return leaf

    def check_closed(self, use: Use) -> None:
        """Raise ValueError where fields hold anything but plain data, such as an open choice."""
        marshal.dumps((dict(use.fields), use.place), 2)

    def extent(self, stride: int) -> tuple[int, int]:
        """Height and width of every feature of this stride: ceil(image / stride)."""
        return (self.size[0] - 1) // stride + 1, (self.size[1] - 1) // stride + 1


class Moves(NamedTuple):
    """One step of a walk: {stride where it may arrive: strides that it may come from}, finest first."""

    arrivals: Mapping[int, tuple[int, ...]]
    gates: Mapping[tuple[int, int], Any] = {}


class Net:
    """What a composite draws on: add nodes, get features. Nothing is built or run."""

    image = Feature(3, 1)

    def __init__(self, planner: Planner, at: str) -> None:
        self._planner = planner
        memo = planner.memo
        self._kept, self._passed, self._rare = memo.kept, memo.passed, memo.rare
        self._at = at
        self._bodies: dict[str, Leaf | Part] = {}
        self._inputs: list[tuple[Ref, ...]] = []

    def add(self, name: str, spec: Spec | Draw, *inputs: Any, **place: Any) -> Any:
        """Add the leaf or composite `{kind: fields}` under `name`; return its feature(s).

        `inputs` are features, or lists or dicts of them; `place` holds the fields that the surrounding composite
        decides. Instead of a kind, `spec` may be a function that draws like one, for what a composite repeats: as
        if all that it adds were added here under `name` and a dot, but planned and priced once for inputs of the same
        shapes. It must depend on nothing but its arguments: one that was made inside another is refused.
        Raises PlanError with the place in the plan where kinds, fields and inputs do not fit.
        """
        refs: list[Ref] = []
        shapes: list[Any] = []
        try:
            if callable(spec):
                spec = self._planner.groups.get(spec) or self._group(name, spec)
            for x in inputs:
                if x.__class__ is Feature:
                    shapes.append(x[:3])
                    refs.append(x[3])
                else:
                    shapes += shapes_of((x,), refs)
            if spec.__class__ is dict and not self._rare.isdisjoint(spec):
                key, known = NO_KEY, None
            else:
                key = _key((spec, place, shapes))
                known = self._kept.get(key) or self._passed(key)
            if known is None:
                known = self._learn(key, name, spec, inputs, place)
            body = known.body
            if body is None:
                return known.result._replace(ref=refs[0])
            index = len(self._inputs)
            self._inputs.append((*known.image, *refs))
            self._bodies[name + known.suffix] = body
            if len(self._bodies) == index:
                raise self._twice(name + known.suffix)
            return known.placed.get(index) or _place(known, index)
        except (ValueError, TypeError, OverflowError) as error:
            raise _located(self._open(name, error), spec) from error
        except PlanError as error:
            raise _located(error, spec) from error.__cause__

    def _group(self, name: str, function: Draw) -> Spec:
        """Give a function the name under which its parts are remembered, which is the name of no kind."""
        if "<" in function.__qualname__:
            where = f"{self._at}.{name}: {function.__qualname__}"
            raise PlanError(f"{where} is made inside a function; write it at the top of its module")
        known_as = f"<{len(self._planner.groups)}>"
        self._planner.groups[function] = {known_as: {}}
        self._planner.group_kinds[known_as] = Kind("", (), function, False, {}, {})
        return self._planner.groups[function]

    def _twice(self, name: str) -> PlanError:
        return PlanError(f"{self._at}: two nodes are called {name!r}; names must differ")

    def _open(self, name: str, error: Exception) -> PlanError:
        text = f"cannot be planned with its fields as they are ({error})"
        return PlanError(f"{self._at}.{name} {text}; close open choices with resolve first")

    def _learn(
        self, key: bytes, name: str, spec: Spec, inputs: Any, place: dict[str, Any]
    ) -> Known:
        kind, fields = self._kind(spec)
        at = f"{self._at}.{name}.{kind.name}".strip(".")
        use = Use(kind, fields, place, inputs, at)
        return self._planner.learn(key, next(iter(spec)), use)

    def part(self, arity: int, result: Any) -> Part:
        """Return what was added as a part of `arity` inputs, the image among them, with this result."""
        outputs = tuple([f.ref for f in features_in(result)])
        names, bodies = tuple(self._bodies), tuple(self._bodies.values())
        return Part(names, bodies, tuple(self._inputs), arity, result, outputs)

    def resize(self, name: str, x: Feature, to: int) -> Feature:
        """Resize bilinearly to stride `to`, that is to ceil(image / to); a feature already there is returned."""
        if x.stride == to:
            return x
        resized: Feature = self.add(name, {"resize": {}}, x, self.image, to=to)
        return resized

    def sum(self, name: str, *features: Feature) -> Feature:
        """Add features of one shape; all of them must be alive, or the sum is not."""
        shapes = {f[:2] for f in features if f.alive}
        if len(shapes) > 1:
            given = ", ".join(f"{c} channels at stride {s}" for c, s in sorted(shapes))
            raise PlanError(
                f"{self._at}.{name}: a sum needs inputs of one shape, got {given}; project or resize them"
            )
        if len(features) == 1:
            return features[0]
        total: Feature = self.add(name, {"sum": {}}, *features)
        return total

    def mix(self, name: str, *features: Feature) -> Feature:
        """Add those features that are alive; with none alive the result is not alive either."""
        alive = [f for f in features if f.alive]
        return self.sum(name, *alive) if alive else self.nothing(features[0])

    def concat(self, name: str, features: Mapping[str, Feature]) -> Feature:
        """Concatenate the channels of named features of one stride."""
        joined: Feature = self.add(name, {"concat": {}}, dict(features))
        return joined

    def pick(self, name: str, entries: Picked, draw: Callable[[str, Spec], Feature]) -> Feature:
        """Add up what `draw(source, op)` gives for each `{source, op}` of a pick, as far as it is alive."""
        return self.mix(name, *[draw(entry["source"], entry["op"]) for entry in entries])

    def sources(self, entries: Picked) -> Sequence[str]:
        """Return the names of what a pick reads."""
        return [entry["source"] for entry in entries]

    def walk(self, path: Sequence[int], start: int) -> Iterator[Moves]:
        """Yield the moves of each step of a walk, which begins at stride `start`."""
        for stride in path:
            yield Moves({stride: (start,)})
            start = stride

    def arrive(self, name: str, moves: Moves, to: int, features: Mapping[int, Feature]) -> Feature:  # noqa: ARG002
        """Join what comes to stride `to`, by the stride that it comes from: on a closed walk there is but one."""
        return features[moves.arrivals[to][0]]

    def ends(self, results: Mapping[int, Any]) -> Any:
        """Return what a walk results in, given what it does at each stride where it may end."""
        (result,) = results.values()
        return result

    def nothing(self, like: Feature) -> Feature:
        """Return a feature that carries nothing: no connection."""
        return like._replace(alive=False)

    def _kind(self, spec: Spec) -> tuple[Kind, Mapping[str, Any]]:
        if not (spec.__class__ is dict or isinstance(spec, Mapping)) or len(spec) != 1:
            raise PlanError(f"{self._at}: expected one kind as {{kind: fields}}, got {spec!r}")
        ((name, fields),) = spec.items()
        if (group := self._planner.group_kinds.get(name)) is not None:
            return group, {}
        try:
            return find(name), fields or {}
        except SpaceError as error:
            raise PlanError(f"{self._at}: {error}") from error


Planner.net = Net


def _root() -> Kind:
    """Return the kind at the top of every architecture; the domain registers it."""
    try:
        return find("network", "root")
    except SpaceError:
        load()
        return find("network", "root")


def out_stride(use: Use, stride: int) -> int:
    """Stride of a leaf's output: `to` is absolute, `stride` multiplies that of its first input."""
    given = {**use.fields, **use.place}
    known = {**use.kind.fields, **use.kind.place}
    if "to" in known:
        return int(given.get("to", known["to"].default))
    if "stride" not in known:
        return stride
    factor = given.get("stride", known["stride"].default)
    if factor is REQUIRED:
        raise use.error(f"{use.kind.name} needs `stride` from what surrounds it")
    return stride * int(factor)


def _place(known: Known, index: int) -> Any:
    """Return the result of node `index`: a remembered feature, or a list or dict that is the caller's own."""
    result = known.result
    if result.__class__ is Feature:
        known.placed[index] = feature = new(Feature, (*result[:3], (index, 0)))
        return feature
    return renumbered((result,), zip(repeat(index), count()))[0]


def _located(error: PlanError, spec: Any) -> PlanError:
    """Remember the spec at fault, innermost first, so that its path in the tree can be named."""
    error.specs = [*getattr(error, "specs", ()), spec]  # type: ignore[attr-defined]
    return error


def _path_of(tree: Any, wanted: Any, path: str = "") -> str | None:
    """Find the path of the very object `wanted` in a tree."""
    if tree is wanted:
        return path or None
    items: Any = ()
    if isinstance(tree, Mapping):
        items = ((f"{path}.{key}" if path else str(key), item) for key, item in tree.items())
    elif isinstance(tree, list):
        items = ((f"{path}[{i}]", item) for i, item in enumerate(tree))
    return next((found for p, item in items if (found := _path_of(item, wanted, p))), None)


def _text(error: BaseException) -> str:
    return str(error).removeprefix("Error: ") or type(error).__name__
