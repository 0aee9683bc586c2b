"""Fast-SCNN's feature fusion (Poudel et al. 2019, table 3)."""

from __future__ import annotations

from typing import Any

from nas.fields import Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import from_stride

LINEAR: dict[str, Any] = {"conv": {"kernel": 1, "bias": True, "act": "none"}}


@kind("feature_fusion", "neck")
def feature_fusion(
    net: Net, features: list[Feature], *, width: Positive = 128, finest: PowerOfTwo = 8
) -> list[Feature]:
    """Fuse the coarsest level into the finest from stride `finest` up, and return the levels up to that one.

    relu(1x1(fine) + 1x1(depthwise 3x3(up(coarse)))) of `width` channels, each 1x1 with bias and batch norm; the
    depthwise convolution, with batch norm and ReLU, is dilated by the ratio of the strides. Levels between are left
    out.
    """
    fine, finer = from_stride(features, finest)
    coarse = features[-1]
    if fine is coarse:
        return features
    fields = {"dilation": coarse.stride // fine.stride, "groups": coarse.channels}
    raised = net.resize("coarse", coarse, to=fine.stride)
    spread = net.add("coarse.depthwise", {"conv": fields}, raised, width=coarse.channels)
    deep = net.add("coarse.project", LINEAR, spread, width=width)
    side = net.add("fine.project", LINEAR, fine, width=width)
    fused = net.add("fused", {"activate": {}}, net.sum("fused", side, deep))
    return [*finer, fused]
