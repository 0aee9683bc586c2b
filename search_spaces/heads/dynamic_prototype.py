"""CGRSeg's dynamic prototype guided head (Ni et al. 2024, section 3.3)."""

from __future__ import annotations

from nas.fields import Place, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride


@kind("dynamic_prototype", "head")
def dynamic_prototype(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 8,
    dropout: Dropout = 0.1,
) -> Feature:
    """Classify the finest level from stride `finest` up, channels weighed by what each class looks like in the image.

    It reads one level: what precedes it (CGRSeg: `rectangular_pyramid`) has mixed the others into it.
    """
    x = from_stride(features, finest)[0]
    scores = net.add("prototypes", {"prototype_classify": {"dropout": dropout}}, x, classes=classes)
    return net.resize("logits", scores, to=1)
