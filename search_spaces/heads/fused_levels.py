"""All levels at the finest one's size, fused by one convolution: the head of SFNet and SFNet-Lite (Li et al. 2020)."""

from __future__ import annotations

from nas.fields import Odd, Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride, logits


@kind("fused_levels", "head")
def fused_levels(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    width: Positive = 128,
    kernel: Odd = 3,
    dropout: Dropout = 0.1,
) -> Feature:
    """Resize every level from stride `finest` up to the finest of them, fuse (batch norm, ReLU), dropout, classify.

    SFNet drops out after its pyramid pooling instead; here dropout is the head's.
    """
    levels = from_stride(features, finest)
    sources = {}
    for level in levels:
        name = f"s{level.stride}"
        sources[name] = net.resize(f"up.{name}", level, to=levels[0].stride)
    x = net.add("fuse", {"fuse": {"kernel": kernel}}, sources, width=width)
    return logits(net, x, classes, dropout)
