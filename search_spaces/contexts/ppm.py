"""Pyramid pooling (PSPNet, Zhao et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from nas.fields import Odd, Positive, Range
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Act

Branch = Annotated[int, Range(least=0)]


@kind("ppm", "context")
def ppm(
    net: Net,
    features: list[Feature],
    *,
    bins: Sequence[Positive] = (1, 2, 3, 6),
    width: Positive = 512,
    projection: Odd = 3,
    branch: Branch = 0,
    branch_act: Act = "relu",
) -> list[Feature]:
    """Put on the coarsest feature: averages over b x b cells for each of `bins`, fused with the feature itself.

    `projection` is the kernel of the fusing convolution (3 in PSPNet, 1 in SFNet and Fast-SCNN). Each average has
    `branch` channels (a quarter of the feature's in Fast-SCNN), 0: as many as `width`; `branch_act` is its activation
    (none in SFNet). Dropout is the head's.
    """
    x = features[-1]
    if len(set(bins)) != len(bins):
        raise ValueError(f"ppm: bins must differ, got {list(bins)}")
    branches = {"input": x}
    for b in bins:
        pooled = {"pooled_conv": {"bins": b, "act": branch_act}}
        branches[f"bins{b}"] = net.add(f"bins{b}", pooled, x, width=branch or width)
    y = net.add("project", {"fuse": {"kernel": projection}}, branches, width=width)
    return [*features[:-1], y]
