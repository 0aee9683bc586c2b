"""DeepLabv3+'s decoder (Chen et al. 2018)."""

from __future__ import annotations

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import logits, up_to_stride


@kind("deeplabv3plus", "head")
def deeplabv3plus(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    low_level: Positive = 48,
    low_stride: PowerOfTwo = 4,
    width: Positive = 256,
    separable: bool = False,
    dropout: Dropout = 0.1,
) -> Feature:
    """Fuse the deep feature with a low-level one of `low_level` channels, two 3x3 convolutions, classify.

    The deep feature is the coarsest at stride 32 or finer: what a neck adds above has been mixed into it. The
    low-level one is the coarsest at `low_stride` or finer. `separable` makes both 3x3 depthwise-separable.
    """
    deep = up_to_stride(features, 32)[-1]
    low = up_to_stride(features, low_stride)[-1]
    sources = {
        "low": net.add("low", {"conv": {"kernel": 1}}, low, width=low_level),
        "deep": net.resize("deep", deep, to=low.stride),
    }
    x = net.add("fuse", {"fuse": {"kernel": 3, "separable": separable}}, sources, width=width)
    x = net.add("refine", {"separable" if separable else "conv": {}}, x, width=width)
    return logits(net, x, classes, dropout)
