"""MOSAIC: counts, and what its backbone, its context encoder and its hybrid decoder compute.

The authors published code and no parameter count. Parameters are sums over the layers of that code; MACs are those that
others counted on it, less what averaging over cells takes here as matrix products. There are no auxiliary heads.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.errors import PlanError
from nas.language.decide import decide
from nas.network import build
from nas.plan import Planner
from nas.space import load_space
from search_spaces.blocks.multi_kernel_pool import MultiKernelConv, MultiKernelPool

HEAD = "decoder.semantic.head.hybrid_decoder"
CONTEXT = "decoder.semantic.context.multi_kernel.pool.multi_kernel_pool"

# MobileNetMultiAVGSeg of the official code: (kernel, expansion, channels in, channels out), all with batch norm
BLOCKS = [
    (3, 3, 32, 32), (3, 2, 32, 32),
    (5, 5, 32, 64), (3, 3, 64, 64), (3, 2, 64, 64), (3, 3, 64, 64),
    (5, 6, 64, 128), (3, 3, 128, 128), (3, 3, 128, 128), (3, 3, 128, 128), (3, 6, 128, 160), (3, 4, 160, 160),
    (3, 6, 160, 192), (5, 2, 192, 96), (5, 4, 96, 96), (5, 4, 96, 96),
]  # fmt: skip


def inverted(kernel: int, expand: int, c: int, width: int) -> int:
    """Parameters of an inverted residual: 1x1, depthwise, 1x1, a batch norm behind each."""
    inner = expand * c
    return c * inner + 2 * inner + kernel**2 * inner + 2 * inner + inner * width + 2 * width


BACKBONE = (9 * 3 * 32 + 64) + sum(inverted(*block) for block in BLOCKS) + (96 * 448 + 2 * 448)


def context(depth: int, bins: tuple[int, ...]) -> int:
    """One multi-kernel convolution on 224 channels each, its 1x1s, the global branch, the projection."""
    groups = sum(k * k * 224 + 2 * 224 + 224 * depth + 2 * depth for k in (3, 5))
    image = 448 * depth + 2 * depth if 1 in bins else 0
    branches = 448 + 2 * depth * sum(b > 1 for b in bins) + (depth if 1 in bins else 0)
    return groups + image + branches * 2 * depth + 2 * 2 * depth


def decoder(depth: int) -> int:
    """Concatenation at stride 8 with 192 channels, addition at stride 4 of 64; for 19 classes."""
    joined = (2 * depth + 192) * 64 + 2 * 64 + 9 * 64 + 2 * 64 + 64 * 19 + 2 * 19
    return joined + 64 * 19 + 2 * 19


def averaging(costs: Cost) -> int:
    """MACs of the matrix products that average over b x b cells, which the official code does without multiplying."""
    (pool,) = [n for n in costs.nodes if n.kind == "multi_kernel_pool"]
    _, height, width = pool.shape
    return sum(448 * (b * height * width + b * b * width) for b in (4, 8, 16))


@pytest.mark.parametrize(
    ("name", "depth", "bins", "mega", "giga", "giga_ade"),
    [
        ("mosaic", 64, (1, 4, 8, 16), 1.839, 21.39, 2.702),
        ("mosaic_paper", 32, (4, 8, 16), 1.717, 20.65, 2.605),
    ],
)
def test_counts(
    name: str, depth: int, bins: tuple[int, ...], *, mega: float, giga: float, giga_ade: float
) -> None:
    """At 1024x2048 with 19 classes, and at 512x512 with 32."""
    architecture = load_architecture(name)
    costs = cost(architecture)
    assert costs.params == BACKBONE + context(depth, bins) + decoder(depth)
    assert costs.params / 1e6 == pytest.approx(mega, abs=0.0006)
    assert (costs.macs - averaging(costs)) / 1e9 == pytest.approx(giga, abs=0.006)
    ade = cost(architecture.with_classes(32), (512, 512))
    assert (ade.macs - averaging(ade)) / 1e9 == pytest.approx(giga_ade, abs=0.0006)
    assert ade.macs / 2.98e9 == pytest.approx(0.9, abs=0.04)  # published: the deployed net differs


def test_the_decoder_reads_what_the_depthwise_convolutions_give() -> None:
    """192 channels at stride 8 and 64 at stride 4, as the official code's taps have; 448 at stride 16."""
    steps = {s.name: s for s in Planner((1024, 2048)).plan(load_architecture("mosaic")).steps()[0]}
    assert steps[f"{HEAD}.s8.fuse.fuse"].leaf.inputs == ((128, 128, 256), (192, 128, 256))
    assert steps[f"{HEAD}.s4.fine.conv"].leaf.inputs == ((64, 256, 512),)
    assert steps[CONTEXT].leaf.inputs == ((448, 64, 128),)


