"""CGRSeg's pyramid context and its way back to detail (Ni et al. 2024, section 3.1), wiring as in its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from nas.fields import Odd, Positive, PowerOfTwo, Range
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.msca import MlpRatio
from search_spaces.blocks.rectangular import calibrated
from search_spaces.necks.pyramid import from_stride, plain

Repeats = Annotated[int, Range(least=0, most=12)]
LINEAR = {"conv": {"kernel": 1, "act": "none"}}


@kind("rectangular_pyramid", "context", "neck")
def rectangular_pyramid(
    net: Net,
    features: list[Feature],
    *,
    width: Positive = 128,
    finest: PowerOfTwo = 8,
    repeats: Repeats = 5,
    band: Odd = 11,
    square: Odd = 3,
    mlp: MlpRatio = 2,
) -> list[Feature]:
    """Levels from stride `finest` up, averaged to half the coarsest one's size, through `repeats` `rectangular` cells.

    What comes out at each level's channels, G_l, weighs it from the top down: F_l = 1x1(cell(P_l + 1x1(up(F_(l+1))))) *
    up(hard_sigmoid(1x1(G_l))) of `width` channels. Finer levels stay as they are.
    """
    first, finer = from_stride(features, finest)
    levels = {f"s{f.stride}": f for f in features if f.stride >= first.stride}
    fields = {"band": band, "square": square, "mlp": mlp}
    to = 2 * features[-1].stride
    pooled = {
        n: net.add(f"pool.{n}", {"pool_to": {}}, f, net.image, to=to) for n, f in levels.items()
    }
    for i in range(repeats):
        pooled = net.add(f"context{i}", mixed, pooled, fields=fields)
    fused: list[Feature] = []
    for name, level in reversed(levels.items()):
        x = _joined(net, name, level, fused[-1:])
        x = net.add(f"detail.{name}", {"rectangular": fields}, x, width=level.channels)
        x = net.add(f"detail.{name}.project", LINEAR, x, width=width)
        gate = net.add(f"gate.{name}", LINEAR, pooled[name], width=width)
        fused.append(net.add(f"fused.{name}", {"calibrate": {}}, x, gate))
    return [*finer, *reversed(fused)]


def mixed(
    net: Net, features: dict[str, Feature], *, fields: Mapping[str, Any]
) -> dict[str, Feature]:
    """One rectangular cell of all levels."""
    return calibrated(net, features, **fields)


def _joined(net: Net, name: str, level: Feature, above: Sequence[Feature]) -> Feature:
    """Add what the level above became, if there is one, at this level's size and channels."""
    for x in above:
        raised = net.resize(f"up.{name}", x, to=level.stride)
        raised = net.add(f"up.{name}", plain(1), raised, width=level.channels)
        return net.sum(f"joined.{name}", level, raised)
    return level
