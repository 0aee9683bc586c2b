"""DDRNet's head, also its auxiliary one (Hong et al. 2021)."""

from __future__ import annotations

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride, logits


@kind("ddrnet", "head")
def ddrnet(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 8,
    width: Positive = 128,
    dropout: Dropout = 0,
) -> Feature:
    """Batch norm, ReLU, 3x3 to `width`, batch norm, ReLU, 1x1 to classes, on the finest level from stride `finest` up.

    Made for a feature that comes without activation. Params: 2C + 9CW + 2W + WK + K.
    """
    x = from_stride(features, finest)[0]
    x = net.add("enter", {"activate": {"norm": True}}, x)
    x = net.add("refine", {"conv": {}}, x, width=width)
    return logits(net, x, classes, dropout)
