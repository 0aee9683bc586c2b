"""HRNet: branches of every resolution from stride 4 on, side by side (Wang et al. 2020, HRNetV2)."""

from __future__ import annotations

from collections.abc import Sequence

from nas.fields import Positive
from nas.plan import Feature, Net
from nas.registry import kind

LINEAR = {"conv": {"act": "none"}}


@kind("hrnet", "encoder")
def hrnet(
    net: Net,
    image: Feature,
    *,
    width: Positive = 18,
    modules: Sequence[Positive] = (1, 4, 3),
    blocks: Positive = 4,
    stem: Positive = 64,
) -> dict[str, Feature]:
    """Return the last stage's branches s4, s8, ...: `width`, 2 `width`, 4 `width`, ... channels.

    Taps "stage1", "stage2", ... are the finest branch at a stage's end. The stem is two 3x3 convolutions of stride 2,
    stage 1 four bottlenecks. Every further stage adds a branch and has its number of `modules`: `blocks` basic blocks
    on each branch, then an exchange between all of them (section 3). Upsampling is bilinear, as in mmsegmentation.
    """
    x: Feature = net.add("stem.first", {"conv": {}}, image, width=stem, stride=2)
    x = net.add("stem.second", {"conv": {}}, x, width=stem, stride=2)
    for i in range(4):
        x = net.add(f"stage1.{i}", {"bottleneck": {}}, x, width=4 * stem)
    taps, branches = {"stage1": x}, [x]
    for number, count in enumerate(modules, start=2):
        branches = _branch_out(net, f"stage{number}", branches, width)
        for i in range(count):
            branches = net.add(f"stage{number}.{i}", module, branches, blocks=blocks)
        taps[f"stage{number}"] = branches[0]
    return {**taps, **{f"s{f.stride}": f for f in branches}}


def _branch_out(net: Net, name: str, branches: list[Feature], width: int) -> list[Feature]:
    """Add a branch at twice the coarsest stride, by a 3x3; the first time the finest gets its width by one, too."""
    coarsest = branches[-1]
    if len(branches) == 1:
        branches = [
            net.add(f"{name}.enter.s{coarsest.stride}", {"conv": {}}, coarsest, width=width)
        ]
    added = f"{name}.enter.s{2 * coarsest.stride}"
    channels = width * 2 ** len(branches)
    return [*branches, net.add(added, {"conv": {}}, coarsest, width=channels, stride=2)]


def module(net: Net, branches: list[Feature], *, blocks: int) -> list[Feature]:
    """Basic blocks on each branch, and an exchange: each branch becomes ReLU(sum of what all of them send)."""
    deep = [_deepen(net, branch, blocks) for branch in branches]
    mixed = []
    for to in deep:
        sent = [_send(net, f"to{to.stride}.from{x.stride}", x, to) for x in deep]
        total = net.sum(f"to{to.stride}", *sent)
        mixed.append(net.add(f"to{to.stride}", {"activate": {}}, total))
    return mixed


def _deepen(net: Net, x: Feature, blocks: int) -> Feature:
    for i in range(blocks):
        x = net.add(f"s{x.stride}.{i}", {"basic": {}}, x, width=x.channels)
    return x


def _send(net: Net, name: str, x: Feature, to: Feature) -> Feature:
    """Bring x to the width and stride of another branch: itself, or a 1x1 and up, or 3x3s of stride 2 down.

    On the way down only the last 3x3 widens, and it alone has no ReLU.
    """
    if x.stride > to.stride:
        narrow = {"conv": {"kernel": 1, "act": "none"}}
        return net.resize(name, net.add(name, narrow, x, width=to.channels), to=to.stride)
    while 2 * x.stride < to.stride:
        x = net.add(f"{name}.at{x.stride}", {"conv": {}}, x, width=x.channels, stride=2)
    if x.stride < to.stride:
        x = net.add(f"{name}.at{x.stride}", LINEAR, x, width=to.channels, stride=2)
    return x
