"""BiSeNetV2's two branches: wide and shallow for detail, narrow and deep for meaning (Yu et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from nas.fields import CellSpec, Positive
from nas.plan import Feature, Net
from nas.registry import kind


@kind("bisenetv2", "encoder")
def bisenetv2(
    net: Net,
    image: Feature,
    *,
    detail: Sequence[Positive] = (64, 64, 128),
    semantic: Sequence[Positive] = (16, 32, 64, 128),
    blocks: Sequence[Positive] = (2, 2, 4),
    cell: CellSpec = {"gather_expand": {}},  # noqa: B006
) -> dict[str, Feature]:
    """Return s4 and s8 of the detail branch, s16 and s32 of the semantic one; taps "stage2" to "stage5" of the latter.

    Table 1 of arXiv 2004.02147. `detail` are the widths at strides 2, 4 and 8, of two, three and three 3x3
    convolutions; `semantic` those of the stem block at stride 4 and of the stages at strides 8, 16 and 32, which have
    `blocks` cells. The paper's auxiliary heads read stages 2 to 5. The context embedding at the end is a context here,
    the aggregation a neck.
    """
    _check(detail, semantic, blocks)
    x, fine = image, []
    for stage, (width, count) in enumerate(zip(detail, (2, 3, 3), strict=True), start=1):
        for i in range(count):
            stride = 2 if i == 0 else 1
            x = net.add(f"detail{stage}.{i}", {"conv": {}}, x, width=width, stride=stride)
        fine.append(x)
    x = _stem(net, image, semantic[0])
    taps = {"stage2": x}
    for stage, (width, count) in enumerate(zip(semantic[1:], blocks, strict=True), start=3):
        for i in range(count):
            stride = 2 if i == 0 else 1
            x = net.add(f"stage{stage}.{i}", cell, x, width=width, stride=stride)
        taps[f"stage{stage}"] = x
    return {**taps, "s4": fine[1], "s8": fine[2], "s16": taps["stage4"], "s32": taps["stage5"]}


def _check(detail: Sequence[int], semantic: Sequence[int], blocks: Sequence[int]) -> None:
    lengths = (len(detail), len(semantic), len(blocks))
    if lengths != (3, 4, 3):
        raise ValueError(
            "bisenetv2: `detail` has 3 widths, `semantic` 4, and `blocks` 3 numbers; "
            f"got {lengths[0]}, {lengths[1]} and {lengths[2]}"
        )


def _stem(net: Net, image: Feature, width: int) -> Feature:
    """Stem block (figure 4a): two ways from stride 2 to 4, by convolutions and by pooling, fused by a 3x3."""
    x = net.add("stem.first", {"conv": {}}, image, width=width, stride=2)
    narrow = net.add("stem.narrow", {"conv": {"kernel": 1}}, x, width=max(1, width // 2))
    ways = {
        "conv": net.add("stem.conv", {"conv": {}}, narrow, width=width, stride=2),
        "pool": net.add("stem.pool", {"max_pool": {}}, x, stride=2),
    }
    fused: Feature = net.add("stem.fuse", {"fuse": {"kernel": 3}}, ways, width=width)
    return fused
