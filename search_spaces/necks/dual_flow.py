"""SFNet-Lite's neck: the finest level and the context meet in one gated dual flow alignment (Li et al. 2023)."""

from __future__ import annotations

from nas.fields import Odd, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.flow_align import Gate
from search_spaces.necks.flow_alignment import LATERAL, lateral
from search_spaces.necks.pyramid import Top, extend


@kind("dual_flow", "neck")
def dual_flow(
    net: Net,
    features: list[Feature],
    *,
    top: Top = 5,
    width: Positive = 128,
    finest: PowerOfTwo = 4,
    middle: PowerOfTwo = 16,
    kernel: Odd = 3,
    gate: Gate = "pooled",
) -> list[Feature]:
    """Return the coarsest level aligned with the one at `finest`, and the lateral of the one at `middle`.

    Section 3.3 (the code aligns stride 32 with stride 4 at once). The two are the coarsest levels at these strides or
    finer; without a level between, the aligned one is alone. Laterals are 1x1 with batch norm and ReLU.
    """
    levels = extend(net, features, top, width)
    coarse = lateral(net, levels[-1], width)
    if len(levels) == 1:
        return [coarse]
    low = next((f for f in reversed(levels[:-1]) if f.stride <= finest), levels[0])
    side = net.add(f"lateral.s{low.stride}", LATERAL, low, width=width)
    fields = {"kernel": kernel, "gate": gate}
    aligned = net.add(f"align.s{low.stride}", {"dual_flow_align": fields}, side, coarse)
    between = [f for f in levels[:-1] if low.stride < f.stride <= middle]
    return [
        aligned,
        *[net.add(f"lateral.s{f.stride}", LATERAL, f, width=width) for f in between[-1:]],
    ]
