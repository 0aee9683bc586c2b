"""Auto-DeepLab's trellis (Liu et al. 2019): a cell per step of a path through output strides, closed or open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

from nas.fields import CellSpec, Positive, Spec
from nas.plan import Feature, Moves, Net
from nas.registry import kind

START, HALF = 4, 2
"""Stride of the stem's output, from which a path starts, and of what comes before it."""

STRIDES = (4, 8, 16, 32)
INPUTS = ("prev", "prev2")
POINTWISE: Spec = {"relu_conv": {"kernel": 1}}
Rule = Literal["resized", "same"]


class Entry(TypedDict):
    """One input of a block: prev (the cell before), prev2 (the one before that) or item0, ..., and the operation."""

    source: str
    op: CellSpec


Cell = list[list[Entry]]


@kind("trellis", "encoder")
def trellis(
    net: Net,
    image: Feature,
    *,
    path: list[Literal[4, 8, 16, 32]],
    cell: Cell = [],  # noqa: B006 (a schema's default)
    cells: list[Cell] = [],  # noqa: B006
    filters: Positive = 8,
    stem: tuple[Positive, Positive, Positive] = (64, 64, 128),
    skip: Rule = "resized",
) -> dict[str, Feature]:
    """Return s4, s8, ... up to the stride where the path ends: after a ReLU; finer ones as the path last left them.

    `cell` has a list of inputs for each of its blocks and stands at every step; `cells` are several that take turns
    instead. A block has filters * stride / 4 channels, a cell as many for each of its blocks. Where the path is
    open, H^{l-2} may have several strides: it is resized from each of them, or with `skip` "same" read from the cell's
    own only, where there is one (the paper's rule; a closed path knows no difference). A stride 4 that no cell stands
    at is the stem's, projected.
    """
    if bool(cell) == bool(cells):
        raise ValueError("trellis: give either `cell`, for all steps, or `cells`, which take turns")
    drawn = Trellis(net, cells or [cell], filters, skip)
    drawn.begin(image, stem)
    for moves in net.walk(path, START):
        drawn.step(moves)
    return net.ends({to: drawn.pyramid(to) for to in drawn.steps[-1].features})  # type: ignore[no-any-return]


class Step(NamedTuple):
    """One step of the path: its moves, and what there is after it by stride."""

    moves: Moves
    features: Mapping[int, Feature]


