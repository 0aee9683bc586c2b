"""Fast-SCNN: counts by hand from the paper's tables, and what its own parts compute.

The authors published no code. The convolutions of table 1 have the 1.11 M parameters that they print; with batch norms
there are 1.14 M (the layers are also those of Tramac/Fast-SCNN-pytorch). Auxiliary heads are in neither.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import cost
from nas.network import build
from nas.plan import Planner
from search_spaces.blocks.separable import Separable

# table 1 at 1024x2048: (channels in, width, stride, repeats) at the stride that comes out
BOTTLENECKS = [
    (64, 64, 2, 16),
    (64, 64, 1, 16),
    (64, 64, 1, 16),
    (64, 96, 2, 32),
    (96, 96, 1, 32),
    (96, 96, 1, 32),
]
BOTTLENECKS += [(96, 128, 1, 32), (128, 128, 1, 32), (128, 128, 1, 32)]
NECK = "decoder.semantic.neck.feature_fusion"


def separable(channels: int, width: int, pixels_in: int, pixels: int) -> tuple[int, int, int]:
    """Weights, batch norms, MACs of a depthwise 3x3 and a 1x1; the first has the stride."""
    weights = 9 * channels + channels * width
    assert pixels <= pixels_in
    return weights, 2 * (channels + width), weights * pixels


def bottleneck(channels: int, width: int, stride: int, pixels: int) -> tuple[int, int, int]:
    inner = 6 * channels
    deep = 9 * inner + inner * width
    macs = channels * inner * pixels * stride**2 + deep * pixels
    return channels * inner + deep, 2 * (2 * inner + width), macs


def by_hand() -> tuple[int, int, int]:
    """Weights and biases, batch norms, and MACs at 1024x2048, apart from averaging over cells."""
    image = 1024 * 2048
    at = {s: image // s**2 for s in (2, 4, 8, 16, 32)}
    found = [(27 * 32, 64, 27 * 32 * at[2])]
    found += [separable(32, 48, at[2], at[4]), separable(48, 64, at[4], at[8])]
    found += [bottleneck(c, w, s, at[out]) for c, w, s, out in BOTTLENECKS]
    found += [(128 * 32, 2 * 32, 128 * 32 * b * b) for b in (1, 2, 3, 6)]
    found += [(256 * 128, 2 * 128, 256 * 128 * at[32])]
    found += [(9 * 128, 2 * 128, 9 * 128 * at[8])]
    found += [(c * 128 + 128, 2 * 128, c * 128 * at[8]) for c in (128, 64)]
    found += [separable(128, 128, at[8], at[8])] * 2
    found += [(128 * 19 + 19, 0, 128 * 19 * at[8])]
    weights, norms, macs = (sum(column) for column in zip(*found, strict=True))
    return weights, norms, macs


def test_parameters_are_those_of_the_papers_tables() -> None:
    weights, norms, _ = by_hand()
    assert cost(load_architecture("fast_scnn")).params == weights + norms == 1_138_051
    assert weights == 1_114_371
    assert weights / 1e6 == pytest.approx(1.11, abs=0.005)  # published


def test_macs_are_those_of_the_papers_tables() -> None:
    """Averages over cells are matrix products here: A x B^T for 128 channels of 32x64 pixels."""
    pooling = sum(128 * (b * 32 * 64 + b * b * 64) for b in (2, 3, 6))
    assert cost(load_architecture("fast_scnn")).macs == by_hand()[2] + pooling


def test_auxiliary_heads_are_where_the_paper_has_them() -> None:
    """At the end of learning to downsample and of the bottlenecks (section 4)."""
    plan = Planner((128, 192)).plan(load_architecture("fast_scnn"))
    heads = {name: dict(plan.root.result)[name] for name in plan.names if name != "logits"}
    assert set(heads) == {"aux.stage2", "aux.stage5"}
    with torch.device("meta"):
        names = [n for n, _ in build(load_architecture("fast_scnn"), (128, 192)).named_parameters()]
    assert {n.split(".")[3] for n in names if ".aux." in n} == {"stage2", "stage5"}


def test_fusion_is_its_formula() -> None:
    """Table 3: the depthwise convolution is dilated by the ratio of the strides, four."""
    network = build(load_architecture("fast_scnn"), (128, 192)).eval()
    parts = dict(network.named_modules())
    inputs = ("encoder.stages.stage2.0.separable", "decoder.semantic.context.ppm.project.fuse")
    seen: dict[str, Tensor] = {}
    for name in (*inputs, f"{NECK}.fused.activate"):
        parts[name].register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
    network(torch.randn(1, 3, 128, 192))
    fine, coarse, got = seen.values()
    raised = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
    depthwise = parts[f"{NECK}.coarse.depthwise.conv"]
    conv, norm = depthwise.get_submodule("conv"), depthwise.get_submodule("norm")
    assert isinstance(conv, nn.Conv2d)
    spread = norm(F.conv2d(raised, conv.weight, padding=4, dilation=4, groups=128)).relu()
    deep, side = (parts[f"{NECK}.{n}.project.conv"] for n in ("coarse", "fine"))
    torch.testing.assert_close(got, (deep(spread) + side(fine)).relu())
    assert deep(spread).min() < 0


def test_without_an_activation_between_a_separable_convolution_is_linear_up_to_its_last() -> None:
    """Learning to downsample has none between depthwise and pointwise (section 3.2.1)."""
    block = Separable(6, width=4, between=False).eval()
    x = torch.randn(2, 6, 7, 9)
    depthwise, pointwise = block.depthwise.conv.weight, block.pointwise.conv.weight
    y = block.depthwise.norm(F.conv2d(x, depthwise, padding=1, groups=6))
    torch.testing.assert_close(block(x), block.pointwise.norm(F.conv2d(y, pointwise)).relu())
    assert (block.depthwise(x) < 0).any()
    assert (Separable(6, width=4).eval().depthwise(x) >= 0).all()


def context(**fields: Any) -> int:
    described = load_architecture("fast_scnn").tree
    described["decoders"]["semantic"]["context"] = {"ppm": fields}
    nodes = cost(described, (128, 192)).nodes
    return sum(n.params for n in nodes if n.name.startswith("decoder.semantic.context"))


def test_averages_may_have_fewer_channels_than_the_result() -> None:
    narrow = context(bins=[1, 3], branch=5, width=16, projection=1)
    assert narrow == 2 * (128 * 5 + 10) + (128 + 10) * 16 + 32
    assert context(bins=[1, 3], branch=16, width=16) == context(bins=[1, 3], width=16)


@pytest.mark.parametrize("cell", ["conv", "separable", "mbconv"])
def test_a_head_may_be_made_of_other_cells(cell: str) -> None:
    described = load_architecture("fast_scnn").tree
    described["decoders"]["semantic"]["head"] = {
        "fcn": {"convs": 3, "width": 8, "cell": {cell: {}}}
    }
    names = [s.name for s in Planner((128, 192)).plan(described).steps()[0]]
    found = [n for n in names if n.startswith("decoder.semantic.head.fcn.s8.") and n.endswith(cell)]
    assert found == [f"decoder.semantic.head.fcn.s8.{i}.{cell}" for i in range(3)]
