"""A light head in the manner of ESeg (Meng et al. 2022): all levels, one weighted sum."""

from __future__ import annotations

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Act, Dropout
from search_spaces.heads.fcn import Convs
from search_spaces.heads.logits import from_stride, logits
from search_spaces.necks.pyramid import project


@kind("merge", "head")
def merge(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    width: Positive = 64,
    convs: Convs = 1,
    dropout: Dropout = 0.1,
    act: Act = "relu",
) -> Feature:
    """Resize every level from stride `finest` up to the finest, add by learned weights, separable 3x3s, classify.

    Levels of another width are projected by a 1x1 first. The paper publishes no code: weights are BiFPN's, convolutions
    `separable`.
    """
    levels = from_stride(features, finest)
    sources = {}
    for level in levels:
        name = f"s{level.stride}"
        x = project(net, name, level, width)
        sources[name] = net.resize(f"up.{name}", x, to=levels[0].stride)
    x = net.add("levels", {"weighted_sum": {}}, sources)
    for i in range(convs):
        x = net.add(f"refine{i}", {"separable": {"act": act}}, x, width=width)
    return logits(net, x, classes, dropout)
