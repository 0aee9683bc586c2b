"""The smallest head: one 1x1 convolution."""

from __future__ import annotations

from nas.fields import Place, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.heads.logits import from_stride


@kind("pointwise", "head")
def pointwise(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    bias: bool = False,
) -> Feature:
    """Scores of the finest level from stride `finest` up: CK weights, and K biases with `bias` (S2-FPN has none)."""
    x = from_stride(features, finest)[0]
    fields = {"kernel": 1, "bias": bias, "norm": False, "act": "none"}
    scores = net.add("classify", {"conv": fields}, x, width=classes)
    return net.resize("logits", scores, to=1)
