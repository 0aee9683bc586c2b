"""PANet's bottom-up path on a feature pyramid (Liu et al. 2018)."""

from __future__ import annotations

from nas.fields import Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.fpn import fpn
from search_spaces.necks.pyramid import Top


@kind("panet", "neck")
def panet(
    net: Net, features: list[Feature], *, top: Top = 5, width: Positive = 256, norm: bool = False
) -> list[Feature]:
    """FPN's levels P, then from the finest up N_l = relu(3x3(P_l + relu(3x3(N_(l-1)) at stride 2))), with N_2 = P_2.

    Section 3.1: convolutions have a bias and no norm; with `norm` a batch norm instead (the paper's larger models: over
    all GPUs). Params of the path from P2 to P5: 6(9W^2 + W).
    """
    levels = fpn(net, features, top=top, width=width)
    spec = {"conv": {} if norm else {"bias": True, "norm": False}}
    outputs = levels[:1]
    for level in levels[1:]:
        name = f"s{level.stride}"
        below = net.add(f"down.{name}", spec, outputs[-1], width=width, stride=2)
        total = net.sum(f"join.{name}", level, below)
        outputs.append(net.add(f"path.{name}", spec, total, width=width))
    return outputs
