"""Atrous spatial pyramid pooling with lateral inhibition (Wang et al. 2020, arXiv 2006.03708), as in its code."""

from __future__ import annotations

from collections.abc import Sequence

from nas.fields import Odd, Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.lateral_inhibition import Sigma
from search_spaces.contexts.aspp import branched


@kind("li_aspp", "context")
def li_aspp(
    net: Net,
    features: list[Feature],
    *,
    rates: Sequence[Positive] = (6, 12, 18),
    width: Positive = 256,
    separable: bool = True,
    image_pool: bool = True,
    zone: Odd = 3,
    sigma: Sigma = 1,
) -> list[Feature]:
    """`aspp` whose dilated branches begin with a `lateral_inhibition` each: what they skip weakens what they sample.

    The feature goes through a ReLU first, which is none where it has had one. Params: those of `aspp`, and the
    feature's channels per rate. Rates count pixels of the coarsest feature's map.
    """
    if len(set(rates)) != len(rates):
        raise ValueError(f"li_aspp: rates must differ, got {list(rates)}")
    x = net.add("enter", {"activate": {}}, features[-1])
    inhibition = {"lateral_inhibition": {"zone": zone, "sigma": sigma}}
    inhibited = {rate: net.add(f"rate{rate}", inhibition, x) for rate in rates}
    y = branched(net, x, inhibited, width, separable=separable, image_pool=image_pool)
    return [*features[:-1], y]