@pytest.mark.parametrize("name", ["mosaic", "mosaic_paper"])
def test_the_mobile_space_holds_it(name: str) -> None:
    assert decide(load_space("mobile"), load_architecture(name).with_input((3, 512, 1024)))


def encoder(output_stride: int, tap: str = "output") -> dict[str, Any]:
    tree: dict[str, Any] = load_architecture("mosaic").tree
    tree["encoder"]["mobilenet"] |= {"output_stride": output_stride, "tap": tap}
    return tree


def dilations(output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of the depthwise convolution of every block."""
    with torch.device("meta"):
        network = build(encoder(output_stride), (64, 96))
    convs = [
        m
        for name, m in network.named_modules()
        if name.startswith("encoder") and isinstance(m, nn.Conv2d) and m.groups > 1
    ]
    return [(c.stride[0], c.dilation[0]) for c in convs]


def test_a_stride_that_is_removed_becomes_dilation_at_once() -> None:
    """As the official code does: also of the block whose stride it was (DeepLab starts one block later)."""
    strides = [2, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    assert dilations(32) == [(s, 1) for s in strides]
    assert dilations(16) == [(s, 1) for s in strides[:12]] + [(1, 2)] * 4
    assert dilations(8) == [(s, 1) for s in strides[:6]] + [(1, 2)] * 6 + [(1, 4)] * 4


@torch.no_grad()
def test_a_block_drawn_step_by_step_is_an_inverted_residual() -> None:
    """The two forms of the encoder have the same parameters in the same order, and the same features behind them."""
    torch.manual_seed(0)
    whole, steps = (build(encoder(16, tap), (64, 96)).eval() for tap in ("output", "expanded"))
    weights = [p for n, p in whole.named_parameters() if n.startswith("encoder")]
    others = [p for n, p in steps.named_parameters() if n.startswith("encoder")]
    for mine, its in zip(others, weights, strict=True):
        mine.copy_(its)
    found = []
    for network in (whole, steps):
        last = network.get_submodule("encoder.mobilenet.last.conv")
        last.register_forward_hook(lambda _m, _i, y: found.append(y))
        network(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(found[0], found[1])


def test_one_convolution_serves_all_bins() -> None:
    """Weights and statistics are shared: more bins add nothing but their columns of the projection."""
    few, many = (MultiKernelPool(6, width=8, bins=bins) for bins in ((4,), (2, 3, 4)))
    counts = [sum(p.numel() for p in block.parameters()) for block in (few, many)]
    assert counts[1] - counts[0] == 2 * 8 * 8
    x = torch.randn(2, 6, 12, 12)
    many(x)
    tracked = many.grouped.groups["kernel3"].depthwise.norm.num_batches_tracked
    assert int(tracked) == 3


@given(channels=st.integers(2, 9), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(deadline=None, max_examples=25)
def test_each_group_of_channels_has_its_kernel(channels: int, height: int, width: int) -> None:
    conv = MultiKernelConv(channels, 3, (3, 5), "relu").eval()
    assert sum(conv.sizes) == channels
    assert conv.sizes[0] - conv.sizes[1] == channels % 2
    x = torch.randn(1, channels, height, width)
    other = x.clone()
    other[:, 0] += 1  # of the first group
    assert torch.equal(conv(x)["kernel5"], conv(other)["kernel5"])
    expected = conv.groups["kernel5"](x[:, conv.sizes[0] :])
    torch.testing.assert_close(conv(x)["kernel5"], expected)


@pytest.mark.parametrize("size", [(16, 32), (13, 7)])
def test_the_context_is_its_formula(size: tuple[int, int]) -> None:
    """One 1x1 over the concatenation of input, bins and the image's average; ReLU of its batch norm."""
    block = MultiKernelPool(6, width=8, bins=(1, 2, 4)).eval()
    x = torch.randn(2, 6, *size)
    sources: list[Tensor] = [x]
    for b in (2, 4):
        cells = F.adaptive_avg_pool2d(x, b)
        joined = torch.cat(list(block.grouped(cells).values()), 1)
        sources.append(F.interpolate(joined, size=size, mode="bilinear"))
    assert block.image is not None
    sources.append(block.image.conv(x.mean((2, 3), keepdim=True)).expand(-1, -1, *size))
    weight = torch.cat([source.weight for source in block.fuse.sources.values()], 1)
    expected = block.fuse.norm(F.conv2d(torch.cat(sources, 1), weight)).relu()
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [4, 8, 16])
def test_cells_are_the_official_ones_where_bins_divide_the_map(n: int) -> None:
    """The code pools with stride floor(H / n) and a window wider by H mod n: adaptive pooling, if that is nothing."""
    x = torch.randn(1, 2, 64, 128)
    windows = F.avg_pool2d(x, (64 // n, 128 // n))
    torch.testing.assert_close(F.adaptive_avg_pool2d(x, n), windows)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"bins": [1]}, "one be above 1"),
        ({"bins": [2, 2]}, "bins must differ"),
        ({"kernels": [3, 3]}, "kernels must differ"),
        ({"kernels": [3, 5, 7]}, "divide the width"),
    ],
)
def test_what_makes_no_context_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MultiKernelPool(6, width=8, **fields)


