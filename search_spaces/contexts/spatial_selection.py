"""IncepFormer's selection in front of its head (Fu et al. 2022)."""

from __future__ import annotations

from nas.plan import Feature, Net
from nas.registry import kind


@kind("spatial_selection", "context")
def spatial_selection(net: Net, features: list[Feature]) -> list[Feature]:
    """Strengthen every level but the coarsest where its channels are high on average (`spatial_select`)."""
    *finer, coarsest = features
    selected = [net.add(f"s{f.stride}", {"spatial_select": {}}, f) for f in finer]
    return [*selected, coarsest]
