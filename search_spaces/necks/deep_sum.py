"""DDRNet's fusion: the context feature, resized, is added to the branch of high resolution (Hong et al. 2021)."""

from __future__ import annotations

from nas.fields import PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import from_stride, project


@kind("deep_sum", "neck")
def deep_sum(net: Net, features: list[Feature], *, finest: PowerOfTwo = 8) -> list[Feature]:
    """Add the coarsest level to the finest from stride `finest` up, and return the levels up to that one.

    A coarsest level of another width is projected by a 1x1 first. Levels between the two are left out, as in DDRNet.
    """
    target, finer = from_stride(features, finest)
    if target is features[-1]:
        return features
    deep = project(net, "deep", features[-1], target.channels)
    deep = net.resize("deep", deep, to=target.stride)
    total = net.sum("sum", target, deep)
    return [*finer, total]
