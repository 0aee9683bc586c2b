"""Fully convolutional head (Long et al. 2015)."""

from __future__ import annotations

from typing import Annotated

from nas.fields import CellSpec, Place, Positive, PowerOfTwo, Range
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride

Convs = Annotated[int, Range(least=0, most=4)]


@kind("fcn", "head")
def fcn(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 8,
    convs: Convs = 1,
    width: Positive = 128,
    dropout: Dropout = 0.1,
    cell: CellSpec = {"conv": {}},  # noqa: B006
) -> Feature:
    """Score every level from stride `finest` up, add the scores at the finest of them (FCN-8s, -16s, -32s).

    A level's scores come from `convs` cells of `width` channels, 3x3 convolutions unless `cell` is given, dropout and a
    1x1 convolution. Of a dilated encoder without neck that is its last feature alone (torchvision, mmsegmentation
    without its concatenation).
    """
    levels = from_stride(features, finest)
    scores = []
    for level in levels:
        x, name = level, f"s{level.stride}"
        for i in range(convs):
            x = net.add(f"{name}.{i}", cell, x, width=width)
        x = net.add(name, {"classify": {"dropout": dropout}}, x, classes=classes)
        scores.append(net.resize(f"up.{name}", x, to=levels[0].stride))
    return net.resize("logits", net.sum("scores", *scores), to=1)
