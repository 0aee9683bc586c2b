"""Feature pyramid network (Lin et al. 2017)."""

from __future__ import annotations

from nas.fields import Positive
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.necks.pyramid import Top, extend, plain


@kind("fpn", "neck")
def fpn(net: Net, features: list[Feature], *, top: Top = 5, width: Positive = 256) -> list[Feature]:
    """Lateral 1x1s, sums from the top down, a 3x3 on each level; no norm, no activation.

    Levels above the input's are max-pooled from the coarsest lateral and take part in the sums, so a head at the finest
    level sees them. Upsampling is bilinear, as everywhere here (the paper: nearest).
    """
    laterals = [net.add(f"lateral.s{f.stride}", plain(1), f, width=width) for f in features]
    laterals = extend(net, laterals, top, width)
    merged = laterals[-1:]
    for lateral in reversed(laterals[:-1]):
        above = net.resize(f"up.s{lateral.stride}", merged[-1], to=lateral.stride)
        merged.append(net.sum(f"merge.s{lateral.stride}", lateral, above))
    return [net.add(f"out.s{f.stride}", plain(3), f, width=width) for f in reversed(merged)]
