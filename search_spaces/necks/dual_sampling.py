"""DDSM's pyramid: from the top down, each level gathers sampled pixels and channels of the next (Shi et al. 2021)."""

from __future__ import annotations

from typing import Any, Literal

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.dual_sampling import Choose
from search_spaces.necks.flow_alignment import from_the_top
from search_spaces.necks.pyramid import Top


@kind("dual_sampling", "neck")
def dual_sampling(
    net: Net,
    features: list[Feature],
    *,
    top: Top = 5,
    width: Positive = 128,
    branches: Literal["both", "pixels", "channels"] = "both",
    window: Odd = 3,
    cells: Positive = 8,
    choose: Choose = "offsets",
) -> list[Feature]:
    """From the coarsest level down f = lateral + pixels(lateral, f) + channels(lateral, f), and a 3x3 on each but it.

    arXiv 2105.11657. `pixel_sampling` and `channel_sampling`, or one of them, in the place of SFNet's flow alignment:
    the authors' repository (Fantasticarl/DDSM 6025d49), without code, says that it is built on SFNet's.
    """
    fields: dict[str, Any] = {"window": window, "choose": choose}

    def gathered(name: str, side: Feature, f: Feature) -> list[Feature]:
        found = []
        if branches != "channels":
            spec: dict[str, Any] = {"pixel_sampling": fields}
            found.append(net.add(name, spec, side, f, ratio=f.stride // side.stride))
        if branches != "pixels":
            found.append(net.add(name, {"channel_sampling": {**fields, "cells": cells}}, side, f))
        return found

    return from_the_top(net, features, top, width, gather=gathered)
