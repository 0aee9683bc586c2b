"""S2-FPN's pyramid (Elhassan et al. 2022, arXiv 2206.07298), wiring as in the first version of its code."""

from __future__ import annotations

from math import gcd
from typing import Annotated, Any

from nas.fields import Positive, Range
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import Top, extend

POINT: dict[str, Any] = {"conv": {"kernel": 1}}
Width = Annotated[int, Range(least=2)]


@kind("attention_pyramid", "neck")
def attention_pyramid(
    net: Net,
    features: list[Feature],
    *,
    top: Top = 5,
    width: Width = 32,
    widest: Width = 256,
    reduction: Positive = 4,
) -> list[Feature]:
    """Attention pyramid fusion (APF) from the top down, then global feature upsampling (GFU) from the top down again.

    The finest level gets `width` channels, each coarser one twice as many, `widest` at most. Above the coarsest level a
    depthwise 3x3 of stride 2 (CFGB) begins the first way; a grouped 3x3 on it (FAB) the second. Dropout after these two
    is left out; resizing is align_corners=False (the code: True in the second way). `reduction` is that of the channel
    reweighting.
    """
    levels = extend(net, features, top, widest)
    widths = [min(width * 2**i, widest) for i in range(len(levels))]
    coarsest = levels[-1]
    spread = {"conv": {"groups": coarsest.channels}}
    high = net.add("coarser", spread, coarsest, width=coarsest.channels, stride=2)
    fields = {"reduction": reduction}
    fused: list[Feature] = []
    for level, out in zip(reversed(levels), reversed(widths), strict=True):
        high = net.add(f"fuse.s{level.stride}", fuse, high, level, width=out, fields=fields)
        fused.append(high)
    groups = {"conv": {"groups": gcd(coarsest.channels, widths[-1])}}
    x = net.add("aggregate", groups, coarsest, width=widths[-1])
    outputs: list[Feature] = []
    for guide in fused:
        x = net.add(f"lift.s{guide.stride}", upsample, guide, x)
        outputs.append(x)
    return outputs[::-1]


def fuse(net: Net, high: Feature, low: Feature, *, width: int, fields: dict[str, int]) -> Feature:
    """APF: a level and what comes from above, weighed by attention to both (section 3.2)."""
    side = net.add("side", POINT, low, width=high.channels)
    above = net.resize("above", high, to=low.stride)
    both = net.add("both", {"fuse": {}}, {"low": side, "high": above}, width=width)
    both = net.add("both.refine", {"conv": {}}, both, width=width)
    above = net.add("above", {"conv": {}}, above, width=width)
    own = net.add("own", {"conv": {}}, side, width=width)
    weighed = net.add("weigh", {"attention_fusion": fields}, both, above, own)
    fused: Feature = net.add("refine", {"conv": {}}, weighed, width=width)
    return fused


def upsample(net: Net, guide: Feature, high: Feature) -> Feature:
    """GFU: 1x1(relu(1x1(up(high))) + 1x1(guide)), as wide as the guide; the first has no batch norm."""
    raised = net.resize("high", high, to=guide.stride)
    bare = {"conv": {"kernel": 1, "norm": False}}
    raised = net.add("high", bare, raised, width=guide.channels)
    side = net.add("guide", POINT, guide, width=guide.channels)
    total = net.sum("sum", raised, side)
    mixed: Feature = net.add("mix", POINT, total, width=guide.channels)
    return mixed
