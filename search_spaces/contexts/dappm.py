"""Deep aggregation pyramid pooling (DDRNet, Hong et al. 2021, section III.C)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.fields import Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind


@kind("dappm", "context")
def dappm(
    net: Net,
    features: list[Feature],
    *,
    width: Positive = 128,
    output: Positive = 256,
    strides: Sequence[PowerOfTwo] = (2, 4, 8),
    image_pool: bool = True,
) -> list[Feature]:
    """Put on the coarsest feature: averages over ever larger windows, each refined with the one before.

    y_0 = 1x1(x), y_i = 3x3(y_(i-1) + up(1x1(pool_i(x)))) of `width` channels, with windows of 2s + 1 pixels at stride
    s and, with `image_pool`, the whole image at the end; out = 1x1(x) + the sum of a 1x1 of each y_i to `output`
    channels, which is one of their concatenation. Every convolution comes after batch norm and ReLU.
    With C channels in, b = `width` and o = `output`, params are 5(2C + Cb) + 4(2b + 9b^2) + (10b + 5bo) + (2C + Co).
    """
    x = features[-1]
    if len(set(strides)) != len(strides):
        raise ValueError(f"dappm: strides must differ, got {list(strides)}")
    y = net.add("scale0", {"pre_conv": {"kernel": 1}}, x, width=width)
    refined = {"scale0": y}
    for name, pooled in _pooled(net, x, width, strides, image_pool):
        total = net.sum(name, pooled, y)
        y = refined[name] = net.add(f"{name}.refine", {"pre_conv": {}}, total, width=width)
    refined["input"] = x
    parts = [
        net.add(f"{name}.project", {"pre_conv": {"kernel": 1}}, y, width=output)
        for name, y in refined.items()
    ]
    return [*features[:-1], net.sum("project", *parts)]


def _pooled(
    net: Net, x: Feature, width: int, strides: Sequence[int], image_pool: bool
) -> Iterator[tuple[str, Feature]]:
    """Yield each scale by name, at x's stride again."""
    for s in strides:
        name = f"scale{s}"
        y = net.add(name, {"avg_pool": {"kernel": 2 * s + 1}}, x, stride=s)
        y = net.add(name, {"pre_conv": {"kernel": 1}}, y, width=width)
        yield name, net.resize(name, y, to=x.stride)
    if image_pool:
        yield "image", net.add("image", {"pooled_pre_conv": {}}, x, width=width)
