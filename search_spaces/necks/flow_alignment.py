"""SFNet's pyramid: from the top down, each level aligned to the next finer one by a learned flow (Li et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import Top, extend

LATERAL = {"conv": {"kernel": 1, "bias": True}}


@kind("flow_alignment", "neck")
def flow_alignment(
    net: Net, features: list[Feature], *, top: Top = 5, width: Positive = 128, kernel: Odd = 3
) -> list[Feature]:
    """From the coarsest level down f = lateral + FAM(lateral, f), and a 3x3 on each level but the coarsest.

    Section 3.3; laterals are 1x1 with batch norm and ReLU. The coarsest level is the context's, at `width` or projected
    to it. `kernel` is that of the convolution that makes the flow.
    """
    spec = {"flow_align": {"kernel": kernel}}
    return from_the_top(
        net, features, top, width, gather=lambda name, side, f: [net.add(name, spec, side, f)]
    )


def from_the_top(
    net: Net,
    features: list[Feature],
    top: int,
    width: int,
    *,
    gather: Callable[[str, Feature, Feature], list[Feature]],
) -> list[Feature]:
    """From the coarsest level down f = lateral + all of gather(name, lateral, f), and a 3x3 on each level but it."""
    levels = extend(net, features, top, width)
    f = lateral(net, levels[-1], width)
    outputs = [f]
    for level in reversed(levels[:-1]):
        name = f"s{level.stride}"
        side = net.add(f"lateral.{name}", LATERAL, level, width=width)
        f = net.sum(f"merge.{name}", side, *gather(f"align.{name}", side, f))
        outputs.append(net.add(f"out.{name}", {"conv": {}}, f, width=width))
    return outputs[::-1]


def lateral(net: Net, x: Feature, width: int) -> Feature:
    """Return x itself if it has that width, else its lateral."""
    if x.channels == width:
        return x
    y: Feature = net.add(f"lateral.s{x.stride}", LATERAL, x, width=width)
    return y
