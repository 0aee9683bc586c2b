"""Plans: which leaf, with which fields, on which inputs. Composites draw them up; every reader starts from them."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.errors import PlanError, SpaceError
from nas.parts import Feature, Node, Part, Plan, Step
from nas.registry import REQUIRED, Kind, find

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.leaf import Leaf

__all__ = ["Feature", "Net", "Plan", "Planner", "Step"]

REMEMBERED = 50_000
"""Parts and leaves that a planner keeps before it starts afresh: some hundred megabytes at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
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

    def __init__(self, size: tuple[int, int]) -> None:
        if min(size) < 1:
            raise PlanError(
                f"an input size needs at least one pixel each way, got {size[0]}x{size[1]}"
            )
        self.size = size
        self._parts: dict[bytes, Part] = {}
        self._leaves: dict[bytes, Leaf] = {}

    def plan(self, architecture: Architecture | Mapping[str, Any]) -> Plan:
        """Plan a closed architecture. Raises PlanError with the place in the plan and the path in the tree."""
        tree: dict[str, Any] = dict(
            architecture if isinstance(architecture, Mapping) else architecture.tree
        )
        try:
            root = self._draw(Use(find("network", "root"), tree, {}, ()))
        except PlanError as error:
            paths = (_path_of(tree, spec) for spec in getattr(error, "specs", ()))
            path = next((p for p in paths if p), None)
            raise PlanError(
                f"{error} (at {path} in the architecture)" if path else str(error)
            ) from error
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

    def part(self, use: Use) -> Part:
        """Return the part that a composite draws, planned once per fields, place, channels and strides."""
        try:
            key = _key(use, _signature(use.inputs))
        except ValueError as error:
            raise use.error(
                "open choices cannot be planned; close them with resolve first"
            ) from error
        if key not in self._parts:
            if len(self._parts) >= REMEMBERED:
                self._parts.clear()
            self._parts[key] = self._draw(use)
        return self._parts[key]

    def _draw(self, use: Use) -> Part:
        """Let the composite add its nodes to a fresh net, its inputs renumbered as the part's own."""
        net = Net(self, use.at)
        try:
            result = use.kind.make(net, *_number(use.inputs), **use.place, **use.fields)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise _located(use.error(f"{use.kind.name}: {_text(error)}"), use.fields) from error
        return Part(tuple(net.nodes), result, tuple(f.ref for f in _features(result)))

    def leaf(self, use: Use, inputs: Sequence[Feature], names: tuple[str, ...] | None) -> Leaf:
        """Return the leaf, measured once per fields and input shapes; checks the size contract."""
        shapes = tuple((f.channels, f.stride) for f in inputs)
        key = _key(use, (shapes, names))
        if key not in self._leaves:
            if len(self._leaves) >= REMEMBERED:
                self._leaves.clear()
            self._leaves[key] = self._measure(use, shapes, names)
        return self._leaves[key]

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

    def extent(self, stride: int) -> tuple[int, int]:
        """Height and width of every feature of this stride: ceil(image / stride)."""
        return (self.size[0] - 1) // stride + 1, (self.size[1] - 1) // stride + 1


