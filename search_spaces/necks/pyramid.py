"""What necks share: levels above the encoder's, one width, and steps down to a coarser stride."""

from __future__ import annotations

from typing import Annotated, Any

from nas.fields import Range
from nas.plan import Feature, Net

Top = Annotated[int, Range(least=3, most=9)]


def project(net: Net, name: str, x: Feature, width: int) -> Feature:
    """Return x at `width` channels: x itself, or through a 1x1 convolution with bias and batch norm (EfficientDet)."""
    if x.channels == width:
        return x
    y: Feature = net.add(name, {"conv": {"kernel": 1, "bias": True, "act": "none"}}, x, width=width)
    return y


def shrink(net: Net, name: str, x: Feature, stride: int) -> Feature:
    """Return x brought to a coarser `stride` by 3x3 max pooling, halving each time."""
    while x.stride < stride:
        x = net.add(f"{name}.s{2 * x.stride}", {"max_pool": {}}, x, stride=2)
    return x


def extend(net: Net, features: list[Feature], top: int, width: int) -> list[Feature]:
    """Return `features` and the levels above them up to `top`: the coarsest projected, then max-pooled again and again.

    Levels that are there stay, also those above `top`.
    """
    levels = list(features)
    if levels[-1].level >= top:
        return levels
    x = project(net, "extra.project", levels[-1], width)
    while x.level < top:
        x = shrink(net, "extra", x, 2 * x.stride)
        levels.append(x)
    return levels


def from_stride(features: list[Feature], stride: int) -> tuple[Feature, list[Feature]]:
    """Return the finest level from `stride` up, the coarsest of all if every one is finer; and those finer than it."""
    found = next((f for f in features if f.stride >= stride), features[-1])
    return found, [f for f in features if f.stride < found.stride]


def plain(kernel: int) -> dict[str, Any]:
    """Return a convolution with bias, without norm and activation, as FPN has them."""
    return {"conv": {"kernel": kernel, "bias": True, "norm": False, "act": "none"}}
