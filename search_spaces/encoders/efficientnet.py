"""EfficientNet, scaled in width and depth (Tan and Le 2019, table 1 and section 3.3)."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from nas.fields import Share
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Act
from search_spaces.encoders.resnet import Multiplier

STEM = 32
MULTIPLE = 8
"""Widths are multiples of this."""


class Row(NamedTuple):
    """One row of the table: how many blocks of which width, and what they are like."""

    blocks: int
    width: int
    stride: int
    kernel: int
    expand: int


TABLE = (
    Row(1, 16, 1, 3, 1),
    Row(2, 24, 2, 3, 6),
    Row(2, 40, 2, 5, 6),
    Row(3, 80, 2, 3, 6),
    Row(3, 112, 1, 5, 6),
    Row(4, 192, 2, 5, 6),
    Row(1, 320, 1, 3, 6),
)


@kind("efficientnet", "encoder")
def efficientnet(
    net: Net,
    image: Feature,
    *,
    width: Multiplier = 1,
    depth: Multiplier = 1,
    squeeze_excite: Share = 0.25,
    act: Act = "silu",
) -> dict[str, Feature]:
    """Return s4, s8, s16, s32 (24, 40, 112 and 320 channels at width 1); taps "stem" and "stage1" to "stage7".

    Width and depth are (1, 1) for B0, (1, 1.1) B1, (1.1, 1.2) B2, (1.2, 1.4) B3, (1.4, 1.8) B4, (1.6, 2.2) B5,
    (1.8, 2.6) B6, (2, 3.1) B7: the authors' code. The classifier's 1x1 of 1,280 channels is left out, as is stochastic
    depth. The Lite variants have no squeeze-and-excitation and ReLU; theirs keep stem, first and last stage unscaled,
    which is not done here.
    """
    x: Feature = net.add("stem", {"conv": {"act": act}}, image, width=scaled(STEM, width), stride=2)
    taps = {"stem": x}
    for number, row in enumerate(TABLE, start=1):
        fields = {"kernel": row.kernel, "expand": row.expand, "squeeze_excite": squeeze_excite}
        block = {"mbconv": {**fields, "act": act}}
        for i in range(ceil(row.blocks * depth)):
            place = {"width": scaled(row.width, width), "stride": row.stride if i == 0 else 1}
            x = net.add(f"stage{number}.{i}", block, x, **place)
        taps[f"stage{number}"] = x
    return {**taps, **{f"s{f.stride}": f for f in taps.values() if f.stride > 2}}


def scaled(channels: int, by: float) -> int:
    """Return channels * by as the nearest multiple of 8 that is not more than a tenth below it."""
    wanted = channels * by
    nearest = max(MULTIPLE, int(wanted + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return nearest if nearest >= 0.9 * wanted else nearest + MULTIPLE
