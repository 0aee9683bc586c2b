"""The pyramid pooling of Auto-DeepLab's search (Liu et al. 2019, section 4.2): fewer branches, widths that follow."""

from __future__ import annotations

from nas.fields import Positive
from nas.plan import Feature, Net
from nas.registry import kind


@kind("stride_aspp", "context")
def stride_aspp(net: Net, features: list[Feature], *, reach: Positive = 96) -> list[Feature]:
    """Put on the coarsest feature: a 1x1, a 3x3 of dilation reach / stride, the image's average; fused by a 1x1.

    All as wide as the feature, so that each end of an open path has its own. The paper gives the branches, the rate
    (96 / stride) and their width; how they are joined it leaves open: here as in DeepLabv3, by a 1x1 over all of them,
    with batch norm and ReLU after every convolution.
    """
    x = features[-1]
    dilated = {"conv": {"dilation": max(1, reach // x.stride)}}
    branches = {
        "point": net.add("point", {"conv": {"kernel": 1}}, x, width=x.channels),
        "dilated": net.add("dilated", dilated, x, width=x.channels),
        "image": net.add("image", {"pooled_conv": {}}, x, width=x.channels),
    }
    return [*features[:-1], net.add("project", {"fuse": {}}, branches, width=x.channels)]
