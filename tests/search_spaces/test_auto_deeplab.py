"""Auto-DeepLab: what its operations compute, and S, M and L against the published network, layer by layer.

There are no auxiliary heads.
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
from nas.plan import Planner
from search_spaces.blocks.auto_deeplab import Atrous, DoubleSeparable, Pool, ReluConv, Skip
from search_spaces.blocks.stack import Stack

FILTERS = {"s": 20, "m": 32, "l": 48}
# by hand from the authors' code, layer by layer
CELLS = {
    "s": "38240 38960 38400 135200 512000 151200 536000 536000 2038400 2102400 616000 175200",
    "m": "89216 92288 93312 336128 1290752 377088 1352192 1352192 5178368 5342208 1556992 438528",
    "l": "189888 198336 203712 743808 2879232 835968 3017472 3017472 11601408 11970048 3478272 974208",
}
STEM = 112_832
CONTEXT = {"s": 1_815_552, "m": 2_706_432, "l": 3_894_272}
HEAD = {"s": 1_301_043, "m": 1_303_923, "l": 1_307_763}
TOTAL = {"s": 10_147_427, "m": 21_622_451, "l": 44_424_691}
PUBLISHED_M = {"s": 10.15, "m": 21.62, "l": 44.42}
GMACS = {  # convolutions only, at Cityscapes' test size and at the training sizes 513 and 769
    (1025, 2049): {"s": 320.45, "m": 439.92, "l": 662.42},
    (513, 513): {"s": 40.67, "m": 56.03, "l": 84.67},
    (769, 769): {"s": 90.77, "m": 124.82, "l": 188.26},
}
PARTS = ["encoder.trellis.stem", *(f"encoder.trellis.cell{i}." for i in range(12))]
PARTS += ["decoder.semantic.context", "decoder.semantic.head"]


def part(costs: Cost, name: str) -> int:
    """Parameters of the nodes below `name`."""
    return sum(n.params for n in costs.nodes if n.name.startswith(name))


def randomised(block: nn.Module) -> nn.Module:
    """The block in evaluation, its batch norms with statistics of their own, so that a missing one shows."""
    torch.manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
    return block.eval()


@pytest.mark.parametrize("size", FILTERS)
def test_every_part_has_the_published_parameters(size: str) -> None:
    costs = cost(load_architecture(f"auto_deeplab_{size}"))
    cells = [int(n) for n in CELLS[size].split()]
    assert [part(costs, name) for name in PARTS] == [STEM, *cells, CONTEXT[size], HEAD[size]]
    assert costs.params == TOTAL[size] == STEM + sum(cells) + CONTEXT[size] + HEAD[size]
    assert round(costs.params / 1e6, 2) == PUBLISHED_M[size]


@pytest.mark.parametrize("size", FILTERS)
@pytest.mark.parametrize("image", GMACS, ids=str)
def test_multiply_adds_of_the_convolutions(size: str, image: tuple[int, int]) -> None:
    """To the last digit that the reference count has; printed ones (333.25 G) count padding and pooling, too."""
    costs = cost(load_architecture(f"auto_deeplab_{size}"), image)
    assert costs.macs / 1e9 == pytest.approx(GMACS[image][size], abs=0.006)


def test_the_file_has_the_published_path_and_cell() -> None:
    """As the authors' code lists them: operations and the inputs' indices, left and right of each block in turn."""
    left, right = ["atr5", "sep3", "sep3", "sep5", "sep5"], ["sep3", "atr3", "sep3", "sep5", "atr5"]
    operations = [op for pair in zip(left, right, strict=True) for op in pair]
    indices = [1, 0, 1, 0, 3, 1, 4, 2, 3, 5]
    levels = [0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1]
    names = ["prev", "prev2", *(f"item{i}" for i in range(5))]
    kinds = {"atr": "atrous", "sep": "double_separable"}
    edges = [
        {"source": names[i], "op": {kinds[op[:3]]: {} if op[3] == "3" else {"kernel": 5}}}
        for op, i in zip(operations, indices, strict=True)
    ]
    trellis = load_architecture("auto_deeplab_s").tree["encoder"]["trellis"]
    assert trellis["path"] == [4 * 2**level for level in levels]
    published = [edges[i : i + 2] for i in range(0, 10, 2)]
    for ours, theirs in zip(trellis["cell"], published, strict=True):
        assert {e["source"]: e["op"] for e in ours} == {e["source"]: e["op"] for e in theirs}


@pytest.mark.parametrize("size", FILTERS)
def test_sizes_differ_in_their_filters_only(size: str) -> None:
    small, other = (load_architecture(f"auto_deeplab_{s}").tree for s in ("s", size))
    assert other["encoder"]["trellis"].pop("filters") == FILTERS[size]
    assert small["encoder"]["trellis"].pop("filters") == FILTERS["s"]
    assert small == other


maps = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(maps, st.sampled_from([3, 5]), st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_atrous_is_dilated_without_a_stride_and_halves_first_with_one(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    block = randomised(Atrous(3, width=4, kernel=kernel, stride=stride))
    assert isinstance(block, Atrous)
    x = torch.randn(2, 3, *size)
    y, dilation = x.relu(), 2 if stride == 1 else 1
    if stride > 1:
        smaller = [-(-n // stride) for n in size]
        y = F.interpolate(y, size=smaller, mode="bilinear", align_corners=False)
    padding = dilation * (kernel // 2)
    y = F.conv2d(y, block.conv.conv.weight, padding=padding, dilation=dilation)
    torch.testing.assert_close(block(x), block.conv.norm(y))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_double_separable_is_relu_depthwise_pointwise_norm_twice(kernel: int, stride: int) -> None:
    block, x = (
        randomised(DoubleSeparable(4, width=6, kernel=kernel, stride=stride)),
        torch.randn(2, 4, 9, 12),
    )
    depthwise1, pointwise1, depthwise2, pointwise2 = (
        m for m in block.modules() if isinstance(m, nn.Conv2d)
    )
    norm1, norm2 = (m for m in block.modules() if isinstance(m, nn.BatchNorm2d))
    y = F.conv2d(x.relu(), depthwise1.weight, stride=stride, padding=kernel // 2, groups=4)
    y = norm1(F.conv2d(y, pointwise1.weight)).relu()
    y = F.conv2d(y, depthwise2.weight, padding=kernel // 2, groups=6)
    torch.testing.assert_close(block(x), norm2(F.conv2d(y, pointwise2.weight)))


@pytest.mark.parametrize("filters", [20, 32, 48])
def test_operations_have_the_parameters_of_the_published_ones(filters: int) -> None:
    """By hand: no bias, one batch norm per repetition."""

    def params(kind: Any, **fields: Any) -> int:
        return sum(p.numel() for p in kind(filters, width=filters, **fields).parameters())

    for k in (3, 5):
        assert params(DoubleSeparable, kernel=k) == 2 * (k * k * filters + filters**2 + 2 * filters)
        assert params(Atrous, kernel=k) == k * k * filters**2 + 2 * filters
    assert params(Skip) == params(Pool, take="average") == params(Pool, take="maximum") == 0
    assert params(Skip, stride=2) == params(ReluConv, kernel=1) == filters**2 + 2 * filters


@pytest.mark.parametrize("stride", [1, 2])
def test_pools_do_not_count_the_padding(stride: int) -> None:
    ones = torch.ones(1, 3, 5, 8)
    expected = torch.ones(1, 3, -(-5 // stride), -(-8 // stride))
    assert torch.equal(Pool(3, width=3, stride=stride, take="average")(ones), expected)
    assert torch.equal(Pool(3, width=3, stride=stride, take="maximum")(-ones), -expected)
    ramp = torch.arange(9.0).view(1, 1, 3, 3)
    average, maximum = (
        Pool(1, width=1, take=take)(ramp)[0, 0, :2, :2] for take in ("average", "maximum")
    )
    assert average.tolist() == [[2, 2.5], [3.5, 4]]
    assert maximum.tolist() == [[4, 5], [7, 8]]


def test_skip_is_the_identity_or_a_strided_pointwise_convolution() -> None:
    x = torch.randn(1, 4, 5, 7)
    assert torch.equal(Skip(4, width=4)(x), x)
    for width, stride in ((4, 2), (6, 1)):
        block = randomised(Skip(4, width=width, stride=stride))
        (conv,) = (m for m in block.modules() if isinstance(m, nn.Conv2d))
        (norm,) = (m for m in block.modules() if isinstance(m, nn.BatchNorm2d))
        expected = norm(F.conv2d(x.relu(), conv.weight, stride=stride))
        torch.testing.assert_close(block(x), expected)


def test_stack_puts_zeros_where_nothing_is() -> None:
    a, b = torch.randn(2, 1, 3, 4, 5).unbind()
    zeros = torch.zeros_like(a)
    assert torch.equal(Stack((3, 3))(a, b), torch.cat([a, b], 1))
    filled: Tensor = Stack((3, 3), missing=[0, 2])(a, b)
    assert torch.equal(filled, torch.cat([zeros, a, zeros, b], 1))
    with pytest.raises(ValueError, match=r"got \[3, 4\] and \[\]"):
        Stack((3, 4))
    with pytest.raises(ValueError, match="missing places below 3"):
        Stack((3, 3), missing=[3])


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_pyramid_pooling_of_the_search_follows_stride_and_width(stride: int) -> None:
    entry = {"source": "prev", "op": {"skip": {}}}
    path = [s for s in (4, 8, 16, 32) if s <= stride]
    tree = {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 64, 64],
        "encoder": {"trellis": {"path": path, "cell": [[entry], [entry]], "filters": 6}},
        "decoders": {"semantic": {"context": {"stride_aspp": {}}, "head": {"fcn": {"convs": 0}}}},
    }
    steps, _ = Planner((64, 64)).plan(tree).steps()
    leaves = {s.name.split("context.stride_aspp.")[1]: s.leaf for s in steps if "_aspp." in s.name}
    assert set(leaves) == {"point.conv", "dilated.conv", "image.pooled_conv", "project.fuse"}
    assert leaves["dilated.conv"].fields["dilation"] * stride == 96
    assert {leaf.shape[0] for leaf in leaves.values()} == {2 * 6 * stride // 4}
