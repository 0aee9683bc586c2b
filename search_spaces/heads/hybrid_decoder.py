"""MOSAIC's hybrid decoder: one level joined by concatenation, the next by addition (Wang and Howard 2021)."""

from __future__ import annotations

from typing import Literal

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.heads.logits import up_to_stride

POINT = {"conv": {"kernel": 1}}
Join = Literal["concat", "sum"]


@kind("hybrid_decoder", "head")
def hybrid_decoder(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    middle: PowerOfTwo = 8,
    middle_join: Join = "concat",
    finest: PowerOfTwo = 4,
    finest_join: Join = "sum",
    width: Positive = 64,
) -> Feature:
    """Join the coarsest feature with the level at stride `middle` and the result with that at `finest`; resize.

    Each is the coarsest level at that stride or finer, and is left out where what it would be joined with is not
    coarser. The coarsest feature is the one at stride 32 or finer: what a neck adds above has been mixed into it. Both
    joins end in one channel per class behind batch norm and ReLU and there is no further classifier, so logits are
    never negative (as in the official code).
    """
    x = up_to_stride(features, 32)[-1]
    for stride, join in ((middle, middle_join), (finest, finest_join)):
        level = up_to_stride(features, stride)[-1]
        if level.stride < x.stride and join == "concat":
            x = by_concat(net, level, x, width=width, classes=classes)
        elif level.stride < x.stride:
            x = by_sum(net, level, x, classes)
    return net.resize("logits", _scores(net, "scores", x, classes), to=1)


def by_concat(net: Net, level: Feature, x: Feature, *, width: int, classes: int) -> Feature:
    """1x1 to `width` over both, depthwise 3x3, 1x1 to one channel per class."""
    name = f"s{level.stride}"
    sources = {"coarse": net.resize(f"{name}.up", x, to=level.stride), "fine": level}
    y = net.add(f"{name}.fuse", {"fuse": {}}, sources, width=width)
    y = net.add(f"{name}.depthwise", {"conv": {"groups": width}}, y, width=width)
    scores: Feature = net.add(f"{name}.scores", POINT, y, width=classes)
    return scores


def by_sum(net: Net, level: Feature, x: Feature, classes: int) -> Feature:
    """Each by a 1x1 to one channel per class, where it has another number of channels; added at the finer stride."""
    name = f"s{level.stride}"
    coarse = net.resize(f"{name}.up", _scores(net, f"{name}.coarse", x, classes), to=level.stride)
    return net.sum(name, coarse, _scores(net, f"{name}.fine", level, classes))


def _scores(net: Net, name: str, x: Feature, classes: int) -> Feature:
    """Return x if it has one channel per class, else through a 1x1 with batch norm and ReLU."""
    if x.channels == classes:
        return x
    y: Feature = net.add(name, POINT, x, width=classes)
    return y
