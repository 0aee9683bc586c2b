"""IncepFormer (Fu et al. 2022): the counts of the authors' code, and what its parts compute.

"Recounted": the authors' code for ADE20K's 150 classes at 512x512, built and counted with fvcore. Its parameters hold
the classifier of a base head, 128 channels wide, that nothing uses: `DEAD`, which we leave out. The paper's abstract
says 39.6 M for B, which the code is not. There is no auxiliary head.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from search_spaces.blocks.inception_transformer import (
    ActivatedFeedForward,
    InceptionTokens,
    InceptionTransformer,
)
from search_spaces.blocks.spatial_select import SpatialSelect

DEAD = 128 * 150 + 150
RECOUNTED = {"s": 25_900_268, "b": 41_627_884}
HEADS = {"t": 621_612, "s": 922_668, "b": 922_668}
MACS = {"t": (22.7, 7.0, 0.05), "s": (41.200, 14.227, 6e-4), "b": (58.375, 21.878, 6e-4)}
"""Convolutions and linear layers, products of attention, and to how many G they are given."""
DEPTHS = {"t": (2, 2, 4, 2), "s": (3, 4, 12, 2), "b": (3, 6, 24, 2)}
BLOCKS = [(64, 2, 8, 8, 94_208), (128, 4, 4, 8, 345_088), (320, 8, 2, 4, 1_253_120)]


def ade20k(size: str) -> Cost:
    return cost(load_architecture(f"incepformer_{size}").with_classes(150), (512, 512))


def products(size: str) -> int:
    """Multiply-adds of scores and values: every pixel with three tokens per R x R pixels, at 512x512."""
    total = 0
    for depth, width, side, ratio in zip(
        DEPTHS[size], (64, 128, 320, 512), (128, 64, 32, 16), (8, 4, 2, 1), strict=True
    ):
        tokens = (3 if ratio > 1 else 1) * (side // ratio) ** 2
        total += depth * 2 * side**2 * tokens * width
    return total


@pytest.mark.parametrize("size", DEPTHS)
def test_parameters_are_those_of_the_authors_code(size: str) -> None:
    costs = ade20k(size)
    head = sum(n.params for n in costs.nodes if n.name.startswith("decoder"))
    assert head + DEAD == HEADS[size]
    if size == "t":
        assert (costs.params + DEAD) / 1e6 == pytest.approx(14.79, abs=5e-3)
    else:
        assert costs.params + DEAD == RECOUNTED[size]


@pytest.mark.parametrize("size", MACS)
def test_multiply_adds_are_those_of_the_authors_code(size: str) -> None:
    convolutions, matrices, precision = MACS[size]
    assert products(size) / 1e9 == pytest.approx(matrices, abs=precision)
    rest = ade20k(size).macs - products(size)
    assert rest / 1e9 == pytest.approx(convolutions, abs=precision)


@pytest.mark.parametrize(("width", "heads", "ratio", "mlp", "count"), BLOCKS)
def test_parameters_of_a_block(width: int, heads: int, ratio: int, mlp: int, count: int) -> None:
    """Recounted."""
    with torch.device("meta"):
        block = InceptionTransformer(width, width=width, heads=heads, reduction=ratio, mlp=mlp)
    assert sum(p.numel() for p in block.parameters()) == count


def test_tokens_of_a_divisible_map_are_strips_squares_and_averages() -> None:
    """Window by window, as written in the authors' code, which pools adaptively."""
    block, x = InceptionTokens(3, 4).double(), torch.randn(2, 3, 8, 12).double()
    strips, square, smooth = block.maps(x)
    windows = x.unfold(2, 4, 4).unfold(3, 4, 4)  # (N, C, 2, 3, 4, 4)
    kernel = block.square.weight[None, :, 0, None, None]
    bias = block.square.bias
    assert bias is not None
    torch.testing.assert_close(square, (windows * kernel).sum((4, 5)) + bias[:, None, None])
    torch.testing.assert_close(strips, block.column(block.row(x)))
    torch.testing.assert_close(smooth, block.smooth(F.adaptive_avg_pool2d(x, (2, 3))))


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (8, 4), (5, 16)])
def test_no_pixel_is_left_out(size: tuple[int, int]) -> None:
    """There are three tokens for every window begun, and each pixel has a part in all three maps."""
    block = InceptionTokens(2, 4)
    height, width = size
    x = torch.randn(1, 2, *size, requires_grad=True)
    assert block(x).shape == (1, 3 * -(-height // 4) * -(-width // 4), 2)
    for found in block.maps(x):
        (gradient,) = torch.autograd.grad(found.sum(), x, retain_graph=True)
        assert (gradient != 0).all()


def test_an_average_at_the_border_is_of_the_pixels_that_are_there() -> None:
    block, x = InceptionTokens(1, 4), torch.ones(1, 1, 5, 7)
    assert isinstance(block.smooth, nn.Conv2d)
    expected = block.smooth(torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(block.maps(x)[2], expected)


def test_the_feed_forward_part_never_falls_far() -> None:
    """GELU has the last word: nothing is below its minimum."""
    block = ActivatedFeedForward(6, 2)
    y = block(100 * torch.randn(2, 6, 5, 5))
    lowest = F.gelu(torch.linspace(-2, 0, 2001)).min()
    assert y.min() >= lowest - 1e-6
    assert y.max() > 1


def test_selection_strengthens_pixels_by_their_mean() -> None:
    block = SpatialSelect(4)
    x = torch.randn(2, 4, 3, 5)
    mean = x.mean(1, keepdim=True)
    torch.testing.assert_close(block(x), x * (1 + mean * torch.sigmoid(mean)))
    assert not list(block.parameters())


def test_the_coarsest_level_is_not_selected() -> None:
    names = [n.name for n in ade20k("t").nodes if n.kind == "spatial_select"]
    assert [n.split(".")[-2] for n in names] == ["s4", "s8", "s16"]
