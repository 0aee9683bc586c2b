"""BiSeNetV2's bilateral guided aggregation (Yu et al. 2021, section 4.3, figure 6)."""

from __future__ import annotations

from typing import Any

from nas.fields import Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import from_stride

LINEAR: dict[str, Any] = {"conv": {"act": "none"}}
POINT: dict[str, Any] = {"conv": {"kernel": 1, "norm": False, "act": "none"}}


@kind("guided_aggregation", "neck")
def guided_aggregation(
    net: Net, features: list[Feature], *, width: Positive = 128, finest: PowerOfTwo = 8
) -> list[Feature]:
    """Let detail (the finest level from stride `finest` up) and meaning (the coarsest) gate each other at both sizes.

    3x3(detail * sigmoid(up(meaning)) + up(down(detail) * sigmoid(meaning))), after a convolution or a separable one of
    each. Returns the levels up to the fused one; those between are left out. Bilinear, as everywhere here.
    """
    fine, finer = from_stride(features, finest)
    coarse = features[-1]
    if fine is coarse:
        return features
    meaning = net.add("meaning.dense", LINEAR, coarse, width=width)
    meaning = net.resize("meaning.dense", meaning, to=fine.stride)
    at_fine = net.add("fine", {"gate": {}}, _separable(net, "detail", fine, width), meaning)
    detail = _down(net, fine, coarse.stride, width)
    at_coarse = net.add("coarse", {"gate": {}}, detail, _separable(net, "meaning", coarse, width))
    raised = net.resize("coarse", at_coarse, to=fine.stride)
    total = net.sum("both", at_fine, raised)
    fused = net.add("fused", {"conv": {}}, total, width=width)
    return [*finer, fused]


def _separable(net: Net, name: str, x: Feature, width: int) -> Feature:
    """Depthwise 3x3 with batch norm, then a bare 1x1."""
    fields = {"conv": {"groups": x.channels, "act": "none"}}
    spread = net.add(f"{name}.depthwise", fields, x, width=x.channels)
    y: Feature = net.add(f"{name}.point", POINT, spread, width=width)
    return y


def _down(net: Net, x: Feature, stride: int, width: int) -> Feature:
    """3x3 of stride 2 with batch norm, then 3x3 average pooling, halving each time."""
    x = net.add("detail.down", LINEAR, x, width=width, stride=2)
    while x.stride < stride:
        x = net.add(f"detail.s{2 * x.stride}", {"avg_pool": {}}, x, stride=2)
    return x
