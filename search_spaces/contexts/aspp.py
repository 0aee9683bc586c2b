"""Atrous spatial pyramid pooling (DeepLabv3, Chen et al. 2017; separable in DeepLabv3+, 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind


@kind("aspp", "context")
def aspp(
    net: Net,
    features: list[Feature],
    *,
    rates: Sequence[Positive] = (6, 12, 18),
    width: Positive = 256,
    separable: bool = False,
    image_pool: bool = True,
    projection: Odd = 1,
) -> list[Feature]:
    """Put on the coarsest feature: a 1x1, one 3x3 per dilation rate, the image's average; fused to `width` channels.

    Rates count pixels of that feature's map: (6, 12, 18) belongs to stride 16, twice that to stride 8. `projection`
    is the kernel of the fusing convolution (1 in the papers, 3 in mmsegmentation). Dropout is the head's.
    """
    x = features[-1]
    if len(set(rates)) != len(rates):
        raise ValueError(f"aspp: rates must differ, got {list(rates)}")
    dilated = dict.fromkeys(rates, x)
    y = branched(
        net, x, dilated, width, separable=separable, image_pool=image_pool, projection=projection
    )
    return [*features[:-1], y]


def branched(
    net: Net,
    x: Feature,
    dilated: Mapping[int, Feature],
    width: int,
    *,
    separable: bool,
    image_pool: bool,
    projection: int = 1,
) -> Feature:
    """Return the branches of x, fused; those of a dilation rate may read a feature of their own."""
    branches = {"point": net.add("point", {"conv": {"kernel": 1}}, x, width=width)}
    for rate, source in dilated.items():
        branch = {"separable" if separable else "conv": {"dilation": rate}}
        branches[f"rate{rate}"] = net.add(f"rate{rate}", branch, source, width=width)
    if image_pool:
        branches["image"] = net.add("image", {"pooled_conv": {}}, x, width=width)
    fused: Feature = net.add("project", {"fuse": {"kernel": projection}}, branches, width=width)
    return fused
