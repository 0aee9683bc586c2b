"""A space of networks with hundreds of leaves, in the manner of Auto-DeepLab: what `counting.py` counts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal, TypedDict

from nas.fields import CellSpec, Positive
from nas.plan import Feature, Net
from nas.registry import kind
from nas.space import Space, load_space

SPACE = """
task: {{semantic: {{classes: 19}}}}
input: [3, 512, 1024]
encoder:
  trellis:
    path: {{walk: {layers}, from: 4, moves: {{4: [4, 8], 8: [4, 8, 16], 16: [8, 16, 32], 32: [16, 32]}}}}
    cells:
      repeat: {cells}
      of:
        repeat: 5
        of:
          pick: 2
          from: [prev2, prev, earlier]
          of:
            choice:
              conv: {{kernel: {{choice: [1, 3, 5]}}}}
              separable: {{kernel: {{choice: [3, 5]}}, dilation: {{choice: [1, 2]}}}}
              mbconv: {{kernel: {{choice: [3, 5]}}}}
              basic: {{}}
decoders: {{semantic: {{context: {{aspp: {{}}}}, head: {{deeplabv3plus: {{}}}}}}}}
"""


ITEMS = ("item0", "item1", "item2", "item3", "item4")
POINTWISE = {"conv": {"kernel": 1}}


class Entry(TypedDict):
    """One input of a block: where it comes from, and the operation on it."""

    source: str
    op: CellSpec


def block(
    net: Net, a: Feature, b: Feature, *, width: int, ops: tuple[CellSpec, CellSpec]
) -> Feature:
    """The sum of two operations."""
    return net.sum(
        "sum", net.add("op0", ops[0], a, width=width), net.add("op1", ops[1], b, width=width)
    )


def cell(
    net: Net, before: Feature, x: Feature, *, width: int, to: int, blocks: list[list[Entry]]
) -> Feature:
    """Five blocks on the two features before, each on any two of what is there; concatenated."""
    states: dict[str, Feature] = net.add("fit", fitted, before, x, width=width, to=to)
    for name, (first, second) in zip(ITEMS, blocks, strict=True):
        inputs = states[first["source"]], states[second["source"]]
        ops = first["op"], second["op"]
        states[name] = net.add(name, block, *inputs, width=width, ops=ops)
    return net.concat("out", {name: states[name] for name in ITEMS})


def fitted(net: Net, before: Feature, x: Feature, *, width: int, to: int) -> dict[str, Feature]:
    """The two features before with the cell's channels, at its stride."""
    inputs = {"prev2": before, "prev": x}
    projected = {n: net.add(f"{n}.conv", POINTWISE, f, width=width) for n, f in inputs.items()}
    return {name: net.resize(f"{name}.resize", f, to=to) for name, f in projected.items()}


@kind("trellis", "encoder")
def trellis(
    net: Net,
    image: Feature,
    *,
    path: list[Literal[4, 8, 16, 32]],
    cells: list[list[list[Entry]]],
    filters: Positive = 8,
) -> dict[str, Feature]:
    """One cell per step of the path; with fewer cells than steps they are taken in turn."""
    before: Feature = net.add("stem0", {"conv": {}}, image, width=32, stride=2)
    x: Feature = net.add("stem1", {"conv": {}}, before, width=32, stride=2)
    last = {4: x}
    for layer, stride in enumerate(path):
        fields = {"width": filters * stride // 4, "to": stride, "blocks": cells[layer % len(cells)]}
        before, x = x, net.add(f"cell{layer}.s{stride}", cell, before, x, **fields)
        last[stride] = x
    return {f"s{stride}": last[stride] for stride in sorted(last)}


def trellis_space(layers: int, cells: int) -> Space:
    """Return the space with paths of `layers` steps and `cells` cells drawn for each architecture."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(SPACE.format(layers=layers, cells=cells))
        file.flush()
        return load_space(Path(file.name))
