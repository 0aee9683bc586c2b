"""SFNet and SFNet-Lite: their published counts, and what flow alignment computes.

Counts are those of the official code (lxtGH/SFSegNets), 19 classes. SFNet trains without auxiliary heads; SFNet-Lite's
code builds a deep supervision head (150,291 parameters) and a lateral (65,920) that its forward never uses.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.leaf import measure
from nas.plan import Planner
from nas.registry import find
from search_spaces.blocks.flow_align import DualFlowAlign, FlowAlign, FromBoth, described, warp

# torchvision's trunk, less one 7x7 of 64, with 3x3s of 64, 64 and 128 and the wider input of stage 1's first block
STEM = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128) - (49 * 3 * 64 + 2 * 64)
# the first block's own convolution, and its shortcut: a 1x1 with batch norm that a ResNet-18 has only at this stem
TRUNKS = {
    18: 11_689_512 - 513_000 + STEM + 9 * 64 * 64 + (128 * 64 + 2 * 64),
    50: 25_557_032 - 2_049_000 + STEM + 64 * 64 + 64 * 256,
    101: 44_549_160 - 2_049_000 + STEM + 64 * 64 + 64 * 256,
}
PYRAMID_POOLING = {128: 394_496, 256: 2_886_144}  # official modules, counted
FAM = {128: 18_688, 256: 70_144}  # official modules, counted


def by_hand(depth: int) -> int:
    """SFNet on that ResNet: pyramid pooling, laterals, three alignments, three 3x3s, the head."""
    c, expansion = (128, 1) if depth == 18 else (256, 4)
    laterals = sum(expansion * w * c + c + 2 * c for w in (64, 128, 256))
    convolutions = 3 * (9 * c * c + 2 * c)
    head = 4 * 9 * c * c + 2 * c + 19 * c + 19
    return TRUNKS[depth] + PYRAMID_POOLING[c] + laterals + 3 * FAM[c] + convolutions + head


def pooling(costs: Cost) -> int:
    """MACs of the matrix products that average over cells, which the official code does without multiplying."""
    nodes = [n for n in costs.nodes if n.kind == "pooled_conv"]
    return sum(n.macs for n in nodes) - sum(
        n.shape[0] * 512 * b * b for n, b in zip(nodes, (1, 2, 3, 6), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("sfnet_resnet18", 12_869_715),
        ("sfnet_resnet50", by_hand(50)),
        ("sfnet_resnet101", by_hand(101)),
        ("sfnet_lite_resnet18", 12_296_074 - 150_291 - 65_920),
    ],
)
def test_parameters(name: str, params: int) -> None:
    assert cost(load_architecture(name), (512, 1024)).params == params


def test_the_sum_by_hand_is_the_official_codes_count() -> None:
    """The figures of SFNet on a ResNet-50 and 101 are sums over layers; on a ResNet-18 the same sum is known."""
    assert by_hand(18) == 12_869_715


@pytest.mark.parametrize(
    ("name", "giga"), [("sfnet_resnet18", 242.965), ("sfnet_lite_resnet18", 177.947)]
)
def test_macs_at_1024x2048(name: str, giga: float) -> None:
    """Official code, counted; published 243 G. Ours are more by what averaging over cells takes as a product."""
    costs = cost(load_architecture(name))
    assert (costs.macs - pooling(costs)) / 1e9 == pytest.approx(giga, abs=0.0006)


@pytest.mark.parametrize(
    ("kind", "fields", "low", "params", "giga"),
    [
        ("flow_align", {}, (64, 64, 128), 5_248, 0.030),
        ("flow_align", {}, (128, 64, 128), 18_688, 0.103),
        ("flow_align", {}, (256, 64, 128), 70_144, 0.373),
        ("dual_flow_align", {}, (128, 256, 512), 21_028, 1.699),
        ("dual_flow_align", {"gate": "conv"}, (128, 256, 512), 22_144, 1.846),
    ],
)
def test_alignment_modules(kind: str, fields: Any, low: Any, params: int, giga: float) -> None:
    """Official modules, counted; the coarse feature is 32x64."""
    leaf = measure(find(kind), fields, (low, (low[0], 32, 64)), None)
    assert leaf.params == params
    assert leaf.macs / 1e9 == pytest.approx(giga, abs=0.0006)


@given(
    h=st.integers(1, 9), w=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20)
)
@settings(deadline=None, max_examples=60)
def test_without_flow_warping_is_resizing(h: int, w: int, height: int, width: int) -> None:
    x = torch.randn(2, 3, h, w)
    still = torch.zeros(2, 2, height, width)
    resized = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(warp(x, still), resized, rtol=1e-4, atol=1e-5)


@given(right=st.integers(-6, 6), down=st.integers(-6, 6))
@settings(deadline=None)
def test_a_flow_of_two_is_one_pixel(right: int, down: int) -> None:
    x = torch.randn(1, 2, 7, 9)
    flow = torch.tensor([2.0 * right, 2.0 * down]).view(1, 2, 1, 1).expand(1, 2, 7, 9)
    rows = (torch.arange(7) + down).clamp(0, 6)
    columns = (torch.arange(9) + right).clamp(0, 8)
    torch.testing.assert_close(warp(x, flow), x[:, :, rows][..., columns], rtol=1e-4, atol=1e-4)


def test_the_gradient_of_warping_is_that_of_finite_differences() -> None:
    """Positions well inside a pixel, where bilinear sampling is smooth."""
    torch.manual_seed(3)
    x = torch.randn(1, 2, 4, 5, requires_grad=True)
    flow = (0.3 + 0.2 * torch.rand(1, 2, 4, 5)).requires_grad_()
    weight = torch.randn(1, 2, 4, 5)
    (warp(x, flow) * weight).sum().backward()  # type: ignore[no-untyped-call]
    for tensor in (x, flow):
        assert tensor.grad is not None
        step, flat = 1e-2, tensor.detach().view(-1)
        for i in range(0, flat.numel(), 7):
            sides = []
            for sign in (1, -1):
                flat[i] += sign * step
                sides.append((warp(x.detach(), flow.detach()) * weight).sum().item())
                flat[i] -= sign * step
            assert tensor.grad.view(-1)[i].item() == pytest.approx(
                (sides[0] - sides[1]) / (2 * step), abs=2e-3
            )


def concatenated(both: FromBoth, high: Tensor, low: Tensor) -> Tensor:
    """The official form: one convolution of [coarse, fine]."""
    weight = torch.cat([both.high.weight, both.low.weight], dim=1)
    return F.conv2d(torch.cat([high, low], dim=1), weight, padding=weight.shape[-1] // 2)


def halves(block: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    coarse = F.conv2d(high, block.halved.high.weight)
    return (
        F.conv2d(low, block.halved.low.weight),
        F.interpolate(coarse, size=low.shape[-2:], mode="bilinear", align_corners=False),
    )


def test_flow_alignment_is_its_formula() -> None:
    """Section 3.2: the flow from both, halved; the coarse feature itself is warped, not its half."""
    block, low, high = FlowAlign((6, 6)), torch.randn(2, 6, 13, 9), torch.randn(2, 6, 7, 5)
    fine, coarse = halves(block, low, high)
    expected = warp(high, concatenated(block.flow, coarse, fine))
    torch.testing.assert_close(block(low, high), expected)


@pytest.mark.parametrize("gate", ["pooled", "conv"])
def test_gated_dual_flow_is_its_formula(gate: Any) -> None:
    block = DualFlowAlign((6, 6), gate=gate)
    low, high = torch.randn(2, 6, 13, 9), torch.randn(2, 6, 7, 5)
    fine, coarse = halves(block, low, high)
    flow = concatenated(block.flow, coarse, fine)
    if isinstance(block.gate, FromBoth):
        share = concatenated(block.gate, coarse, fine).sigmoid()
    else:
        share = F.conv2d(described(coarse, low), block.gate.weight, padding=1).sigmoid()
    expected = share * warp(high, flow[:, :2]) + (1 - share) * warp(low, flow[:, 2:])
    torch.testing.assert_close(block(low, high), expected)


def test_a_gate_that_is_shut_leaves_one_of_the_two() -> None:
    block = DualFlowAlign((6, 6))
    low, high = torch.rand(1, 6, 8, 8) + 1, torch.rand(1, 6, 4, 4) + 1
    for conv in (block.flow.low, block.flow.high):
        nn.init.zeros_(conv.weight)
    assert isinstance(block.gate, nn.Conv2d)
    resized = F.interpolate(high, size=(8, 8), mode="bilinear", align_corners=False)
    for value, expected in ((1e4, resized), (-1e4, low)):
        nn.init.zeros_(block.gate.weight)
        with torch.no_grad():
            block.gate.weight[0, 1, 1, 1] = (
                value  # the mean of the fine feature, which is above 1 here
            )
        torch.testing.assert_close(block(low, high), expected, rtol=1e-4, atol=1e-5)


def test_a_gate_sees_means_and_maxima_over_channels() -> None:
    high, low = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    seen = described(high, low)
    assert seen.shape == (2, 4, 4, 5)
    for i, expected in enumerate((high.mean(1), low.mean(1), high.max(1)[0], low.max(1)[0])):
        torch.testing.assert_close(seen[:, i], expected)


def test_unequal_channels_are_refused_and_it_is_said_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"equal channels, got \[6, 8\]; project"):
        FlowAlign((6, 8))


@pytest.mark.parametrize(
    ("strides", "neck", "aligned", "levels"),
    [
        (4, "flow_alignment", ["s16", "s8", "s4"], 4),
        (4, "dual_flow", ["s4"], 2),
        (3, "dual_flow", ["s4"], 2),
        (2, "dual_flow", ["s4"], 1),
        (1, "flow_alignment", ["s4"], 2),
    ],
)
def test_which_levels_are_aligned(strides: int, neck: str, aligned: list[str], levels: int) -> None:
    """SFNet aligns every pair of levels, SFNet-Lite the first with the last, and keeps what lies before stride 32.

    An encoder of one stride has its second level from `top`.
    """
    stages = [{"width": 8, "blocks": [{"conv": {}}]} for _ in range(strides)]
    plan = Planner((128, 192)).plan(
        {
            "task": {"semantic": {"classes": 5}},
            "input": [3, 128, 192],
            "encoder": {"stages": {"stages": stages}},
            "decoders": {
                "semantic": {"neck": {neck: {"width": 8, "top": 3}}, "head": {"fused_levels": {}}}
            },
        }
    )
    names = [step.name for step in plan.steps()[0]]
    found = [n.split(".align.")[1].split(".")[0] for n in names if ".align." in n]
    (fuse,) = [
        step for step in plan.steps()[0] if step.name.endswith("head.fused_levels.fuse.fuse")
    ]
    assert (found, len(fuse.leaf.inputs)) == (aligned, levels)
