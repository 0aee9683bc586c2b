"""NAS-FPN's merging cells: a graph over the levels of a pyramid that is data (Ghiasi et al. 2019, section 3.1)."""

from __future__ import annotations

from typing import Literal, TypedDict

from nas.fields import CellSpec, Positive, PowerOfTwo, Spec
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import Top, project, shrink


class Merged(TypedDict):
    """One input of a cell: a level (s8, s16, ...) or an earlier cell (item0, ...), and what it does to the others."""

    source: str
    op: Literal["sum", "attention"]


class MergingCell(TypedDict):
    """A cell: the stride of its output, and its inputs; two in the paper."""

    stride: PowerOfTwo
    inputs: list[Merged]


@kind("merging", "neck")
def merging(
    net: Net,
    features: list[Feature],
    *,
    cells: list[MergingCell],
    finest: PowerOfTwo = 8,
    top: Top = 7,
    width: Positive = 256,
    repeats: Positive = 7,
    op: CellSpec = {"conv": {"bias": True, "act": "none"}},  # noqa: B006
) -> list[Feature]:
    """Stack the graph of `cells` on the levels from stride `finest` to `top`; finer levels pass by.

    A cell resizes its inputs to its stride (3x3 max pooling by halves, or bilinear, as everywhere here; in the code one
    window, and nearest), adds them, and goes through ReLU and `op`. An input with `attention` is added as it is and
    multiplies the others by the sigmoid of its channels' maxima (the paper's global pooling, where it is the coarser
    of two). The last cell of a stride is that level's output: it also adds up what is there at its stride and nobody
    has read (as in the official code). A level that no cell ends on stays as it is. Closed cells only: what is left
    over depends on all of them, so they are found by trying closed ones, as in the paper.
    """
    if not all(isinstance(cell["inputs"], list) for cell in cells):
        raise ValueError(
            "what the cells leave over depends on every input, so open inputs cannot be mixed; "
            "close them, or search without relaxation (--strategy tpe)"
        )
    levels = laterals(net, features, finest, top, width=width)
    for number in range(repeats):
        levels = net.add(f"stack{number}", stack, levels, cells=cells, op=op)
    return [*[f for f in features if f.stride < finest], *levels]


def laterals(
    net: Net, features: list[Feature], finest: int, top: int, *, width: int
) -> list[Feature]:
    """Return one level per stride from `finest` to `top`, or to the coarsest feature: projected, else made of others.

    A stride that is not there is max-pooled from the next finer one; where nothing is as fine, it is resized from the
    next coarser one.
    """
    given = {f.stride: f for f in features}
    first = given.get(finest) or next((f for f in features if f.stride > finest), features[-1])
    x = project(net, f"lateral.s{first.stride}", first, width)
    x = net.resize(f"lateral.s{finest}", shrink(net, "lateral", x, finest), to=finest)
    levels = [x]
    while levels[-1].stride < max(2**top, features[-1].stride):
        stride = 2 * levels[-1].stride
        if stride in given:
            levels.append(project(net, f"lateral.s{stride}", given[stride], width))
        else:
            levels.append(shrink(net, "lateral", levels[-1], stride))
    return levels


def stack(net: Net, levels: list[Feature], *, cells: list[MergingCell], op: Spec) -> list[Feature]:
    """Draw every cell once; return each level's output."""
    states = {f"s{f.stride}": f for f in levels}
    unread = list(states)
    last: dict[int, str] = {cell["stride"]: f"item{i}" for i, cell in enumerate(cells)}
    for i, cell in enumerate(cells):
        name, stride = f"item{i}", cell["stride"]
        ops = read(name, cell, states)
        unread = [s for s in unread if s not in ops]
        left = [s for s in unread if states[s].stride == stride and last[stride] == name]
        unread = [*[s for s in unread if s not in left], name]
        inputs = {source: states[source] for source in [*ops, *left]}
        states[name] = net.add(f"{name}.s{stride}", merged, inputs, ops=ops, stride=stride, op=op)
    return [states[last.get(f.stride, f"s{f.stride}")] for f in levels]


def read(name: str, cell: MergingCell, states: dict[str, Feature]) -> dict[str, str]:
    """Return {source: op} of a cell's inputs. Raises ValueError for what it cannot read or where it cannot stand."""
    ops = {entry["source"]: entry["op"] for entry in cell["inputs"]}
    unknown = [source for source in ops if source not in states]
    if unknown or not ops or len(ops) < len(cell["inputs"]):
        raise ValueError(
            f"{name}: inputs must be different ones of {', '.join(states)}; got "
            f"{', '.join(e['source'] for e in cell['inputs']) or 'none'}. A coarser level needs a higher `top`"
        )
    if f"s{cell['stride']}" not in states:
        raise ValueError(
            f"{name}: no level has stride {cell['stride']}; it may be one of those of {', '.join(states)}"
        )
    return dict(ops)


def merged(
    net: Net, inputs: dict[str, Feature], *, ops: dict[str, str], stride: int, op: Spec
) -> Feature:
    """One cell: resize, gate, add, convolve. Inputs without an op are what was left over."""
    at = {s: _resized(net, s, x, stride) for s, x in inputs.items()}
    gates = [source for source, how in ops.items() if how == "attention"]
    terms = [
        _gated(net, s, x, {g: at[g] for g in gates if s in ops and s != g}) for s, x in at.items()
    ]
    total = net.add("act", {"activate": {}}, net.sum("total", *terms))
    y: Feature = net.add("out", op, total, width=total.channels)
    return y


def _resized(net: Net, name: str, x: Feature, stride: int) -> Feature:
    return net.resize(name, shrink(net, name, x, stride), to=stride)


def _gated(net: Net, name: str, x: Feature, gates: dict[str, Feature]) -> Feature:
    for source, gate in gates.items():
        x = net.add(f"{name}.by.{source}", {"max_gate": {}}, x, gate)
    return x