class Net:
    """What a composite draws on: add nodes, get features. Nothing is built or run."""

    def __init__(self, planner: Planner, at: str) -> None:
        self.nodes: list[Node] = []
        self.image = Feature(3, 1)
        self._planner = planner
        self._at = at
        self._names: set[str] = set()

    def add(self, name: str, spec: Mapping[str, Any], *inputs: Any, **place: Any) -> Any:
        """Add the leaf or composite `{kind: fields}` under `name`; return its feature(s).

        `inputs` are features, or lists or dicts of them; `place` holds the fields that the surrounding composite
        decides. Raises PlanError with the place in the plan where kinds, fields and inputs do not fit.
        """
        try:
            kind, fields = self._kind(spec)
            name = f"{name}.{kind.name}"
            use = Use(kind, fields, place, inputs, f"{self._at}.{name}" if self._at else name)
            return self._add_leaf(name, use) if kind.is_leaf else self._add_part(name, use)
        except PlanError as error:
            raise _located(error, spec) from error.__cause__

    def resize(self, name: str, x: Feature, to: int) -> Feature:
        """Resize bilinearly to stride `to`, that is to ceil(image / to); a feature already there is returned."""
        return (
            x
            if x.stride == to
            else self._feature(self.add(name, {"resize": {}}, x, self.image, to=to))
        )

    def sum(self, name: str, *features: Feature) -> Feature:
        """Add features of one shape; all of them must be alive, or the sum is not."""
        shapes = {(f.channels, f.stride) for f in features if f.alive}
        if len(shapes) > 1:
            given = ", ".join(f"{c} channels at stride {s}" for c, s in sorted(shapes))
            raise PlanError(
                f"{self._at}.{name}: a sum needs inputs of one shape, got {given}; project or resize them"
            )
        return (
            features[0]
            if len(features) == 1
            else self._feature(self.add(name, {"sum": {}}, *features))
        )

    def mix(self, name: str, *features: Feature) -> Feature:
        """Add those features that are alive; with none alive the result is not alive either."""
        alive = [f for f in features if f.alive]
        return self.sum(name, *alive) if alive else self.nothing(features[0])

    def concat(self, name: str, features: Mapping[str, Feature]) -> Feature:
        """Concatenate the channels of named features of one stride."""
        return self._feature(self.add(name, {"concat": {}}, dict(features)))

    def nothing(self, like: Feature) -> Feature:
        """Return a feature that carries nothing: no connection."""
        return Feature(like.channels, like.stride, like.ref, alive=False)

    def _kind(self, spec: Mapping[str, Any]) -> tuple[Kind, Mapping[str, Any]]:
        if not isinstance(spec, Mapping) or len(spec) != 1:
            raise PlanError(f"{self._at}: expected one kind as {{kind: fields}}, got {spec!r}")
        ((name, fields),) = spec.items()
        try:
            return find(name), fields or {}
        except SpaceError as error:
            raise PlanError(f"{self._at}: {error}") from error

    def _add_leaf(self, name: str, use: Use) -> Feature:
        named = (
            use.inputs[0] if len(use.inputs) == 1 and isinstance(use.inputs[0], Mapping) else None
        )
        features = list(_features(use.inputs))
        if not features:
            raise use.error("a leaf needs at least one input")
        stride = out_stride(use, features[0].stride)
        if not all(f.alive for f in features):
            return Feature(features[0].channels, stride, features[0].ref, alive=False)
        leaf = self._planner.leaf(use, features, tuple(named) if named else None)
        return Feature(leaf.shape[0], stride, (self._append(name, leaf, features), 0))

    def _add_part(self, name: str, use: Use) -> Any:
        part = self._planner.part(use)
        index = self._append(name, part, [self.image, *_features(use.inputs)])
        return _renumber(part.result, index, iter(range(len(part.outputs))))

    def _append(self, name: str, body: Leaf | Part, inputs: Sequence[Feature]) -> int:
        if name in self._names:
            raise PlanError(f"{self._at}: two nodes are called {name!r}; names must differ")
        self._names.add(name)
        self.nodes.append(Node(name, body, tuple(f.ref for f in inputs)))
        return len(self.nodes) - 1

    def _feature(self, value: Any) -> Feature:
        assert isinstance(value, Feature)
        return value


def _key(use: Use, inputs: Any) -> bytes:
    """Serialise a use; raises ValueError where a choice is still open."""
    whole: Any = (use.kind.name, use.fields, use.place, inputs)
    return marshal.dumps(
        whole, 2
    )  # this version depends on values only, not on which of them are one object


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


def _features(value: Any) -> Iterator[Feature]:
    """Yield the features of a nested structure, in order."""
    if isinstance(value, Feature):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _features(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _features(item)
    else:
        raise PlanError(f"expected a feature, or a list or dict of features, got {value!r}")


def _signature(value: Any) -> Any:
    """Channels and strides of a nested structure, as plain data."""
    if isinstance(value, Feature):
        return (value.channels, value.stride, value.alive)
    if isinstance(value, Mapping):
        return {name: _signature(item) for name, item in value.items()}
    return [_signature(item) for item in value]


def _number(inputs: Any) -> Any:
    """Renumber the features of `inputs` as a part's own: -2, -3, ... in order."""
    counter = iter(range(-2, -1_000_000, -1))
    return _map(inputs, lambda f: Feature(f.channels, f.stride, (next(counter), 0), f.alive))


def _renumber(result: Any, index: int, outputs: Iterator[int]) -> Any:
    """The result of a part as the surrounding plan sees it: outputs of node `index`."""
    return _map(result, lambda f: Feature(f.channels, f.stride, (index, next(outputs)), f.alive))


def _map(value: Any, change: Any) -> Any:
    if isinstance(value, Feature):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _map(item, change) for name, item in value.items()}
    return [_map(item, change) for item in value]


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
