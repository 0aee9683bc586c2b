"""MobileNet: stages of inverted residuals (Sandler et al. 2018), such as the backbone searched for MOSAIC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

from nas.fields import Odd, Positive, Range, Stride
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Act
from search_spaces.blocks.mbconv import Expansion

LINEAR = {"conv": {"kernel": 1, "act": "none"}}
Last = Annotated[int, Range(least=0)]
Tap = Literal["output", "expanded"]


class Inverted(TypedDict):
    """An inverted residual: the kernel of its depthwise convolution, and how much wider that one is than its input."""

    kernel: Odd
    expand: Expansion


class MobileStage(TypedDict):
    """Blocks of one width; the first one has the stage's stride, 2 unless given."""

    width: Positive
    blocks: list[Inverted]
    stride: NotRequired[Stride]


class Block(NamedTuple):
    """One block in its place; `ends` where the next one halves the resolution."""

    name: str
    kernel: int
    expand: float
    dilation: int
    width: int
    stride: int
    ends: bool


@kind("mobilenet", "encoder")
def mobilenet(
    net: Net,
    image: Feature,
    *,
    stages: Sequence[MobileStage],
    stem: Positive = 32,
    last: Last = 0,
    output_stride: Literal[8, 16, 32] = 32,
    tap: Tap = "output",
    act: Act = "relu",
) -> dict[str, Feature]:
    """Return s4, s8, ... up to the output stride; taps "stem" (stride 2), "stage1", "stage2", ...

    The coarsest feature is what the stages end with or, with `last`, a 1x1 convolution of that many channels on it.
    Finer ones are the last block's output at their stride or, with `tap` "expanded", what its depthwise convolution
    gives (with batch norm and activation; MOSAIC's decoder reads that). Once the output stride is reached, a block of
    stride 2 keeps the resolution and doubles its own dilation and that of all after it (as in the official code).
    """
    blocks = placed(stages, output_stride)
    x: Feature = net.add("stem", {"conv": {"act": act}}, image, width=stem, stride=2)
    taps, levels = {"stem": x}, {}
    for block in blocks:
        if block.ends and tap == "expanded":
            expanded, x = net.add(block.name, opened, x, block=block._asdict(), act=act)
        else:
            fields = {"kernel": block.kernel, "expand": block.expand, "dilation": block.dilation}
            spec = {"mbconv": {**fields, "act": act}}
            x = expanded = net.add(block.name, spec, x, width=block.width, stride=block.stride)
        taps[block.name.split(".")[0]] = x
        levels[x.stride] = expanded
    if last:
        levels[x.stride] = net.add("last", {"conv": {"kernel": 1, "act": act}}, x, width=last)
    return {**taps, **{f"s{stride}": f for stride, f in levels.items() if stride > 2}}


def placed(stages: Sequence[MobileStage], output_stride: int) -> list[Block]:
    """Return all blocks in order, with the stride and dilation that the output stride leaves them."""
    rows = [
        (f"stage{n}.{i}", stage["width"], block, stage.get("stride", 2) if i == 0 else 1)
        for n, stage in enumerate(stages, start=1)
        for i, block in enumerate(stage["blocks"])
    ]
    if not rows or any(not stage["blocks"] for stage in stages):
        raise ValueError("mobilenet: at least one stage is needed, and a block in each stage")
    blocks, at, dilation = [], 2, 1
    for name, width, block, step in rows:
        stride = step if at * step <= output_stride else 1
        at, dilation = at * stride, dilation * step // stride
        blocks.append(
            Block(name, **block, dilation=dilation, width=width, stride=stride, ends=False)
        )
    halved = [block.stride == 2 for block in blocks[1:]]
    return [block._replace(ends=ends) for block, ends in zip(blocks, [*halved, False], strict=True)]


def opened(net: Net, x: Feature, *, block: dict[str, Any], act: Act) -> list[Feature]:
    """Draw an inverted residual step by step; return what its depthwise convolution gives, and its output."""
    inner, y = round(x.channels * block["expand"]), x
    if block["expand"] > 1:
        y = net.add("expand", {"conv": {"kernel": 1, "act": act}}, x, width=inner)
    fields = {"kernel": block["kernel"], "dilation": block["dilation"], "groups": inner, "act": act}
    expanded = net.add("depthwise", {"conv": fields}, y, width=inner, stride=block["stride"])
    y = net.add("project", LINEAR, expanded, width=block["width"])
    if (x.channels, x.stride) == (y.channels, y.stride):
        y = net.sum("residual", x, y)
    return [expanded, y]
