"""UPerNet's head (Xiao et al. 2018, unified perceptual parsing), as mmsegmentation builds it."""

from __future__ import annotations

from collections.abc import Sequence

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride


@kind("upernet", "head")
def upernet(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 4,
    bins: Sequence[Positive] = (1, 2, 3, 6),
    width: Positive = 512,
    dropout: Dropout = 0.1,
) -> Feature:
    """Pyramid pooling on the coarsest level, sums from there down to stride `finest`, all levels fused by a 3x3.

    It is `ppm`, a feature pyramid whose convolutions have batch norm and ReLU, and `fused_levels`, all `width` wide.
    What an encoder and a neck did before, any levels will do.
    """
    levels = from_stride(features, finest)
    pooled = net.add("context", {"ppm": {"bins": list(bins), "width": width}}, levels)
    merged = _merge(net, pooled, width)
    fields = {"finest": finest, "width": width, "dropout": dropout}
    scores: Feature = net.add("levels", {"fused_levels": fields}, merged, classes=classes)
    return scores


def _merge(net: Net, levels: list[Feature], width: int) -> list[Feature]:
    """Lateral 1x1s, sums from the coarsest level down, a 3x3 on each sum; the coarsest level stays as it is."""
    above, merged = levels[-1], levels[-1:]
    for level in reversed(levels[:-1]):
        name = f"s{level.stride}"
        lateral = net.add(f"lateral.{name}", {"conv": {"kernel": 1}}, level, width=width)
        above = net.sum(f"sum.{name}", lateral, net.resize(f"up.{name}", above, to=level.stride))
        merged.append(net.add(f"out.{name}", {"conv": {}}, above, width=width))
    return merged[::-1]
