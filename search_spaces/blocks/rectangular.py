"""CGRSeg's rectangular self-calibration module (Ni et al. 2024, section 3.2): a cell, also of several features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.fields import Odd, Place
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.msca import MlpRatio


def linear(bias: bool) -> dict[str, Any]:
    """Return a 1x1 convolution without norm and activation."""
    return {"conv": {"kernel": 1, "bias": bias, "norm": False, "act": "none"}}


def calibrated(
    net: Net, features: Mapping[str, Feature], *, band: int, square: int, mlp: float
) -> dict[str, Feature]:
    """Return x + s * MLP(RCA(x)) of features of one stride as if they were concatenated.

    Calibration is depthwise, so only the MLP mixes them, `mlp` times as wide in between: its first layer has one weight
    per feature (and one bias), its last one per result.
    """
    inner = max(1, round(mlp * sum(x.channels for x in features.values())))
    hidden: list[Feature] = []
    for name, x in features.items():
        fields = {"rectangular_attention": {"band": band, "square": square}}
        seen = net.add(f"{name}.attend", fields, x)
        hidden.append(net.add(f"{name}.expand", linear(not hidden), seen, width=inner))
    mixed = net.add("mix", {"activate": {"act": "gelu"}}, net.sum("mix", *hidden))
    results = {}
    for name, x in features.items():
        y = net.add(f"{name}.project", linear(True), mixed, width=x.channels)
        results[name] = net.add(name, {"scaled_sum": {}}, x, y)
    return results


@kind("rectangular", "cell")
def rectangular(
    net: Net,
    x: Feature,
    *,
    width: Place[int],
    stride: Place[int] = 1,
    band: Odd = 11,
    square: Odd = 3,
    mlp: MlpRatio = 2,
) -> Feature:
    """Rectangular attention and an MLP: x + s * W2 GELU(W1 RCA(x)), `mlp` times the width in between.

    The scale s starts at 0.01 (the authors' code: 1e-6). A change of width or stride is made by a 3x3 convolution and
    batch norm in front. Params with k = `band`, s = `square`, m = `mlp`: d(s^2 + 2k + 7) + 2md^2 + md + 2d.
    """
    if (x.channels, stride) != (width, 1):
        x = net.add("entry", {"conv": {"act": "none"}}, x, width=width, stride=stride)
    return calibrated(net, {"x": x}, band=band, square=square, mlp=mlp)["x"]