def watched(names: list[str]) -> tuple[dict[str, nn.Module], list[Tensor], Tensor]:
    """MOSAIC's parts, what those of these names gave for a random image, and its output."""
    torch.manual_seed(0)
    network = build(load_architecture("mosaic"), (97, 131)).eval()
    parts, seen = dict(network.named_modules()), {}
    for name in names:
        parts[name].register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
    with torch.no_grad():
        out = network(torch.randn(1, 3, 97, 131))
    return parts, [seen[name] for name in names], out


def test_the_decoder_is_its_formula_and_logits_are_never_negative() -> None:
    taps = [f"encoder.mobilenet.{at}.depthwise.conv" for at in ("stage2.3", "stage1.1")]
    parts, (deep, s8, s4), out = watched([CONTEXT, *taps])
    at = {name.removeprefix(f"{HEAD}."): part for name, part in parts.items()}
    with torch.no_grad():
        raised = F.interpolate(deep, size=s8.shape[-2:], mode="bilinear")
        joined = at["s8.fuse.fuse"]({"coarse": raised, "fine": s8})
        low = at["s8.scores.conv"](at["s8.depthwise.conv"](joined))
        total = F.interpolate(low, size=s4.shape[-2:], mode="bilinear") + at["s4.fine.conv"](s4)
        expected = F.interpolate(total, size=(97, 131), mode="bilinear")
    torch.testing.assert_close(out, expected)
    assert out.min() >= 0 < out.max()


@pytest.mark.parametrize(
    ("joins", "nodes"),
    [
        (("concat", "concat"), {"s8.fuse.fuse", "s4.fuse.fuse"}),
        (("sum", "concat"), {"s8.sum", "s4.fuse.fuse"}),
        (("sum", "sum"), {"s8.sum", "s4.sum"}),
    ],
)
def test_levels_join_as_they_are_told(joins: tuple[str, str], nodes: set[str]) -> None:
    tree: dict[str, Any] = load_architecture("mosaic").tree
    fields = {"middle_join": joins[0], "finest_join": joins[1]}
    tree["decoders"]["semantic"]["head"] = {"hybrid_decoder": fields}
    names = [s.name for s in Planner((97, 131)).plan(tree).steps()[0]]
    joined = {n.removeprefix(f"{HEAD}.") for n in names if n.endswith((".fuse", "sum"))}
    assert {n for n in joined if n[0] == "s" and n[1].isdigit()} == nodes


def test_a_single_level_is_scored_by_itself() -> None:
    stages = [{"width": 8, "blocks": [{"conv": {}}]}]
    tree = {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 64, 96],
        "encoder": {"stages": {"stages": stages}},
        "decoders": {"semantic": {"head": {"hybrid_decoder": {}}}},
    }
    names = [s.name for s in Planner((64, 96)).plan(tree).steps()[0]]
    heads = [n for n in names if n.startswith(HEAD)]
    assert heads == [f"{HEAD}.scores.conv", f"{HEAD}.logits.resize"]


def test_stages_without_blocks_are_refused() -> None:
    tree = encoder(16)
    tree["encoder"]["mobilenet"]["stages"][1]["blocks"] = []
    with pytest.raises(PlanError, match="a block in each stage"):
        Planner((64, 96)).plan(tree)


def test_the_coarsest_level_is_the_last_of_all() -> None:
    """Its channels are those of `last`; finer levels are what the last block at their stride gives."""
    for tap, channels in (("output", [32, 64, 160, 448]), ("expanded", [64, 192, 640, 448])):
        tree = encoder(32, tap)
        tree["decoders"]["semantic"] = {"head": {"fused_levels": {"finest": 4}}}
        steps = Planner((64, 96)).plan(tree).steps()[0]
        (fuse,) = [s for s in steps if s.name.endswith("fuse.fuse")]
        assert [c for c, _, _ in fuse.leaf.inputs] == channels
        assert all(a < b for a, b in pairwise(int(n[1:]) for n in fuse.leaf.names or ()))
