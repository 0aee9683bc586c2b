"""Plans: which leaf, with which fields, on which inputs. Composites draw them up; every reader starts from them.

A plan is hierarchical: what a composite adds is a `Part`, planned once per (spec, place, input channels and
strides) and remembered, so that what recurs is priced once. Nodes that no needed output asks for are neither
built, nor run, nor counted.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nas.errors import PlanError, SpaceError, suggest
from nas.registry import REQUIRED, Kind, find

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.leaf import Leaf

Ref = tuple[int, int]
"""(node, output) inside a part; nodes below zero are the part's inputs: -1 the image, -2 the first, ..."""

IMAGE: Ref = (-1, 0)
REMEMBERED = 50_000
"""Parts and leaves that a planner keeps before it starts afresh: some hundred megabytes at most."""


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
        return sum(1 << k for k, name in enumerate(self.names) if training or not name.startswith("aux"))

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
        """Estimate of the activations alive at once in fp32 evaluation of one image: outputs, and in each leaf
        the two largest tensors."""
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


class Planner:
    """Plans architectures for images of one size (H, W), remembering every part and leaf that it has seen."""

    def __init__(self, size: tuple[int, int]) -> None:
        if min(size) < 1:
            raise PlanError(f"an input size needs at least one pixel each way, got {size[0]}x{size[1]}")
        self.size = size
        self._parts: dict[bytes, Part] = {}
        self._leaves: dict[bytes, Leaf] = {}

    def plan(self, architecture: Architecture | Mapping[str, Any]) -> Plan:
        """Plan a closed architecture. Raises PlanError with the place in the plan and the path in the tree."""
        tree: dict[str, Any] = dict(architecture if isinstance(architecture, Mapping) else architecture.tree)
        try:
            root = self._draw(find("network", "root"), tree, {}, (), "")
        except PlanError as error:
            path = _path_of(tree, getattr(error, "spec", None))
            raise PlanError(f"{error} (at {path} in the architecture)" if path else str(error)) from error
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

    def part(self, kind: Kind, fields: Mapping[str, Any], place: dict[str, Any], inputs: Any, at: str) -> Part:
        """Return the part that a composite draws, planned once per fields, place, channels and strides."""
        shapes = _signature(inputs)
        try:
            key = marshal.dumps((kind.name, fields, place, shapes), 2)
        except ValueError as error:
            raise PlanError(f"{at}: open choices cannot be planned; close them with resolve first") from error
        if key not in self._parts:
            if len(self._parts) >= REMEMBERED:
                self._parts.clear()
            self._parts[key] = self._draw(kind, fields, place, inputs, at)
        return self._parts[key]

    def _draw(self, kind: Kind, fields: Mapping[str, Any], place: dict[str, Any], inputs: Any, at: str) -> Part:
        """Let the composite add its nodes to a fresh net, its inputs renumbered as the part's own."""
        net = Net(self, at)
        arguments = _number(inputs)
        try:
            result = kind.make(net, *arguments, **place, **fields)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise _located(PlanError(f"{at or 'network'}: {kind.name}: {_text(error)}"), fields) from error
        features = list(_features(result))
        return Part(tuple(net.nodes), result, tuple(f.ref for f in features))

    def leaf(self, kind: Kind, fields: dict[str, Any], inputs: Sequence[Feature], names: Any, at: str) -> Leaf:
        """Return the leaf, measured once per fields and input shapes; checks the size contract."""
        shapes = tuple((f.channels, f.stride) for f in inputs)
        key = marshal.dumps((kind.name, fields, shapes, names), 2)
        if key not in self._leaves:
            if len(self._leaves) >= REMEMBERED:
                self._leaves.clear()
            self._leaves[key] = self._measure(kind, fields, shapes, names, at)
        return self._leaves[key]

    def _measure(
        self, kind: Kind, fields: dict[str, Any], shapes: tuple[tuple[int, int], ...], names: Any, at: str
    ) -> Leaf:
        from nas.leaf import measure

        key = marshal.dumps((kind.name, sorted(fields.items()), [c for c, _ in shapes], names), 2)
        sizes = tuple((c, *self.extent(stride)) for c, stride in shapes)
        try:
            leaf = measure(kind, fields, sizes, names, key)
        except (ValueError, TypeError, RuntimeError) as error:
            given = ", ".join(f"{c} channels at stride {s}" for c, s in shapes)
            raise PlanError(f"{at}: {kind.name} on {given}: {_text(error)}") from error
        expected = self.extent(out_stride(kind, fields, shapes[0][1]))
        if leaf.shape[1:] != expected:
            raise PlanError(
                f"{at}: {kind.name} returned a map of {leaf.shape[1]}x{leaf.shape[2]}, expected "
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
            full = f"{name}.{kind.name}"
            at = f"{self._at}.{full}" if self._at else full
            add = self._add_leaf if kind.is_leaf else self._add_part
            return add(full, kind, fields, place, inputs, at)
        except PlanError as error:
            raise _located(error, spec) from error.__cause__

    def resize(self, name: str, x: Feature, to: int) -> Feature:
        """Resize bilinearly to stride `to`, that is to ceil(image / to); a feature already there is returned."""
        return x if x.stride == to else self._feature(self.add(name, {"resize": {}}, x, self.image, to=to))

    def sum(self, name: str, *features: Feature) -> Feature:
        """Add features of one shape; all of them must be alive, or the sum is not."""
        shapes = {(f.channels, f.stride) for f in features if f.alive}
        if len(shapes) > 1:
            given = ", ".join(f"{c} channels at stride {s}" for c, s in sorted(shapes))
            raise PlanError(f"{self._at}.{name}: a sum needs inputs of one shape, got {given}; project or resize them")
        return features[0] if len(features) == 1 else self._feature(self.add(name, {"sum": {}}, *features))

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

    def _add_leaf(
        self, name: str, kind: Kind, fields: Mapping[str, Any], place: dict[str, Any], inputs: Any, at: str
    ) -> Feature:
        named = inputs[0] if len(inputs) == 1 and isinstance(inputs[0], Mapping) else None
        features = list(_features(inputs))
        bound = {**fields, **place}
        if not features:
            raise PlanError(f"{at}: a leaf needs at least one input")
        stride = out_stride(kind, bound, features[0].stride)
        if not all(f.alive for f in features):
            return Feature(features[0].channels, stride, features[0].ref, alive=False)
        leaf = self._planner.leaf(kind, bound, features, tuple(named) if named else None, at)
        return Feature(leaf.shape[0], stride, (self._append(name, leaf, features), 0))

    def _add_part(
        self, name: str, kind: Kind, fields: Mapping[str, Any], place: dict[str, Any], inputs: Any, at: str
    ) -> Any:
        part = self._planner.part(kind, fields, place, inputs, at)
        index = self._append(name, part, [self.image, *_features(inputs)])
        outputs = iter(range(len(part.outputs)))
        return _renumber(part.result, index, outputs)

    def _append(self, name: str, body: Leaf | Part, inputs: Sequence[Feature]) -> int:
        if name in self._names:
            raise PlanError(f"{self._at}: two nodes are called {name!r}; names must differ")
        self._names.add(name)
        self.nodes.append(Node(name, body, tuple(f.ref for f in inputs)))
        return len(self.nodes) - 1

    def _feature(self, value: Any) -> Feature:
        assert isinstance(value, Feature)
        return value


def out_stride(kind: Kind, fields: Mapping[str, Any], stride: int) -> int:
    """Stride of a leaf's output: `to` is absolute, `stride` multiplies that of its first input."""
    known = {**kind.fields, **kind.place}
    if "to" in known:
        return int(fields.get("to", known["to"].default))
    if "stride" not in known:
        return stride
    factor = fields.get("stride", known["stride"].default)
    if factor is REQUIRED:
        raise PlanError(f"{kind.name} needs `stride`; {suggest('stride', fields)}")
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
    """Remember the innermost spec at fault, so that its path in the tree can be named."""
    if getattr(error, "spec", None) is None:
        error.spec = spec  # type: ignore[attr-defined]
    return error


def _path_of(tree: Any, wanted: Any, path: str = "") -> str | None:
    """Find the path of the very object `wanted` in a tree."""
    if wanted is None or tree is wanted:
        return path or None
    items: Any = ()
    if isinstance(tree, Mapping):
        items = ((f"{path}.{key}" if path else str(key), item) for key, item in tree.items())
    elif isinstance(tree, list):
        items = ((f"{path}[{i}]", item) for i, item in enumerate(tree))
    return next((found for p, item in items if (found := _path_of(item, wanted, p))), None)


def _text(error: BaseException) -> str:
    return str(error).removeprefix("Error: ") or type(error).__name__
