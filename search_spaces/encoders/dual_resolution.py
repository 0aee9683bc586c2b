"""DDRNet's encoder: two resolutions side by side that exchange features (Hong et al. 2021, arXiv 2101.06085)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from nas.fields import CellSpec, Positive, Range, Spec
from nas.plan import Feature, Net
from nas.registry import kind

Direction = Literal["both", "up", "down"]
HighWidth = Annotated[float, Range(least=0.5, most=4)]
FIFTH: dict[str, Any] = {"bottleneck": {"reduction": 2, "linear": True}}


class Cells(NamedTuple):
    """What the stages are made of: every cell but the last one of a stage, and that one."""

    inner: Spec
    last: Spec


class Branches(NamedTuple):
    """What both branches have at one point: the low resolution, and the high one at stride 8."""

    low: Feature
    high: Feature


class Segment(NamedTuple):
    """Blocks of both branches up to an exchange: its name, how many blocks, width and stride of the low branch."""

    name: str
    blocks: int
    width: int
    stride: int


@kind("dual_resolution", "encoder")
def dual_resolution(
    net: Net,
    image: Feature,
    *,
    width: Positive = 64,
    blocks: Sequence[Positive] = (2, 2, 2, 2),
    exchanges: Positive = 1,
    high: HighWidth = 2,
    direction: Direction = "both",
    cell: CellSpec = {"basic": {}},  # noqa: B006
    last: CellSpec = {"basic": {"linear": True}},  # noqa: B006
) -> dict[str, Feature]:
    """Return s4, s8 (the branch of high resolution), s16, s32, s64; taps "stage1" to "stage5", "high3" to "high5".

    Stages 1 and 2 are common; from there the low branch halves its size at every stage (4, 8, 16 times `width`
    channels) while the high one stays at stride 8 with `high` times `width`, twice that at the end. Stage 3 is cut into
    `exchanges` equal parts (1 in DDRNet-23, 2 in DDRNet-39); after each, and after stage 4, each branch adds what the
    other had: `up` to the high branch, `down` to the low one, or `both`. Stage 5 is one bottleneck each.
    Stages are made of `cell`, and end with a `last` one, without activation: whoever reads it applies a ReLU. s8, s64
    and the high taps have none, for `dappm` and the head `ddrnet`, which begin with batch norm and ReLU. The paper's
    auxiliary head reads "high3".
    """
    segments = _segments(width, blocks, exchanges)
    cells, narrow = Cells(cell, last), max(1, round(high * width))
    low = _layer(net, "stage1", (cells, blocks[0]), _stem(net, image, width), width=width)
    first = relu(net, "stage1", low)
    low = _layer(net, "stage2", (cells, blocks[1]), first, width=2 * width, stride=2)
    second = relu(net, "stage2", low)
    taps = {"stage1": first, "stage2": second}
    read = Branches(second, second)
    for segment in segments:
        advanced = _advance(net, segment, cells, read, high=narrow)
        fused = _exchange(net, segment.name, advanced, direction)
        names = (f"stage{segment.name}.fused", f"high{segment.name}.fused")
        read = Branches(*(relu(net, n, x) for n, x in zip(names, fused, strict=True)))
        taps |= {f"stage{segment.name[0]}": read.low, f"high{segment.name[0]}": fused.high}
    taps["stage5"] = net.add("stage5", FIFTH, read.low, width=16 * width, stride=2)
    taps["high5"] = net.add("high5", FIFTH, read.high, width=2 * narrow)
    pyramid = {
        f"s{f.stride}": f for name, f in taps.items() if name not in ("stage2", "high3", "high4")
    }
    return {**taps, **pyramid}


def _segments(width: int, blocks: Sequence[int], exchanges: int) -> list[Segment]:
    """Return stage 3, cut into parts, and stage 4."""
    if len(blocks) != 4:
        raise ValueError(f"dual_resolution: blocks are for stages 1 to 4, got {list(blocks)}")
    count, rest = divmod(blocks[2], exchanges)
    if rest:
        raise ValueError(
            f"dual_resolution: exchanges must divide the blocks of stage 3, got {exchanges} and {blocks[2]}"
        )
    names = [f"3.{part}" for part in range(exchanges)] if exchanges > 1 else ["3"]
    parts = [Segment(name, count, 4 * width, 1 if i else 2) for i, name in enumerate(names)]
    return [*parts, Segment("4", blocks[3], 8 * width, 2)]


def _stem(net: Net, image: Feature, width: int) -> Feature:
    """Two 3x3 convolutions of stride 2, with the official code's biases."""
    x = net.add("stem.first", {"conv": {"bias": True}}, image, width=width, stride=2)
    second: Feature = net.add("stem.second", {"conv": {"bias": True}}, x, width=width, stride=2)
    return second


def _layer(
    net: Net, name: str, blocks: tuple[Cells, int], x: Feature, *, width: int, stride: int = 1
) -> Feature:
    """That many cells, the first with the stride."""
    cells, count = blocks
    for i in range(count):
        spec = cells.last if i == count - 1 else cells.inner
        x = net.add(f"{name}.{i}", spec, x, width=width, stride=stride if i == 0 else 1)
    return x


def _advance(net: Net, segment: Segment, cells: Cells, read: Branches, *, high: int) -> Branches:
    """A segment of each branch, side by side."""
    blocks = (cells, segment.blocks)
    name, width, stride = segment.name, segment.width, segment.stride
    low = _layer(net, f"stage{name}", blocks, read.low, width=width, stride=stride)
    return Branches(low, _layer(net, f"high{name}", blocks, read.high, width=high))


def _exchange(net: Net, name: str, x: Branches, direction: Direction) -> Branches:
    """Bilateral fusion (equation 1): 1x1 and bilinear up, 3x3s of stride 2 down, each from the unfused other branch."""
    low, high = x
    plain: dict[str, Any] = {"conv": {"act": "none"}}
    if direction != "down":
        y = relu(net, f"up{name}", x.low)
        y = net.add(f"up{name}", {"conv": {"kernel": 1, "act": "none"}}, y, width=x.high.channels)
        y = net.resize(f"up{name}", y, to=x.high.stride)
        high = net.sum(f"high{name}", x.high, y)
    if direction != "up":
        y = relu(net, f"down{name}", x.high)
        while 2 * y.stride < x.low.stride:
            width = x.low.channels * 2 * y.stride // x.low.stride
            y = net.add(f"down{name}.s{2 * y.stride}", {"conv": {}}, y, width=width, stride=2)
        y = net.add(f"down{name}", plain, y, width=x.low.channels, stride=2)
        low = net.sum(f"stage{name}", x.low, y)
    return Branches(low, high)


def relu(net: Net, name: str, x: Feature) -> Feature:
    """Return x with a ReLU."""
    y: Feature = net.add(name, {"activate": {}}, x)
    return y
