"""An encoder of searched stages: a stem, then any cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from nas.fields import CellSpec, Positive, Stride
from nas.plan import Feature, Net
from nas.registry import kind


class Stage(TypedDict):
    """Cells of one width; the first one has the stage's stride, 2 unless given."""

    width: Positive
    blocks: list[CellSpec]
    stride: NotRequired[Stride]


@kind("stages", "encoder")
def stages(
    net: Net, image: Feature, *, stages: Sequence[Stage], stem: Positive = 32
) -> dict[str, Feature]:
    """Return the last feature of each stride as s4, s8, ...; taps "stem" (stride 2) and "stage1", "stage2", ...

    The stem is one 3x3 convolution of stride 2 with `stem` channels.
    """
    x: Feature = net.add("stem", {"conv": {}}, image, width=stem, stride=2)
    taps = {"stem": x}
    for number, stage in enumerate(stages, start=1):
        if not stage["blocks"]:
            raise ValueError(
                f"stages: stage {number} has no blocks; give it one, or remove the stage"
            )
        for i, cell in enumerate(stage["blocks"]):
            stride = stage.get("stride", 2) if i == 0 else 1
            x = net.add(f"stage{number}.{i}", cell, x, width=stage["width"], stride=stride)
        taps[f"stage{number}"] = x
    if len(taps) == 1:
        raise ValueError("stages: at least one stage is needed, got none")
    return {**taps, **{f"s{f.stride}": f for name, f in taps.items() if name != "stem"}}
