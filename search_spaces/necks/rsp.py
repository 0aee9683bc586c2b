"""Relational semantics propagation (Bai et al. 2021, arXiv 2106.01744): context goes down a pyramid by relation."""

from __future__ import annotations

from typing import Any, Literal

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.fpn import fpn
from search_spaces.necks.pyramid import Top

LINEAR: dict[str, Any] = {"conv": {"kernel": 1, "act": "none"}}


@kind("rsp", "neck")
def rsp(
    net: Net,
    features: list[Feature],
    *,
    top: Top = 5,
    width: Positive = 128,
    window: Odd = 3,
    heads: Positive = 8,
    keys: Positive = 64,
    keep: Literal["finest", "all"] = "finest",
) -> list[Feature]:
    """FPN's levels P, then from the coarsest down y_l = relu(BN(3x3(relu(P_l + BN(1x1(relation(P_l, y_(l+1)))))))).

    The coarsest y is P itself; `relation` is `region_relation`. Returns the finest y, or with `keep` `all` of them.
    From the abstract: an efficient feature pyramid, the relation to the adjacent coarser map, several stacked from the
    top down. That they meet by a sum and a 3x3 as in FPN, and that the finest alone is scored, is a reconstruction.
    Params of a step: those of `region_relation`, and 10W^2 + 4W.
    """
    levels = fpn(net, features, top=top, width=width)
    y = levels[-1]
    outputs = [y]
    relation = {"region_relation": {"window": window, "heads": heads, "keys": keys}}
    for low in reversed(levels[:-1]):
        name = f"s{low.stride}"
        said = net.add(f"relate.{name}", relation, low, y, ratio=y.stride // low.stride)
        said = net.add(f"project.{name}", LINEAR, said, width=width)
        joined = net.add(f"join.{name}", {"activate": {}}, net.sum(f"join.{name}", low, said))
        y = net.add(f"spread.{name}", {"conv": {}}, joined, width=width)
        outputs.append(y)
    return outputs[::-1] if keep == "all" else outputs[-1:]