@dataclass(slots=True)
class Trellis:
    """What has been drawn: the stem's two outputs as the first two of `steps`, then a step per layer.

    `taps` are last features at a stride on the way to another: `last` has what their key means.
    """

    net: Net
    cells: list[Cell]
    filters: int
    skip: Rule
    steps: list[Step] = field(default_factory=list)
    taps: dict[tuple[int, int, int], Feature | None] = field(default_factory=dict)

    def begin(self, image: Feature, widths: tuple[int, int, int]) -> None:
        """Three 3x3 convolutions; what cells read is taken before the activations."""
        net = self.net
        x = net.add("stem.first", {"conv": {}}, image, width=widths[0], stride=2)
        half = net.add("stem.second", {"conv": {"act": "none"}}, x, width=widths[1])
        x = net.add("stem.third", {"relu_conv": {}}, half, width=widths[2], stride=2)
        (moves,) = net.walk([START], HALF)
        self.steps += [Step(moves, {HALF: half}), Step(moves, {START: x})]

    def step(self, moves: Moves) -> None:
        """Draw a cell for each move, and join those that arrive at one stride."""
        layer = len(self.steps) - 2
        after = {}
        for to, sources in moves.arrivals.items():
            came = {frm: self._cell(layer, frm, to) for frm in sources}
            after[to] = self.net.arrive(f"layer{layer}.s{to}", moves, to, came)
        self.steps.append(Step(moves, after))

    def _cell(self, layer: int, frm: int, to: int) -> Feature:
        """Draw the cell of one move, at the finer of its two strides; it goes to the coarser by strided operations."""
        net, name = self.net, f"cell{layer}.s{frm}_s{to}"
        width, base = self.filters * to // START, min(frm, to)
        (_, before), (moves, now) = self.steps[-2:]
        prev = net.add(f"{name}.prev", fitted, now[frm], width=width, to=base)
        fitting = {"width": width, "to": base}
        if self.skip == "same" and to in before:
            prev2 = net.add(f"{name}.prev2.s{to}", fitted, before[to], **fitting)
        else:
            strides = moves.arrivals[frm]
            came = {r: net.add(f"{name}.prev2.s{r}", fitted, before[r], **fitting) for r in strides}
            prev2 = net.arrive(f"{name}.prev2", moves, frm, came)
        place = {"width": width, "stride": to // base}
        blocks = self.cells[layer % len(self.cells)]
        y: Feature = net.add(name, cell_of, prev, prev2, blocks=blocks, **place)
        return y

    def pyramid(self, end: int) -> dict[str, Any]:
        """Return the features by name for a path that ends at stride `end`."""
        last = len(self.steps) - 1
        finer = {s: self.last(last, end, s) for s in STRIDES if s < end}
        levels = {f"s{stride}": tap for stride, tap in finer.items() if tap}
        x = self.net.add(f"end.s{end}", {"activate": {}}, self.steps[-1].features[end])
        return {**levels, f"s{end}": x}

    def last(self, step: int, at: int, stride: int) -> Feature | None:
        """Return the last feature at a finer `stride` on the way to stride `at` after a step, if all ways have one."""
        while (
            step > 1 and not (moves := self.steps[step].moves).gates
        ):  # a closed path: one way there
            step, (at,) = step - 1, moves.arrivals[at]
            if at == stride and step > 1:
                return self.steps[step].features[at]
        key = (step, at, stride)
        if key not in self.taps:
            self.taps[key] = self._joined(step, at, stride) if step > 1 else self._stem(stride)
        return self.taps[key]

    def _joined(self, step: int, at: int, stride: int) -> Feature | None:
        moves, features = self.steps[step].moves, self.steps[step - 1].features
        came = {}
        for frm in moves.arrivals[at]:
            found = (
                features[frm] if frm == stride and step > 2 else self.last(step - 1, frm, stride)
            )
            if found is None:
                return None
            came[frm] = found
        return self.net.arrive(f"tap{step - 2}.s{at}.s{stride}", moves, at, came)

    def _stem(self, stride: int) -> Feature | None:
        """The stem's output in the width of a cell's."""
        if stride != START:
            return None
        width = len(self.cells[0]) * self.filters
        tap: Feature = self.net.add(
            "stem.tap", POINTWISE, self.steps[1].features[START], width=width
        )
        return tap


def fitted(net: Net, x: Feature, *, width: int, to: int) -> Feature:
    """Return an input of a cell at its stride and in its width; the authors leave the 1x1 out where nothing changes."""
    y: Feature = net.add("project", POINTWISE, net.resize("resize", x, to=to), width=width)
    return y


def cell_of(
    net: Net, prev: Feature, prev2: Feature, *, blocks: Cell, width: int, stride: int
) -> Feature:
    """Return the blocks' outputs side by side; operations on the cell's inputs have its stride."""
    states = {"prev": prev, "prev2": prev2}
    for i, entries in enumerate(blocks):
        name = f"item{i}"
        try:
            inputs = [states[source] for source in net.sources(entries)]
        except KeyError as error:
            known = ", ".join(states)
            raise ValueError(f"{name} has no source {error}; it may read {known}") from None
        states[name] = net.add(name, block, *inputs, entries=entries, width=width, stride=stride)
    return _joined(net, [*states.values()][len(INPUTS) :])


def block(net: Net, *inputs: Feature, entries: Sequence[Entry], width: int, stride: int) -> Feature:
    """Return the sum of a block's operations, each on one of its inputs."""
    states = dict(zip(net.sources(entries), inputs, strict=True))

    def draw(source: str, op: Spec) -> Feature:
        step = stride if source in INPUTS else 1
        y: Feature = net.add(source, op, states[source], width=width, stride=step)
        return y

    return net.pick("sum", entries, draw)


def _joined(net: Net, items: list[Feature]) -> Feature:
    """Concatenate the items; those that nothing reaches are zeros, unless all of them are."""
    alive = [item for item in items if item.alive]
    if not alive:
        return net.nothing(items[0]._replace(channels=items[0].channels * len(items)))
    spec = {"stack": {}} if len(alive) == len(items) else _filled(items)
    y: Feature = net.add("out", spec, *alive)
    return y


def _filled(items: list[Feature]) -> Spec:
    return {"stack": {"missing": [i for i, item in enumerate(items) if not item.alive]}}
