"""SegFormer's head (Xie et al. 2021, section 3.2): nothing but 1x1 convolutions."""

from __future__ import annotations

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride, logits
from search_spaces.necks.pyramid import plain


@kind("mlp", "head")
def mlp(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    width: Positive = 256,
    dropout: Dropout = 0.1,
) -> Feature:
    """Project every level from stride `finest` up to `width`, resize to the finest, fuse by a 1x1, classify.

    Projections have bias and neither norm nor activation; the fusing 1x1 has batch norm and ReLU (equation 4, as in the
    official code).
    """
    levels = from_stride(features, finest)
    sources = {}
    for level in levels:
        name = f"s{level.stride}"
        x = net.add(name, plain(1), level, width=width)
        sources[name] = net.resize(f"up.{name}", x, to=levels[0].stride)
    x = net.add("fuse", {"fuse": {}}, sources, width=width)
    return logits(net, x, classes, dropout)
