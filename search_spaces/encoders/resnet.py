"""ResNet (He et al. 2016), also dilated (Chen et al. 2017), with multi-grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from nas.fields import Positive, Range
from nas.plan import Feature, Net
from nas.registry import kind

DEPTHS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
}
EXPANSION = {"basic": 1, "bottleneck": 4}
Multiplier = Annotated[float, Range(least=0.05, most=8)]


@kind("resnet", "encoder")
def resnet(
    net: Net,
    image: Feature,
    *,
    depth: Literal[18, 34, 50, 101] = 50,
    output_stride: Literal[8, 16, 32] = 32,
    stem: Literal["7x7", "deep", "wide"] = "7x7",
    width: Multiplier = 1,
    multi_grid: Sequence[Positive] = (1,),
    pool: bool = True,
) -> dict[str, Feature]:
    """Return s4, s8, ... up to the output stride; taps "stem" (stride 2) and "stage1" to "stage4".

    Below output stride 32 the last stages keep their resolution and double their dilation instead. The first
    block of such a stage keeps the dilation before it (torchvision, mmsegmentation). `multi_grid` multiplies the
    last stage's dilation block by block, starting over if it is shorter than the stage (DeepLabv3, section 3.2);
    (1,) leaves it out. The stem `deep` is three 3x3 convolutions (half, half, whole width) for the 7x7 one, `wide` the
    same with twice that (64, 64, 128; PSPNet's and SFNet's code). Without `pool`, the max pooling behind the stem,
    every stage is at half its stride: s2 to s16 (S2-FPN's ResNet-34M).
    """
    if not multi_grid:
        raise ValueError(
            "resnet: `multi_grid` needs at least one number, got none; [1] leaves it out"
        )
    block, counts = DEPTHS[depth]
    base = max(2, round(64 * width))
    x = _stem(net, image, stem, base)
    taps = {"stem": x}
    if pool:
        x = net.add("pool", {"max_pool": {}}, x, stride=2)
    dilation = 1
    for number, count in enumerate(counts, start=1):
        stride = 2 if number > 1 and x.stride < output_stride else 1
        previous, dilation = dilation, dilation * (2 if number > 1 and stride == 1 else 1)
        dilations = [previous, *[dilation] * (count - 1)]
        if number == len(counts) and tuple(multi_grid) != (1,):
            dilations = [dilation * multi_grid[i % len(multi_grid)] for i in range(count)]
        channels = base * 2 ** (number - 1) * EXPANSION[block]
        for i, d in enumerate(dilations):
            x = net.add(
                f"stage{number}.{i}",
                {block: {"dilation": d}},
                x,
                width=channels,
                stride=stride if i == 0 else 1,
            )
        taps[f"stage{number}"] = x
    return {**taps, **{f"s{f.stride}": f for name, f in taps.items() if name != "stem"}}


def _stem(net: Net, image: Feature, stem: str, width: int) -> Feature:
    """Return the stem's output at stride 2."""
    if stem == "7x7":
        x: Feature = net.add("stem", {"conv": {"kernel": 7}}, image, width=width, stride=2)
        return x
    half = width if stem == "wide" else width // 2
    x = net.add("stem.first", {"conv": {}}, image, width=half, stride=2)
    x = net.add("stem.second", {"conv": {}}, x, width=half)
    third: Feature = net.add(
        "stem.third", {"conv": {}}, x, width=2 * width if stem == "wide" else width
    )
    return third
