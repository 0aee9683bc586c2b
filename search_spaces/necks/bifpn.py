"""Bidirectional feature pyramid (EfficientDet, Tan et al. 2020)."""

from __future__ import annotations

from nas.fields import Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Act
from search_spaces.necks.pyramid import Top, extend, project, shrink


@kind("bifpn", "neck")
def bifpn(
    net: Net,
    features: list[Feature],
    *,
    top: Top = 7,
    width: Positive = 64,
    repeats: Positive = 3,
    act: Act = "silu",
) -> list[Feature]:
    """`repeats` cells, each a pass from the top down and one from the bottom up, joined by fast normalised weights.

    In the first cell every input of another width is projected per node (as in the official code).
    Levels above the input's are max-pooled; going down is 3x3 max pooling, going up is bilinear, as everywhere here
    (the paper: nearest). `act` comes before each node's convolution. Params of a node with n inputs: 9W + W^2 + 3W + n.
    """
    levels = extend(net, features, top, width)
    if len(levels) == 1:
        return [project(net, "single", levels[0], width)]
    for number in range(repeats):
        levels = net.add(f"cell{number}", cell, levels, width=width, act=act)
    return levels


def cell(net: Net, levels: list[Feature], *, width: int, act: Act) -> list[Feature]:
    """One pass down and one up."""
    passed = _downward(net, levels, width=width, act=act)
    return _upward(net, levels, passed, act=act)


def _downward(net: Net, levels: list[Feature], *, width: int, act: Act) -> list[Feature]:
    """P'_l = conv(w1 P_l + w2 resize(P'_(l+1))); the top level stays itself."""
    passed = levels[-1:]
    for level in reversed(levels[:-1]):
        sources = {"same": level, "coarser": passed[-1]}
        passed.append(_node(net, f"down.s{level.stride}", sources, width=width, act=act))
    return passed[::-1]


def _upward(net: Net, levels: list[Feature], passed: list[Feature], *, act: Act) -> list[Feature]:
    """P''_l = conv(w1 P_l + w2 P'_l + w3 resize(P''_(l-1))); the top level has no P', the finest output is its P'."""
    width = passed[0].channels
    outputs = passed[:1]
    for level, middle in zip(levels[1:], passed[1:], strict=True):
        sources = {"same": level, "middle": middle, "finer": outputs[-1]}
        if level is levels[-1]:
            del sources["middle"]
        outputs.append(_node(net, f"up.s{level.stride}", sources, width=width, act=act))
    return outputs


def _node(net: Net, name: str, sources: dict[str, Feature], *, width: int, act: Act) -> Feature:
    """Project, resize to the stride of the source `same`, weigh, convolve."""
    stride = sources["same"].stride
    fitted = {}
    for source, x in sources.items():
        y = project(net, f"{name}.{source}", x, width)
        y = shrink(net, f"{name}.{source}", y, stride)
        fitted[source] = net.resize(f"{name}.{source}", y, to=stride)
    total = net.add(name, {"weighted_sum": {}}, fitted)
    output: Feature = net.add(name, {"bifpn_conv": {"act": act}}, total, width=width)
    return output
