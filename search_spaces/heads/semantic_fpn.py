"""Semantic FPN's head (Kirillov et al. 2019, panoptic feature pyramid networks)."""

from __future__ import annotations

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride, logits


@kind("semantic_fpn", "head")
def semantic_fpn(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    width: Positive = 128,
    dropout: Dropout = 0.1,
) -> Feature:
    """Bring every level from stride `finest` up to the finest, a 3x3 and a doubling at a time; add; classify.

    Batch norm as in mmsegmentation (the paper: group norm).
    """
    levels = from_stride(features, finest)
    raised = [_raise(net, level, levels[0].stride, width) for level in levels]
    return logits(net, net.sum("levels", *raised), classes, dropout)


def _raise(net: Net, level: Feature, to: int, width: int) -> Feature:
    """One 3x3 convolution per factor of two between the level and stride `to`, at least one."""
    name = f"s{level.stride}"
    x: Feature = net.add(f"{name}.at{level.stride}", {"conv": {}}, level, width=width)
    while x.stride > to:
        x = net.resize(f"{name}.up{x.stride // 2}", x, to=x.stride // 2)
        if x.stride > to:
            x = net.add(f"{name}.at{x.stride}", {"conv": {}}, x, width=width)
    return x
