"""BiSeNetV2's context embedding block (Yu et al. 2021, section 4.2, figure 4b)."""

from __future__ import annotations

from nas.plan import Feature, Net
from nas.registry import kind


@kind("context_embedding", "context")
def context_embedding(net: Net, features: list[Feature]) -> list[Feature]:
    """Add the image's embedding to the coarsest feature, and a 3x3; with batch norm and ReLU, as in the ports."""
    x = features[-1]
    said = net.add("image", {"image_embedding": {}}, x, width=x.channels)
    y = net.add("mix", {"conv": {}}, net.sum("image", x, said), width=x.channels)
    return [*features[:-1], y]
